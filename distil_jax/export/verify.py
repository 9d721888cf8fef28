"""Comparing what was read back with what was written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distil_jax.errors import UserError
from distil_jax.export.student import Student
from distil_jax.models.pretrained import load_pretrained, name_table
from distil_jax.models.state_dict import Params, named_tensors

Logits = Callable[[Params], np.ndarray]
# (Hugging Face name, tensor as it lies there) -> what the format can hold of it, float32.
Rounding = Callable[[str, np.ndarray], np.ndarray]


def verify_folder(
    path: Path, student: Student, logits: Logits, rounding: Rounding, exact: bool
) -> dict[str, Any]:
    """Load `path` again, by our own reader, and compare it with what was written; see `verify`.

    Raises UserError when its config or vocabulary is not the student's either.
    """
    loaded = load_pretrained(str(path))
    if loaded.config != student.config or loaded.vocabulary != student.vocabulary:
        raise UserError(
            f"{path}: its config or vocabulary differs from the student's; export again"
        )
    return verify(path, loaded.params, student, logits, rounding, exact)


def verify(
    path: Path,
    loaded: Params,
    student: Student,
    logits: Logits,
    rounding: Rounding,
    exact: bool,
) -> dict[str, Any]:
    """Every parameter must be equal after `rounding`; logits are computed from both.

    exact: whether nothing was rounded; the logits must then be equal too. Returns {"parameters":
    how many numbers, "max_logit_difference": from the parameters before rounding}. Raises UserError
    that names what differs.
    """
    table, total = name_table(student.config), 0
    pairs = zip(named_tensors(loaded, table), named_tensors(student.params, table), strict=True)
    for (name, found), (_, written) in pairs:
        if not np.array_equal(found, rounding(name, written)):
            raise UserError(f"{path}: {name} differs from the student's; export again")
        total += written.size
    difference = float(np.abs(logits(loaded) - logits(student.params)).max())
    if not np.isfinite(difference) or (exact and difference):
        raise UserError(f"{path}: logits differ from the student's by {difference}; expected none")
    return {"parameters": total, "max_logit_difference": difference}

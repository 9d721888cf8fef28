"""The error rate of a label against its reference: the supervised filter (Distil-Whisper)."""

from typing import Literal

import numpy as np
import pyarrow as pa

from distil_jax.data.text import Errors, count_errors
from distil_jax.labelling.filters.base import Score, numbers


class ErrorRate(Score):
    """100 * errors / units of the reference, both normalised; words, or characters by language.

    It cannot tell where there is no reference, or an empty one.
    """

    name: Literal["error_rate"] = "error_rate"
    good = "low"
    columns = ("errors", "length")

    def of(self, labels: pa.Table) -> np.ndarray:
        errors, length = numbers(labels, "errors"), numbers(labels, "length")
        return 100.0 * errors / np.where(length > 0, length, np.nan)


def with_errors(labels: pa.Table) -> pa.Table:
    """The label table and, for each label, its errors and the length of its reference.

    Aligning texts is the slow part of filtering: it is done here, once. Both are 0 where there is
    no reference.
    """
    rows = labels.select(["reference", "label", "language"]).to_pylist()
    counted = [_errors(**row) for row in rows]
    for name, values in (
        ("errors", [errors.total for errors in counted]),
        ("length", [errors.reference_length for errors in counted]),
    ):
        labels = labels.append_column(name, pa.array(values, pa.int64()))
    return labels


def _errors(reference: str | None, label: str, language: str | None) -> Errors:
    return Errors() if reference is None else count_errors(reference, label, language)

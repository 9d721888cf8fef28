"""A student as a Hugging Face folder that `transformers` loads in PyTorch."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from distil_jax.errors import UserError
from distil_jax.export.config_files import (
    model_config,
    preprocessor_config,
    repaired_generation_config,
)
from distil_jax.export.tokenizer_files import tokenizer_files
from distil_jax.models import state_dict
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.pretrained import load_pretrained, name_table, to_state_dict
from distil_jax.models.state_dict import Params
from distil_jax.models.vocabulary import Vocabulary

WEIGHTS = "model.safetensors"


def write_folder(
    path: Path,
    config: ModelConfig,
    params: Params,
    vocabulary: Vocabulary,
    generation_config: Mapping[str, Any],
    card: str,
    kept_layers: Sequence[int] | None = None,
    dtype: str = "float32",
) -> None:
    """Write the model to the folder `path`, in one stroke: a kill leaves the old one or none.

    generation_config: the teacher's; it is repaired for the student, whose decoder layers are
    copies of the teacher's `kept_layers` (None: unknown, alignment heads are dropped).
    card: the text of README.md. dtype: float32, float16 or bfloat16, of the weights.
    Raises UserError when `path` holds something that is not a model.
    """
    generation = repaired_generation_config(generation_config, config, vocabulary, kept_layers)
    texts = {
        "config.json": _json(model_config(config, vocabulary, dtype)),
        "generation_config.json": _json(generation),
        "preprocessor_config.json": _json(preprocessor_config(config)),
        **tokenizer_files(vocabulary, config.max_target_positions),
        "README.md": card,
    }
    with _atomic_folder(path) as folder:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        # transformers refuses weights that do not say for which framework they are laid out.
        save_file(to_state_dict(config, params, dtype), folder / WEIGHTS, {"format": "pt"})


def verify_folder(
    path: Path,
    config: ModelConfig,
    params: Params,
    vocabulary: Vocabulary,
    logits: Callable[[Params], np.ndarray],
    dtype: str = "float32",
) -> dict[str, Any]:
    """Load `path` again and compare it with what was written, without torch.

    Every parameter must be equal (after rounding to `dtype`), and so must the logits that `logits`
    computes from both. Returns {"parameters": how many numbers, "max_logit_difference": from the
    parameters before rounding; 0.0 in float32}. Raises UserError that names what differs.
    """
    loaded = load_pretrained(str(path))
    if loaded.config != config or loaded.vocabulary != vocabulary:
        raise UserError(
            f"{path}: its config or vocabulary differs from the student's; export again"
        )
    total = 0
    for row in name_table(config):
        written = np.asarray(state_dict.lookup(params, row.path))
        expected = written.astype(state_dict.numpy_dtype(dtype)).astype(np.float32)
        if not np.array_equal(state_dict.lookup(loaded.params, row.path), expected):
            raise UserError(f"{path}: {row.hf} differs from the student's; export again")
        total += written.size
    difference = float(np.abs(logits(loaded.params) - logits(params)).max())
    if not np.isfinite(difference) or (dtype == "float32" and difference):
        raise UserError(f"{path}: logits differ from the student's by {difference}; expected none")
    return {"parameters": total, "max_logit_difference": difference}


@contextmanager
def _atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path` that takes its place when the block succeeds."""
    path = path.absolute()
    _check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (path.with_name(f".{path.name}.{role}") for role in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for file in partial.iterdir():
            _flush(file)
        if path.exists():
            path.rename(old)
        partial.rename(path)
        _flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _check_replaceable(path: Path) -> None:
    holds = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    if (path.exists() and not path.is_dir()) or (holds and WEIGHTS not in holds):
        raise UserError(
            f"the export would replace {path}, which is not a model (it holds "
            f"{', '.join(holds[:5]) or 'a file'}). Give another folder, or remove it."
        )


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

"""A student as a Hugging Face folder that `transformers` loads in PyTorch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from distil_jax.export.config_files import model_config, preprocessor_config
from distil_jax.export.folders import atomic_folder, json_text, write_texts
from distil_jax.export.student import Student
from distil_jax.export.tokenizer_files import tokenizer_files
from distil_jax.export.verify import Logits, verify_folder
from distil_jax.models import state_dict
from distil_jax.models.alignment_heads import Heads
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.pretrained import to_state_dict
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
    alignment_heads: Heads | None = None,
    dtype: str = "float32",
) -> None:
    """Write the model to the folder `path`, in one stroke: a kill leaves the old one or none.

    The rest as in export.student.Student. dtype: float32, float16 or bfloat16, of the weights.
    Raises UserError when `path` holds something that is not a model.
    """
    student = Student(config, params, vocabulary, generation_config, card, alignment_heads)
    with atomic_folder(path, [WEIGHTS]) as folder:
        write_files(folder, student, dtype)


def write_files(folder: Path, student: Student, dtype: str = "float32") -> None:
    """Write the model's files into a folder that is there."""
    config, vocabulary = student.config, student.vocabulary
    texts = {
        "config.json": json_text(model_config(config, vocabulary, dtype)),
        "generation_config.json": json_text(student.generation_config),
        "preprocessor_config.json": json_text(preprocessor_config(config)),
        **tokenizer_files(vocabulary, config.max_target_positions),
        "README.md": student.card,
    }
    write_texts(folder, texts)
    # transformers refuses weights that do not say for which framework they are laid out.
    save_file(to_state_dict(config, student.params, dtype), folder / WEIGHTS, {"format": "pt"})


def verify_files(
    folder: Path, student: Student, logits: Logits, dtype: str = "float32"
) -> dict[str, Any]:
    """Load the folder again, without torch, and compare it with the student: see verify.py."""

    def rounding(_: str, array: np.ndarray) -> np.ndarray:
        return array.astype(state_dict.numpy_dtype(dtype)).astype(np.float32)

    return verify_folder(folder, student, logits, rounding, exact=dtype == "float32")

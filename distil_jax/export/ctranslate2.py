"""A student as a CTranslate2 folder, which faster-whisper loads."""

from pathlib import Path
from typing import Any

import numpy as np

from distil_jax.errors import ConfigError
from distil_jax.export.config_files import preprocessor_config
from distil_jax.export.folders import json_text, write_texts
from distil_jax.export.student import Student
from distil_jax.export.verify import Logits, verify_folder
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.ctranslate2_names import EMBEDDING, HEAD, variable_name
from distil_jax.models.ctranslate2_whisper import (
    REVISION,
    SPEC,
    converted_config,
    whisper_variables,
)
from distil_jax.models.ctranslate2_writer import Weights, rounded, stored, write_variables
from distil_jax.models.pretrained import to_state_dict
from distil_jax.models.tokenizer_files import added_ids
from distil_jax.models.vocabulary import Vocabulary

WEIGHTS = "model.bin"


def check_exportable(config: ModelConfig, _: Vocabulary) -> None:
    """Raises ConfigError when CTranslate2 does not know the architecture."""
    model_type = config.to_hf()["model_type"]
    if model_type != "whisper":
        raise ConfigError(f"CTranslate2 has no model '{model_type}'; expected whisper")


def write_files(folder: Path, student: Student, weights: Weights = "float32") -> None:
    """Write the model's files into a folder that is there. weights: how they are stored."""
    shape, vocabulary = student.config.to_hf(), student.vocabulary
    config = converted_config(
        student.generation_config,
        vocabulary.languages.values(),
        shape["decoder_layers"],
        shape["decoder_attention_heads"],
    )
    texts = {
        "config.json": json_text(config),
        "vocabulary.json": json_text(token_names(vocabulary)),
        "tokenizer.json": json_text(vocabulary.tokenizer),
        "preprocessor_config.json": json_text(preprocessor_config(student.config)),
    }
    write_texts(folder, texts)
    variables = whisper_variables(
        to_state_dict(student.config, student.params),
        shape["encoder_attention_heads"],
        shape["decoder_attention_heads"],
    )
    stored_variables = stored(variables, weights)
    write_variables(folder / WEIGHTS, SPEC, REVISION, stored_variables, {HEAD: EMBEDDING})


def token_names(vocabulary: Vocabulary) -> list[str]:
    """The name of each token, by its id; rows of the embedding without one get a name too."""
    tokenizer = vocabulary.tokenizer
    ids = {**tokenizer["model"]["vocab"], **added_ids(tokenizer)}
    names = {i: name for name, i in ids.items()}
    return [names.get(i, f"<|unused_{i}|>") for i in range(vocabulary.size)]


def verify_files(
    folder: Path, student: Student, logits: Logits, weights: Weights = "float32"
) -> dict[str, Any]:
    """Load the folder again and compare it with the student: see verify.py."""

    def rounding(name: str, array: np.ndarray) -> np.ndarray:
        return rounded(variable_name(name), array, weights)

    return verify_folder(folder, student, logits, rounding, exact=weights == "float32")

"""A student as the file ggml-model.bin, which whisper.cpp loads."""

from pathlib import Path
from typing import Any

import numpy as np

from distil_jax.errors import ConfigError, UserError
from distil_jax.export.ggml_file import GgmlFile, read_ggml, write_ggml
from distil_jax.export.ggml_names import openai_name
from distil_jax.export.student import Student
from distil_jax.export.verify import Logits, verify
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.log_mel import mel_filters
from distil_jax.models.pretrained import name_table, parameter_shapes, to_state_dict
from distil_jax.models.state_dict import Params, from_state_dict, named_tensors
from distil_jax.models.vocabulary import Vocabulary

WEIGHTS = "ggml-model.bin"
# Of matrices. whisper.cpp 1.8 loads float32 ones too, and then aborts in the first convolution on a
# CPU (its issue 2557).
PRECISION = "float16"
_FLOAT16 = 1  # its number among the types of files
_CONV_BIASES = ("conv1.bias", "conv2.bias")  # [d, 1] there


def check_exportable(config: ModelConfig, vocabulary: Vocabulary) -> None:
    """Raises ConfigError for what whisper.cpp takes for granted and the model has otherwise."""
    shape = config.to_hf()
    if shape["model_type"] != "whisper":
        raise ConfigError(f"whisper.cpp has no model '{shape['model_type']}'; expected whisper")
    for side in ("encoder", "decoder"):
        got, expected = shape[f"{side}_ffn_dim"], 4 * shape["d_model"]
        if got != expected:
            raise ConfigError(
                f"whisper.cpp expects MLPs four times as wide as the model, {expected}; those of "
                f"the {side} are {got} wide. Leave ggml out"
            )
    expected = _assumed_ids(config.vocab_size)
    got = {name: getattr(vocabulary, name) for name in expected}
    if got != expected:
        raise ConfigError(
            f"whisper.cpp expects, in a vocabulary of {config.vocab_size} tokens, the special ones "
            f"at {expected}; the tokenizer has them at {got}. Leave ggml out"
        )


def _assumed_ids(size: int) -> dict[str, int]:
    """The file names no special token: whisper.cpp knows them from the vocabulary's size."""
    multilingual = size >= 51865
    end = 50256 + multilingual
    translate = end + 2 + size - 51765 - multilingual  # behind start and the languages
    places = {"translate": 0, "transcribe": 1, "previous": 3, "no_speech": 4, "no_timestamps": 5}
    return {"end": end, "start": end + 1} | {n: translate + place for n, place in places.items()}


def write_files(folder: Path, student: Student) -> None:
    """Write the file into a folder that is there."""
    state = to_state_dict(student.config, student.params)
    content = GgmlFile(
        header=_header(student),
        mel_filters=mel_filters(student.config.n_mels).T,
        tokens=text_tokens(student.vocabulary),
        tensors={openai_name(name): _laid_out(name, state[name]) for name in state},
    )
    write_ggml(folder / WEIGHTS, content)


def _header(student: Student) -> dict[str, int]:
    shape = student.config.to_hf()
    return {
        "vocab": shape["vocab_size"],
        **_side(shape, "encoder", "audio", shape["max_source_positions"]),
        **_side(shape, "decoder", "text", shape["max_target_positions"]),
        "mels": shape["num_mel_bins"],
        "type": _FLOAT16,
    }


def _side(shape: dict[str, Any], ours: str, theirs: str, positions: int) -> dict[str, int]:
    return {
        f"{theirs}_positions": positions,
        f"{theirs}_width": shape["d_model"],
        f"{theirs}_heads": shape[f"{ours}_attention_heads"],
        f"{theirs}_layers": shape[f"{ours}_layers"],
    }


def text_tokens(vocabulary: Vocabulary) -> list[bytes]:
    """The bytes of each token before the special ones, by its id."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
    names = {i: name for name, i in vocabulary.tokenizer["model"]["vocab"].items()}
    return [bytes(byte_of[letter] for letter in names[i]) for i in range(vocabulary.end)]


def _laid_out(name: str, array: np.ndarray) -> np.ndarray:
    array = array.astype(_dtype(name, array), copy=False)
    return array[:, None] if name.endswith(_CONV_BIASES) else array


def _dtype(name: str, array: np.ndarray) -> type[np.floating]:
    """Vectors and positions are float32."""
    return np.float32 if array.ndim < 2 or "embed_positions" in name else np.float16


def verify_files(folder: Path, student: Student, logits: Logits) -> dict[str, Any]:
    """Read the file again and compare it with the student: see verify.py."""
    path = folder / WEIGHTS
    content = read_ggml(path)
    expected = _header(student), text_tokens(student.vocabulary)
    if (content.header, content.tokens) != expected:
        raise UserError(f"{path}: its header or tokens differ from the student's; export again")

    def rounding(name: str, array: np.ndarray) -> np.ndarray:
        return array.astype(_dtype(name, array)).astype(np.float32)

    loaded = _params(path, content, student)
    return verify(path, loaded, student, logits, rounding, exact=False)


def _params(path: Path, content: GgmlFile, student: Student) -> Params:
    table, shapes = name_table(student.config), parameter_shapes(student.config)
    hf_names = {openai_name(name): name for name, _ in named_tensors(student.params, table)}
    state = {
        hf_names.get(name, name): array[:, 0] if name.endswith(_CONV_BIASES) else array
        for name, array in content.tensors.items()
    }
    return from_state_dict(state, table, shapes, str(path))

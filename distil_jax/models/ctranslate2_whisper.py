"""A Whisper in CTranslate2's layout <-> config and state dict under Hugging Face names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from distil_jax.errors import UserError
from distil_jax.models.alignment_heads import upper_half
from distil_jax.models.ctranslate2 import Variables
from distil_jax.models.ctranslate2_names import KEY_BIAS, hf_names, variable_name

SPEC, REVISION = "WhisperSpec", 3
# Scalars that say how the model computes: what every Whisper has. GELU is 3 in their enumeration.
_FIXED = {
    "decoder/activation": 3,
    "decoder/alibi": 0,
    "decoder/alibi_use_positive_positions": 0,
    "decoder/pre_norm": 1,
    "decoder/scale_alibi": 0,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}
# Their spec's defaults; for Whisper the heads to align by stand in config.json instead.
_ALIGNMENT = {"decoder/alignment_heads": 1, "decoder/alignment_layer": -1}
_CONFIG_FIELDS = {
    "suppress_ids": "suppress_tokens",
    "suppress_ids_begin": "begin_suppress_tokens",
    "alignment_heads": "alignment_heads",
}


def whisper_state(variables: Variables) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(the fields of config.json, tensors by Hugging Face names).

    Joined query-key-value matrices are split; key biases must be zero (Whisper has none) and are
    left out. Raises UserError when the file holds another model.
    """
    if (variables.spec, variables.revision) != (SPEC, REVISION):
        raise UserError(
            f"{variables.source}: expected a model of spec {SPEC} revision {REVISION}, got "
            f"{variables.spec} revision {variables.revision}. Give a Whisper converted with a "
            f"current CTranslate2 (ct2-transformers-converter)."
        )
    _check_fixed(variables)
    state = {}
    for name, array in variables.arrays.items():
        if array.ndim:
            state.update(_split(name, array, variables.source))
    return _config(variables, state), state


def _check_fixed(variables: Variables) -> None:
    for name, expected in _FIXED.items():
        got = _scalar(variables, name) if name in variables.arrays else expected
        if got != expected:
            raise UserError(
                f"{variables.source}: '{name}' is {got}; expected {expected}, as in every Whisper."
            )


def _scalar(variables: Variables, name: str) -> int:
    array = variables.arrays[name]
    if array.ndim:
        raise UserError(f"{variables.source}: '{name}' has shape {array.shape}; expected a number.")
    return int(array)


def _split(name: str, array: np.ndarray, source: str) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors that a variable holds, by their Hugging Face names."""
    parts = hf_names(name)
    if len(array) % len(parts):
        raise UserError(
            f"{source}: {name} has {len(array)} rows; expected {len(parts)} equal parts "
            f"({', '.join(parts)})."
        )
    for part, rows in zip(parts, np.split(array, len(parts)), strict=True):
        if not part.endswith(KEY_BIAS):
            yield part, rows
        elif np.any(rows):
            raise UserError(f"{source}: {part} is not zero, but Whisper has no key bias.")


def _config(variables: Variables, state: dict[str, np.ndarray]) -> dict[str, Any]:
    try:
        return {"model_type": "whisper", **_shape(variables, state)}
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"{variables.source}: expected a complete Whisper, but of its tensors one is "
            f"missing or has another rank ({error})."
        ) from error


def _shape(variables: Variables, state: dict[str, np.ndarray]) -> dict[str, Any]:
    vocab_size, width = state["model.decoder.embed_tokens.weight"].shape
    shape = {
        "vocab_size": vocab_size,
        "d_model": width,
        "num_mel_bins": state["model.encoder.conv1.weight"].shape[1],
        "max_source_positions": len(state["model.encoder.embed_positions.weight"]),
        "max_target_positions": len(state["model.decoder.embed_positions.weight"]),
    }
    for side in ("encoder", "decoder"):
        shape[f"{side}_layers"] = len({_layer(name) for name in state if f"{side}.layers." in name})
        shape[f"{side}_attention_heads"] = _scalar(variables, f"{side}/num_heads")
        shape[f"{side}_ffn_dim"] = len(state[f"model.{side}.layers.0.fc1.weight"])
    return shape


def _layer(name: str) -> str:
    return name.split(".")[3]


def generation_config(values: dict[str, Any]) -> dict[str, Any]:
    """CTranslate2's config.json -> the fields of a Hugging Face generation_config.json.

    Its `lang_ids` are left out: in conversions of .en models they are off by one.
    """
    names = _CONFIG_FIELDS.items()
    return {theirs: values[ours] for ours, theirs in names if values.get(ours) is not None}


def whisper_variables(
    state: Mapping[str, np.ndarray], encoder_heads: int, decoder_heads: int
) -> dict[str, np.ndarray]:
    """Variables by CTranslate2's names; the inverse of `whisper_state`.

    state: tensors by their Hugging Face names, without the tied head. Queries, keys and values are
    joined, with zeros for the key bias; scalars have the types that CTranslate2 expects.
    """
    variables = {name: _joined(name, state) for name in {variable_name(hf) for hf in state}}
    scalars = {name: np.int8(value) for name, value in _FIXED.items()}
    shorts = {"encoder/num_heads": encoder_heads, "decoder/num_heads": decoder_heads, **_ALIGNMENT}
    scalars |= {name: np.int16(value) for name, value in shorts.items()}
    return variables | {name: np.asarray(value) for name, value in scalars.items()}


def _joined(name: str, state: Mapping[str, np.ndarray]) -> np.ndarray:
    parts = hf_names(name)
    if len(parts) == 1:
        return state[parts[0]]
    other = state[parts[-1]]  # of the value, which has a bias
    zeros = {part: np.zeros_like(other) for part in parts if part.endswith(KEY_BIAS)}
    return np.concatenate([zeros[part] if part in zeros else state[part] for part in parts])


def converted_config(
    generation: Mapping[str, Any],
    language_ids: Iterable[int],
    decoder_layers: int,
    decoder_heads: int,
) -> dict[str, Sequence]:
    """CTranslate2's config.json of a model with this generation_config.json.

    Where no alignment heads are known they are all of the upper half of the layers, as in OpenAI's
    whisper/model.py: without any, faster-whisper has no word timestamps.
    """
    values = {ours: generation.get(theirs) or [] for ours, theirs in _CONFIG_FIELDS.items()}
    upper = upper_half(decoder_layers, decoder_heads)
    values["alignment_heads"] = values["alignment_heads"] or [list(each) for each in upper]
    return {**values, "lang_ids": sorted(language_ids)}

"""A Whisper in CTranslate2's layout -> config and state dict under Hugging Face names."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from distil_jax.errors import UserError
from distil_jax.models.ctranslate2 import Variables

SPEC, REVISION = "WhisperSpec", 3
# Scalars that say how the model computes: what every Whisper has. GELU is 3 in their enumeration.
_FIXED = {
    "decoder/activation": 3,
    "decoder/alibi": 0,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}
_FEATURES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
_MODULES = {
    "conv1": "conv1",
    "conv2": "conv2",
    "layer_norm": "layer_norm",
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
# Joined projections: rows of q, k and v below each other.
_ATTENTIONS = {
    "self_attention/linear_0": ("self_attn", ("q_proj", "k_proj", "v_proj")),
    "self_attention/linear_1": ("self_attn", ("out_proj",)),
    "attention/linear_0": ("encoder_attn", ("q_proj",)),
    "attention/linear_1": ("encoder_attn", ("k_proj", "v_proj")),
    "attention/linear_2": ("encoder_attn", ("out_proj",)),
}
_WHOLE_NAMES = {
    "encoder/position_encodings/encodings": "model.encoder.embed_positions.weight",
    "decoder/position_encodings/encodings": "model.decoder.embed_positions.weight",
    "decoder/embeddings/weight": "model.decoder.embed_tokens.weight",
    "decoder/projection/weight": "proj_out.weight",
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
            state.update(_translated(name, array, variables.source))
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


def _translated(name: str, array: np.ndarray, source: str) -> Iterator[tuple[str, np.ndarray]]:
    if name in _WHOLE_NAMES:
        yield _WHOLE_NAMES[name], array
        return
    match = re.fullmatch(r"(encoder|decoder)/(?:layer_(\d+)/)?(.+)/([a-z]+)", name)
    side, layer, module, feature = match.groups() if match else ("", None, "", "")
    prefix = f"model.{side}." + (f"layers.{layer}." if layer is not None else "")
    feature = _FEATURES.get(feature, feature)
    if module in _ATTENTIONS:
        yield from _split(f"{prefix}%s.{feature}", array, _ATTENTIONS[module], source)
    elif module in _MODULES:
        yield f"{prefix}{_MODULES[module]}.{feature}", array
    else:
        yield name, array  # unknown: the name table will say that it is unexpected


def _split(
    pattern: str, array: np.ndarray, joined: tuple[str, tuple[str, ...]], source: str
) -> Iterator[tuple[str, np.ndarray]]:
    attention, projections = joined
    if len(array) % len(projections):
        raise UserError(
            f"{source}: {pattern % attention} has {len(array)} rows; expected {len(projections)} "
            f"equal parts ({', '.join(projections)})."
        )
    for projection, part in zip(projections, np.split(array, len(projections)), strict=True):
        name = pattern % f"{attention}.{projection}"
        if not name.endswith("k_proj.bias"):
            yield name, part
        elif np.any(part):
            raise UserError(f"{source}: {name} is not zero, but Whisper has no key bias.")


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
    names = {
        "suppress_ids": "suppress_tokens",
        "suppress_ids_begin": "begin_suppress_tokens",
        "alignment_heads": "alignment_heads",
    }
    return {theirs: values[ours] for ours, theirs in names.items() if values.get(ours) is not None}

"""Which heads of a decoder's attention to the encoder follow the sound: (layer, head) of each."""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from distil_jax.models.architecture import ModelConfig

Heads = tuple[tuple[int, int], ...]


def alignment_heads(generation_config: Mapping[str, Any], config: ModelConfig) -> Heads:
    """Those that the generation config names, if the decoder has all of them.

    A student's may be its teacher's, and then say nothing of it. Where none are known they are all
    of the upper half of the layers, as in OpenAI's whisper/model.py.
    """
    shape = config.to_hf()
    layers, heads = shape["decoder_layers"], shape["decoder_attention_heads"]
    named = tuple((layer, head) for layer, head in generation_config.get("alignment_heads") or ())
    if named and all(layer < layers and head < heads for layer, head in named):
        return named
    return upper_half(layers, heads)


def upper_half(layers: int, heads: int) -> Heads:
    """All heads of the upper half of the layers."""
    return all_heads(range(layers // 2, layers), heads)


def all_heads(layers: Iterable[int], heads: int) -> Heads:
    """Every head of some layers."""
    return tuple(product(layers, range(heads)))

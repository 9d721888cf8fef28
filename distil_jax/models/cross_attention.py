"""Where a decoder looks in the sound: the weights of its attention to the encoder, by head.

b batch, t target tokens, s encoder positions, d model width, k head width, n heads that are asked
for, l layers.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from distil_jax.models.alignment_heads import Heads
from distil_jax.models.whisper_decoder import Decoder, DecoderBlock


class Attended(NamedTuple):
    """hidden [b, t, d] of the last layer; weights [b, n, t, s] float32, whose rows sum up to 1."""

    hidden: jax.Array
    weights: jax.Array


def attend_by_head(
    decoder: Decoder, tokens: jax.Array, encoded: jax.Array, heads: Heads
) -> Attended:
    """All positions at once: tokens [b, t], encoded [b, s, d].

    A pass of its own, beside `decoder(tokens, encoded)`, which never holds any weights whole.
    """
    graph, layers = nnx.split(decoder.blocks)
    time = tokens.shape[1]
    mask = jnp.tril(jnp.ones((time, time), bool))

    def through(x: jax.Array, layer: nnx.State) -> tuple[jax.Array, jax.Array]:
        block: Any = nnx.merge(graph, layer)
        x = block.attend_tokens(x, mask)
        return block.attend_encoder(x, encoded), x

    x, before = jax.lax.scan(through, decoder._embed(tokens, decoder.positions[:time]), layers)

    def of_layer(number: int) -> tuple[jax.Array, jax.Array]:
        block: Any = nnx.merge(graph, jax.tree.map(lambda a: a[number], layers))
        return _queries_keys(block, before[number], encoded)

    by_layer = {layer: of_layer(layer) for layer in sorted({layer for layer, _ in heads})}
    weights = [_weights(*(each[:, head] for each in by_layer[layer])) for layer, head in heads]
    return Attended(decoder._finish(x), jnp.stack(weights, axis=1))


def _queries_keys(
    block: DecoderBlock, x: jax.Array, encoded: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Of a layer's attention to the encoder: [b, h, t, k], [b, h, k, s]."""
    attention = block.cross_attention
    queries = attention.split(attention.query(block.cross_norm(x)))
    return queries, attention.keys_values(encoded)[0]


def _weights(query: jax.Array, keys: jax.Array) -> jax.Array:
    """Of one head: [b, t, k], [b, k, s] -> [b, t, s]."""
    query = query * query.shape[-1] ** -0.5
    scores = jnp.einsum("btk,bks->bts", query, keys, preferred_element_type=jnp.float32)
    return jax.nn.softmax(scores, axis=-1)


def text_probabilities(
    decoder: Decoder, hidden: jax.Array, following: jax.Array, text_tokens: int
) -> jax.Array:
    """How probable the token that follows is, of all text. hidden [b, t, d], following [b, t].

    Text are the ids below `text_tokens`; what is none has 0. As in OpenAI's whisper/timing.py,
    `find_alignment`. -> [b, t] float32. Clips go through one by one: the logits of all would not
    fit.
    """

    def of_clip(clip: tuple[jax.Array, jax.Array]) -> jax.Array:
        hidden, following = clip
        probabilities = jax.nn.softmax(decoder.logits(hidden)[:, :text_tokens], axis=-1)
        at = jnp.minimum(following, text_tokens - 1)[:, None]
        found = jnp.take_along_axis(probabilities, at, axis=1)[:, 0]
        return jnp.where(following < text_tokens, found, 0.0)

    return jax.lax.map(of_clip, (hidden, following))

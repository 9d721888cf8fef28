"""Whisper's decoder: all positions at once, or some more of them behind a cache.

b batch, t target tokens, s encoder positions (1500), d model width, l layers, v vocabulary.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from distil_jax.mesh import constrain, on_one_cpu
from distil_jax.models.attention import Attention, KeysValues, Memory, Reader
from distil_jax.models.decoder_cache import Cache, LayerCache, StackCache, positions_after
from distil_jax.models.layers import (
    MLP,
    Compute,
    LayerNorm,
    apply_stack,
    over_clips,
    over_layers,
    stack,
    unstack,
)
from distil_jax.models.products import project_few

if TYPE_CHECKING:
    from distil_jax.models.whisper import WhisperConfig


class Steps(NamedTuple):
    """What stays the same from token to token: blocks, and what they read.

    On a CPU the blocks are single; elsewhere there is one stack of them, compiled once.
    readers: how each block reads it, or, after `Decoder.remember`, its keys and values of it.
    padding [b]: with so many tokens each row begins that nothing looks at; None: no row does.
    """

    blocks: list["DecoderBlock"]
    readers: Sequence[Reader | KeysValues]
    memory: Memory
    padding: jax.Array | None

    def of_rows(self, rows: jax.Array) -> "Steps":
        """Of these rows of the batch."""

        def of(given: Any) -> Any:
            return jax.tree.map(lambda a: a[rows], given)

        readers = [of(each) if isinstance(each, KeysValues) else each for each in self.readers]
        return Steps(self.blocks, readers, of(self.memory), of(self.padding))


class DecoderBlock(nnx.Module):
    """Causal self-attention, attention to the encoder, MLP."""

    def __init__(self, config: "WhisperConfig", compute: Compute, rngs: nnx.Rngs):
        self.attention_norm = LayerNorm(config.d_model, rngs)
        self.attention = Attention(config.d_model, config.decoder_heads, compute, rngs)
        self.cross_norm = LayerNorm(config.d_model, rngs)
        self.cross_attention = Attention(config.d_model, config.decoder_heads, compute, rngs)
        self.mlp_norm = LayerNorm(config.d_model, rngs)
        self.mlp = MLP(config.d_model, config.decoder_ffn, compute.dtype, rngs)

    def __call__(self, x: jax.Array, encoded: jax.Array, mask: jax.Array) -> jax.Array:
        """x [b, t, d], encoded [b, s, d], mask [t, t] -> [b, t, d]."""
        return self.attend_encoder(self.attend_tokens(x, mask), encoded)

    def attend_tokens(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """The first part of a call: what `attend_encoder` goes on with."""
        normed = self.attention_norm(x)
        return x + self.attention(normed, *self.attention.keys_values(normed), mask)

    def attend_encoder(self, x: jax.Array, encoded: jax.Array) -> jax.Array:
        """The rest of a call."""
        x = x + self._attend_encoder(self.cross_norm(x), encoded)
        return x + self.mlp(self.mlp_norm(x))

    def extend(
        self,
        x: jax.Array,
        cache: LayerCache | StackCache,
        layer: jax.Array | int,
        memory: Memory,
        reader: Reader | KeysValues,
        length: jax.Array,
        padding: jax.Array | None = None,
    ) -> tuple[jax.Array, LayerCache | StackCache]:
        """x [b, t, d] stands at positions `length` and after; earlier ones are in the cache."""
        normed = self.attention_norm(x)
        cache = cache.put(layer, length, self.attention.keys_values(normed))
        seen = cache.of(layer)
        places = jnp.arange(seen.keys.shape[-1])
        mask = places <= positions_after(length, x.shape[1])[..., None]
        mask = mask[:, None] if length.ndim else mask
        if padding is not None:
            mask &= places >= padding[:, None, None, None]
        x = x + self.attention(normed, *seen, mask)
        normed = self.cross_norm(x)
        if isinstance(reader, KeysValues):
            x = x + self.cross_attention(normed, *reader)
        elif self._has_few_queries(x):
            x = x + self.cross_attention.read(normed, memory, reader)
        else:
            x = x + self._attend_encoder(normed, memory.states)
        return x + self.mlp(self.mlp_norm(x)), cache

    def _attend_encoder(self, normed: jax.Array, encoded: jax.Array) -> jax.Array:
        attention = self.cross_attention
        if on_one_cpu() and self._has_few_queries(normed):
            return attention.read(normed, Memory(encoded), attention.reader(encoded.dtype))

        def attend(normed: jax.Array, encoded: jax.Array) -> jax.Array:
            return attention(normed, *attention.keys_values(encoded))

        return over_clips(attend, normed, encoded)

    def _has_few_queries(self, x: jax.Array) -> bool:
        """So that products with all that the encoder made are fewer without keys. x [b, t, d]."""
        return x.shape[1] * self.cross_attention.heads <= x.shape[2]


class Decoder(nnx.Module):
    """Tokens and encoder states to final hidden states; the head is the embedding."""

    def __init__(self, config: "WhisperConfig", compute: Compute, rngs: nnx.Rngs):
        self.compute = compute
        self.config = config
        init = nnx.initializers.normal(0.02)
        self.embedding = nnx.Param(init(rngs.params(), (config.vocab_size, config.d_model)))
        self.positions = nnx.Param(
            init(rngs.params(), (config.max_target_positions, config.d_model))
        )
        self.blocks = stack(
            lambda rngs: DecoderBlock(config, compute, rngs), config.decoder_layers, rngs
        )
        self.norm = LayerNorm(config.d_model, rngs)

    def __call__(self, tokens: jax.Array, encoded: jax.Array) -> jax.Array:
        """All positions at once. tokens [b, t], encoded [b, s, d] -> hidden [b, t, d]."""
        time = tokens.shape[1]
        x = constrain(self._embed(tokens, self.positions[:time]), "batch")
        mask = jnp.tril(jnp.ones((time, time), bool))
        return self._finish(apply_stack(self.blocks, x, self.compute.remat, encoded, mask))

    def start(
        self, encoded: jax.Array, length: int, padding: jax.Array | None = None
    ) -> tuple[Steps, Cache]:
        """What decoding token by token needs, and an empty cache.

        encoded [b, s, d]; `length` is the most positions that will be decoded, `padding` [b] how
        many of them come before a row's first token.
        """
        count, heads = self.config.decoder_layers, self.config.decoder_heads
        single = on_one_cpu()
        batch, width = encoded.shape[0], self.config.d_model // heads
        shape = (batch * heads, length, width) if single else (count, batch, heads, length, width)
        values = jnp.zeros(shape, jnp.float32 if single else encoded.dtype)
        kind = LayerCache if single else StackCache
        layers = [kind(values.swapaxes(-1, -2), values)] * (count if single else 1)
        blocks = unstack(self.blocks) if single else [self.blocks]

        def reader(block: DecoderBlock) -> Reader:
            return block.cross_attention.reader(encoded.dtype)

        readers = [reader(block) if single else over_layers(reader, block) for block in blocks]
        steps = Steps(blocks, readers, Memory.of(encoded), padding)
        return steps, Cache(layers, jnp.zeros((), jnp.int32))

    def remember(self, steps: Steps, wanted: jax.Array) -> Steps:
        """For many more tokens of the wanted rows [b], what takes the least time of each.

        On a CPU to make keys and values of what the encoder made pays after some forty tokens in
        float32; in bfloat16 products of single queries with them are slow, and elsewhere reading
        is bound by memory, and reads no more without them.
        """
        if not on_one_cpu() or steps.memory.turned is not None:
            return steps

        def of(block: DecoderBlock) -> KeysValues:
            return over_clips(block.cross_attention.keys_values, steps.memory.states, wanted=wanted)

        return steps._replace(readers=[of(block) for block in steps.blocks])

    def extend(self, steps: Steps, tokens: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """The next tokens [b, t] -> hidden [b, t, d] and the longer cache."""
        time = tokens.shape[1]
        if steps.padding is None and not cache.length.ndim:
            positions = jax.lax.dynamic_slice_in_dim(self.positions[...], cache.length, time)
        else:
            padding = 0 if steps.padding is None else steps.padding[:, None]
            places = positions_after(cache.length, time) - padding
            last = self.config.max_target_positions - 1
            positions = self.positions[...][jnp.clip(places, 0, last)]
        x = self._embed(tokens, positions)
        layers = []
        for block, reader, layer in zip(steps.blocks, steps.readers, cache.layers, strict=True):
            x, layer = self._extend(block, reader, x, layer, steps, cache.length)
            layers.append(layer)
        return self._finish(x), Cache(layers, cache.length + time)

    def _extend(
        self,
        block: DecoderBlock,
        reader: Reader | KeysValues,
        x: jax.Array,
        cache: LayerCache | StackCache,
        steps: Steps,
        length: jax.Array,
    ) -> tuple[jax.Array, LayerCache | StackCache]:
        """Through one block, or one after the other through all of a stack."""
        memory, padding = steps.memory, steps.padding
        if on_one_cpu():
            return block.extend(x, cache, 0, memory, reader, length, padding)
        graph, state = nnx.split(block)

        def body(layer: jax.Array, carry: tuple[jax.Array, LayerCache | StackCache]):
            one, own = jax.tree.map(lambda a: a[layer], (state, reader))
            x, cache = carry
            return nnx.merge(graph, one).extend(x, cache, layer, memory, own, length, padding)

        return jax.lax.fori_loop(0, self.config.decoder_layers, body, (x, cache))

    def logits(self, hidden: jax.Array) -> jax.Array:
        """[..., d] -> [..., v] float32."""
        head = self.embedding[...].astype(hidden.dtype)
        if on_one_cpu():
            return project_few(hidden, head)
        return jnp.einsum("...d,vd->...v", hidden, head, preferred_element_type=jnp.float32)

    def _embed(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        dtype = jnp.dtype(self.compute.dtype)
        return self.embedding[...][tokens].astype(dtype) + positions.astype(dtype)

    def _finish(self, x: jax.Array) -> jax.Array:
        return self.norm(x).astype(x.dtype)

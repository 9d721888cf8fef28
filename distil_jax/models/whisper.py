"""Whisper (Radford et al. 2022, arXiv:2212.04356): configuration and modules.

Every published shape: tiny to large-v3, turbo, .en; 80 and 128 mels.
b batch, t target tokens, s encoder positions (1500), d model width, l layers, v vocabulary.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from distil_jax.errors import UserError
from distil_jax.mesh import constrain, on_one_cpu
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.attention import Attention, Reader
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
from distil_jax.models.log_mel import Excerpt, excerpt_log_mel, log_mel
from distil_jax.models.whisper_flops import decoder_flops as decoder_flops
from distil_jax.models.whisper_flops import encoder_flops as encoder_flops
from distil_jax.models.whisper_names import NAME_TABLE as NAME_TABLE
from distil_jax.objectives.signals import Signals


class WhisperConfig(ModelConfig):
    """The shape of a Whisper: the fields of transformers' config that change what it computes."""

    d_model: int
    encoder_layers: int
    decoder_layers: int
    encoder_heads: int
    decoder_heads: int
    encoder_ffn: int
    decoder_ffn: int
    vocab_size: int
    n_mels: int = 80
    max_source_positions: int = 1500
    max_target_positions: int = 448

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> "WhisperConfig":
        """From the dict of a Hugging Face config.json."""
        if values.get("activation_function", "gelu") != "gelu" or values.get("scale_embedding"):
            raise UserError(
                "this Whisper config asks for another activation than gelu, or for scaled "
                "embeddings; no published Whisper does, and neither is supported"
            )
        try:
            return cls(**{ours: values[hf] for ours, hf in _HF_FIELDS.items()})
        except KeyError as error:
            raise UserError(f"config.json lacks {error}; is it a Whisper model?") from None

    def to_hf(self) -> dict[str, Any]:
        """The fields of config.json that say what the model computes."""
        shape = {hf: getattr(self, ours) for ours, hf in _HF_FIELDS.items()}
        return {
            "architectures": ["WhisperForConditionalGeneration"],
            "model_type": "whisper",
            **shape,
            "activation_function": "gelu",
            "scale_embedding": False,
        }


_HF_FIELDS = {
    "d_model": "d_model",
    "encoder_layers": "encoder_layers",
    "decoder_layers": "decoder_layers",
    "encoder_heads": "encoder_attention_heads",
    "decoder_heads": "decoder_attention_heads",
    "encoder_ffn": "encoder_ffn_dim",
    "decoder_ffn": "decoder_ffn_dim",
    "vocab_size": "vocab_size",
    "n_mels": "num_mel_bins",
    "max_source_positions": "max_source_positions",
    "max_target_positions": "max_target_positions",
}


# Sinusoids, which no published Whisper was trained to change.
FIXED = ("encoder.positions",)


class EncoderBlock(nnx.Module):
    """Self-attention and MLP, each behind a norm and beside a residual. [b, s, d] -> [b, s, d]."""

    def __init__(self, config: WhisperConfig, compute: Compute, rngs: nnx.Rngs):
        self.attention_norm = LayerNorm(config.d_model, rngs)
        self.attention = Attention(config.d_model, config.encoder_heads, compute, rngs)
        self.mlp_norm = LayerNorm(config.d_model, rngs)
        self.mlp = MLP(config.d_model, config.encoder_ffn, compute.dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        normed = self.attention_norm(x)
        x = x + self.attention(normed, *self.attention.keys_values(normed))
        return x + self.mlp(self.mlp_norm(x))


class Encoder(nnx.Module):
    """Log-mel frames to hidden states."""

    def __init__(self, config: WhisperConfig, compute: Compute, rngs: nnx.Rngs):
        self.compute = compute
        width, dtype = config.d_model, jnp.dtype(compute.dtype)
        self.conv1 = nnx.Conv(config.n_mels, width, 3, padding=1, dtype=dtype, rngs=rngs)
        self.conv2 = nnx.Conv(width, width, 3, strides=2, padding=1, dtype=dtype, rngs=rngs)
        self.positions = nnx.Param(jnp.zeros((config.max_source_positions, width)))
        self.blocks = stack(
            lambda rngs: EncoderBlock(config, compute, rngs), config.encoder_layers, rngs
        )
        self.norm = LayerNorm(width, rngs)

    def __call__(self, mel: jax.Array) -> jax.Array:
        """[b, 3000, n_mels] -> [b, 1500, d]."""
        x = jax.nn.gelu(self.conv1(mel), approximate=False)
        x = jax.nn.gelu(self.conv2(x), approximate=False)
        x = constrain(x + self.positions[...].astype(x.dtype), "batch")
        return self.norm(apply_stack(self.blocks, x, self.compute.remat)).astype(x.dtype)


class LayerCache(NamedTuple):
    """Of n decoder layers and earlier tokens: keys [n, b, h, k, t], values [n, b, h, t, k]."""

    keys: jax.Array
    values: jax.Array

    def put(self, layer: jax.Array | int, length: jax.Array, new: tuple) -> "LayerCache":
        """With the new keys and values of one layer at positions `length` and after.

        length: of all rows, or of each its own [b].
        """
        if length.ndim:
            return self._put_by_row(layer, length, new)
        keys, values = (x[None].astype(self.keys.dtype) for x in new)
        return LayerCache(
            jax.lax.dynamic_update_slice(self.keys, keys, (layer, 0, 0, 0, length)),
            jax.lax.dynamic_update_slice(self.values, values, (layer, 0, 0, length, 0)),
        )

    def _put_by_row(self, layer: jax.Array | int, length: jax.Array, new: tuple) -> "LayerCache":
        keys, values = (x.astype(self.keys.dtype) for x in new)
        rows = jnp.arange(keys.shape[0])[:, None]
        at = positions_after(length, keys.shape[3])
        # What is indexed comes first: both are [b, t, h, k].
        return LayerCache(
            self.keys.at[layer, rows, :, :, at].set(keys.transpose(0, 3, 1, 2)),
            self.values.at[layer, rows, :, at, :].set(values.swapaxes(1, 2)),
        )

    def of(self, layer: jax.Array | int) -> tuple[jax.Array, jax.Array]:
        """Keys [b, h, k, t] and values [b, h, t, k] of one layer."""
        return self.keys[layer], self.values[layer]


def positions_after(length: jax.Array, count: int) -> jax.Array:
    """The next `count` positions: [t], or [b, t] where each row has a length of its own [b]."""
    return length[..., None] + jnp.arange(count)


class Cache(NamedTuple):
    """A static key-value cache: of all layers, and how many positions are filled.

    length: of all rows, or of each its own [b]. To forget the last positions, set it back.
    """

    layers: list[LayerCache]
    length: jax.Array


class Steps(NamedTuple):
    """What stays the same from token to token: blocks, and what they read [b, s, d].

    On a CPU the blocks are single; elsewhere there is one stack of them, compiled once.
    padding [b]: with so many tokens each row begins that nothing looks at; None: no row does.
    """

    blocks: list["DecoderBlock"]
    readers: list[Reader]
    encoded: jax.Array
    padding: jax.Array | None


class DecoderBlock(nnx.Module):
    """Causal self-attention, attention to the encoder, MLP."""

    def __init__(self, config: WhisperConfig, compute: Compute, rngs: nnx.Rngs):
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
        cache: LayerCache,
        layer: jax.Array | int,
        encoded: jax.Array,
        reader: Reader,
        length: jax.Array,
        padding: jax.Array | None = None,
    ) -> tuple[jax.Array, LayerCache]:
        """x [b, t, d] stands at positions `length` and after; earlier ones are in the cache."""
        normed = self.attention_norm(x)
        cache = cache.put(layer, length, self.attention.keys_values(normed))
        keys, values = cache.of(layer)
        places = jnp.arange(keys.shape[3])
        mask = places <= positions_after(length, x.shape[1])[..., None]
        mask = mask[:, None] if length.ndim else mask
        if padding is not None:
            mask &= places >= padding[:, None, None, None]
        x = x + self.attention(normed, keys, values, mask)
        normed = self.cross_norm(x)
        if self._has_few_queries(x):
            x = x + self.cross_attention.read(normed, encoded, reader)
        else:
            x = x + self._attend_encoder(normed, encoded)
        return x + self.mlp(self.mlp_norm(x)), cache

    def _attend_encoder(self, normed: jax.Array, encoded: jax.Array) -> jax.Array:
        attention = self.cross_attention
        if on_one_cpu() and self._has_few_queries(normed):
            return attention.read(normed, encoded, attention.reader(encoded.dtype))

        def attend(normed: jax.Array, encoded: jax.Array) -> jax.Array:
            return attention(normed, *attention.keys_values(encoded))

        return over_clips(attend, normed, encoded)

    def _has_few_queries(self, x: jax.Array) -> bool:
        """So that products with all that the encoder made are fewer without keys. x [b, t, d]."""
        return x.shape[1] * self.cross_attention.heads <= x.shape[2]


class Decoder(nnx.Module):
    """Tokens and encoder states to final hidden states; the head is the embedding."""

    def __init__(self, config: WhisperConfig, compute: Compute, rngs: nnx.Rngs):
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
        values = jnp.zeros(
            (1 if single else count, encoded.shape[0], heads, length, self.config.d_model // heads),
            encoded.dtype,
        )
        layers = [LayerCache(values.swapaxes(3, 4), values)] * (count if single else 1)
        blocks = unstack(self.blocks) if single else [self.blocks]

        def reader(block: DecoderBlock) -> Reader:
            return block.cross_attention.reader(encoded.dtype)

        readers = [reader(block) if single else over_layers(reader, block) for block in blocks]
        return Steps(blocks, readers, encoded, padding), Cache(layers, jnp.zeros((), jnp.int32))

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
        reader: Reader,
        x: jax.Array,
        cache: LayerCache,
        steps: Steps,
        length: jax.Array,
    ) -> tuple[jax.Array, LayerCache]:
        """Through one block, or one after the other through all of a stack."""
        encoded, padding = steps.encoded, steps.padding
        if on_one_cpu():
            return block.extend(x, cache, 0, encoded, reader, length, padding)
        graph, state = nnx.split(block)

        def body(layer: jax.Array, carry: tuple[jax.Array, LayerCache]):
            one, own = jax.tree.map(lambda a: a[layer], (state, reader))
            x, cache = carry
            return nnx.merge(graph, one).extend(x, cache, layer, encoded, own, length, padding)

        return jax.lax.fori_loop(0, self.config.decoder_layers, body, (x, cache))

    def logits(self, hidden: jax.Array) -> jax.Array:
        """[..., d] -> [..., v] float32."""
        head = self.embedding[...].astype(hidden.dtype)
        return jnp.einsum("...d,vd->...v", hidden, head, preferred_element_type=jnp.float32)

    def _embed(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        dtype = jnp.dtype(self.compute.dtype)
        return self.embedding[...][tokens].astype(dtype) + positions.astype(dtype)

    def _finish(self, x: jax.Array) -> jax.Array:
        return self.norm(x).astype(x.dtype)


class Whisper(nnx.Module):
    """An encoder of 30-second clips and a decoder of tokens."""

    def __init__(self, config: WhisperConfig, compute: Compute, *, rngs: nnx.Rngs):
        self.config = config
        self.encoder = Encoder(config, compute, rngs)
        self.decoder = Decoder(config, compute, rngs)

    def encode(self, samples: jax.Array) -> jax.Array:
        """16 kHz samples of whole clips [b, 480000] -> hidden states [b, 1500, d]."""
        return over_clips(lambda clips: self.encoder(log_mel(clips, self.config.n_mels)), samples)

    def encode_excerpt(self, excerpt: Excerpt) -> jax.Array:
        """30 s out of longer recordings -> hidden states [b, 1500, d]."""

        def encode(*parts: jax.Array) -> jax.Array:
            return self.encoder(excerpt_log_mel(Excerpt(*parts), self.config.n_mels))

        return over_clips(encode, *excerpt)

    def signals(self, tokens: jax.Array, encoded: jax.Array) -> Signals:
        """Teacher forcing: tokens [b, t], encoded [b, s, d] -> what the objectives look at."""
        return Signals(self.decoder(tokens, encoded), self.decoder.embedding[...])


@lru_cache
def _graph(config: WhisperConfig, compute: Compute) -> nnx.GraphDef:
    model = nnx.eval_shape(lambda: Whisper(config, compute, rngs=nnx.Rngs(0)))
    return nnx.split(model)[0]


def bind(config: WhisperConfig, compute: Compute, params: dict) -> Whisper:
    """The module with these parameters; they may be arrays or tracers, in any dtype."""
    return nnx.merge(_graph(config, compute), params)  # pyright: ignore[reportArgumentType]


def init(config: WhisperConfig, seed: int = 0) -> dict:
    """Random parameters, float32, as a nested dict."""
    return nnx.to_pure_dict(nnx.state(Whisper(config, Compute(), rngs=nnx.Rngs(seed)), nnx.Param))

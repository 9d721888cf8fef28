"""Whisper (Radford et al. 2022, arXiv:2212.04356): configuration, encoder, and the whole model.

Every published shape: tiny to large-v3, turbo, .en; 80 and 128 mels.
b batch, t target tokens, s encoder positions (1500), d model width, l layers, v vocabulary.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from distil_jax.errors import UserError
from distil_jax.mesh import constrain
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.attention import Attention
from distil_jax.models.layers import (
    MLP,
    Compute,
    LayerNorm,
    apply_stack,
    over_clips,
    stack,
)
from distil_jax.models.log_mel import Excerpt, excerpt_log_mel, log_mel
from distil_jax.models.whisper_decoder import Decoder
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


class Whisper(nnx.Module):
    """An encoder of 30-second clips and a decoder of tokens."""

    def __init__(self, config: WhisperConfig, compute: Compute, *, rngs: nnx.Rngs):
        self.config = config
        self.encoder = Encoder(config, compute, rngs)
        self.decoder = Decoder(config, compute, rngs)

    def encode(self, samples: jax.Array, wanted: jax.Array | None = None) -> jax.Array:
        """16 kHz samples of whole clips [b, 480000] -> hidden states [b, 1500, d].

        What comes of clips that are not wanted [b] is left open.
        """

        def encode(clips: jax.Array) -> jax.Array:
            return self.encoder(log_mel(clips, self.config.n_mels))

        return over_clips(encode, samples, wanted=wanted)

    def encode_excerpt(self, excerpt: Excerpt, wanted: jax.Array | None = None) -> jax.Array:
        """30 s out of longer recordings -> hidden states [b, 1500, d]."""

        def encode(*parts: jax.Array) -> jax.Array:
            return self.encoder(excerpt_log_mel(Excerpt(*parts), self.config.n_mels))

        return over_clips(encode, *excerpt, wanted=wanted)

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

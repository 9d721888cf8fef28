"""Analytic FLOPs of Whisper's encoder and decoder, from scaling.flops."""

from typing import TYPE_CHECKING

from distil_jax.models.log_mel import FRAMES
from distil_jax.scaling.flops import Flops, attention, linear

if TYPE_CHECKING:
    from distil_jax.models.whisper import WhisperConfig


def encoder_flops(config: "WhisperConfig") -> Flops:
    """One 30-second clip through convolutions and blocks (log-mel left out: under 1 %)."""
    width, time = config.d_model, config.max_source_positions
    convolutions = linear(FRAMES, 3 * config.n_mels, width, inputs_are_constant=True)
    convolutions += linear(time, 3 * width, width)
    block = linear(time, width, width) * 4 + attention(time, time, width)
    block += linear(time, width, config.encoder_ffn) * 2
    return convolutions + block * config.encoder_layers


def decoder_flops(config: "WhisperConfig", tokens: int, *, encoder_is_frozen: bool = True) -> Flops:
    """One teacher-forced sequence of `tokens` positions, head included."""
    width, source = config.d_model, config.max_source_positions
    block = linear(tokens, width, width) * 6 + attention(tokens, tokens, width)
    block += linear(source, width, width, encoder_is_frozen) * 2
    block += attention(tokens, source, width)
    block += linear(tokens, width, config.decoder_ffn) * 2
    return block * config.decoder_layers + linear(tokens, width, config.vocab_size)

"""The decoder's cache is written and read in place."""

import math
import re

import jax
import jax.numpy as jnp
import pytest

from distil_jax.models.layers import Compute
from distil_jax.models.whisper import WhisperConfig, bind, init

CONFIG = WhisperConfig(
    d_model=32,
    encoder_layers=1,
    decoder_layers=2,
    encoder_heads=4,
    decoder_heads=4,
    encoder_ffn=64,
    decoder_ffn=64,
    vocab_size=101,
)
LENGTH = 37  # of nothing else


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_no_token_copies_the_cache(batch, by_row):
    """Copies of keys and values, several a token and layer, took a third of the time once."""
    encoded = jnp.zeros((batch, CONFIG.max_source_positions, CONFIG.d_model))

    def decode(params: dict) -> jax.Array:
        decoder = bind(CONFIG, Compute(), params).decoder
        steps, cache = decoder.start(encoded, LENGTH)
        length = jnp.arange(batch) if by_row else cache.length

        def step(number, carry):
            _, cache = carry
            return decoder.extend(steps, jnp.full((batch, 1), number), cache)

        first = jnp.zeros((batch, 1, CONFIG.d_model)), cache._replace(length=length)
        return jax.lax.fori_loop(0, 9, step, first)[0]

    compiled = jax.jit(decode).lower(init(CONFIG)).compile().as_text() or ""
    assert f",{LENGTH}]" in compiled  # keys are there
    copies = re.findall(rf"= f32\[([\d,]*\b{LENGTH}\b[\d,]*)\]\S* copy\(", compiled)
    sizes = [math.prod(int(side) for side in shape.split(",")) for shape in copies]
    # Once before the loop, perhaps, which begins with zeros: keys and values of each layer.
    whole = [size for size in sizes if size >= batch * CONFIG.d_model * LENGTH]
    assert len(whole) <= 2 * CONFIG.decoder_layers

"""The table of published shapes, against what is known of them by other ways."""

import math

import jax
import pytest

from distil_jax.models.pretrained import load_pretrained
from distil_jax.models.published import published_shape
from distil_jax.models.whisper import init
from tests.made_up import DEMO_BASE, DEMO_TINY


@pytest.mark.parametrize(
    "name,millions",  # the parameters column of OpenAI's model card
    [
        ("tiny", 39),
        ("base.en", 74),
        ("small", 244),
        ("medium.en", 769),
        ("large-v2", 1550),
        ("large-v3", 1550),
        ("large-v3-turbo", 809),
    ],
)
def test_sizes_are_those_of_the_model_card(name, millions):
    config = published_shape(f"openai/whisper-{name}")
    assert config is not None
    shapes = jax.eval_shape(lambda: init(config))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert count / 1e6 == pytest.approx(millions, rel=0.04)


@pytest.mark.parametrize("location,name", [(DEMO_TINY, "tiny.en"), (DEMO_BASE, "base")])
def test_shapes_are_those_of_real_weights(location, name):
    assert load_pretrained(location).config == published_shape(f"openai/whisper-{name}")


@pytest.mark.parametrize("location", ["openai/whisper-huge", "tiny", "openai/whisper-large-v3.en"])
def test_other_names_are_not_known(location):
    assert published_shape(location) is None

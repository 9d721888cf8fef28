"""Our language model against transformers' Qwen3 (PyTorch, float32) of the same random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distil_jax.models.language_model import NAME_TABLE, LanguageModelConfig, bind, init, shapes
from distil_jax.models.layers import Compute, unstack
from distil_jax.models.state_dict import from_state_dict, to_state_dict

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LAYER, MODEL = 1e-5, 1e-4
CONFIG = LanguageModelConfig(vocab_size=50, layers=3, width=32, heads=2, mlp_width=40, context=32)


@pytest.fixture(scope="module")
def pair():
    """(theirs, our parameters)"""
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda a: np.asarray(a) + rng.normal(0, 0.2, a.shape).astype(np.float32), init(CONFIG)
    )
    theirs = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**CONFIG.to_hf())).eval()
    state = to_state_dict(params, NAME_TABLE)
    theirs.load_state_dict({name: torch.tensor(each) for name, each in state.items()})
    return theirs, params


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return np.random.default_rng(1).integers(0, CONFIG.vocab_size, (2, CONFIG.context))


def test_logits_are_those_of_transformers(pair, tokens):
    theirs, params = pair
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens)).logits.numpy()
    signals = bind(CONFIG, Compute(), params).signals(jnp.asarray(tokens))
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(signals.hidden @ signals.head.T, expected, atol=MODEL, rtol=0)


def test_every_layer_is_that_of_transformers(pair, tokens):
    theirs, params = pair
    with torch.no_grad():
        states = theirs.model(torch.tensor(tokens), output_hidden_states=True).hidden_states
    blocks = unstack(bind(CONFIG, Compute(), params).blocks)
    before = [each.numpy() for each in states]  # the last is after the final norm
    for block, x, after in zip(blocks[:-1], before, before[1:], strict=False):
        np.testing.assert_allclose(block(jnp.asarray(x)), after, atol=LAYER, rtol=1e-5)


def test_names_are_read_in_both_directions(pair):
    _, params = pair
    again = from_state_dict(to_state_dict(params, NAME_TABLE), NAME_TABLE, shapes(CONFIG), "here")
    jax.tree.map(np.testing.assert_array_equal, again, params)

"""Our Whisper against transformers' (PyTorch, float32) on made-up models of all four families."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distil_jax.mesh import compiling_for
from distil_jax.models.attention import Memory
from distil_jax.models.layers import Compute, unstack
from distil_jax.models.pretrained import Pretrained, load_pretrained
from distil_jax.models.whisper import Whisper, WhisperConfig, bind
from tests.made_up import FAMILIES, MULTILINGUAL, Family

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LAYER, MODEL = 1e-5, 1e-4


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name, scope="module")
def models(request, tmp_path_factory):
    """(theirs, ours) with the same random weights, large enough for numbers of order one."""
    return models_of(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def one_pair(tmp_path_factory):
    """The same of one family: decoding and training are alike in all."""
    return models_of(MULTILINGUAL, tmp_path_factory)


def models_of(family: Family, tmp_path_factory):
    torch.manual_seed(0)
    values = {**family.hf_config, "d_model": 32, "encoder_layers": 2, "init_std": 0.1}
    theirs = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(**values, attn_implementation="eager")
    ).eval()
    folder: Path = tmp_path_factory.mktemp(family.name)
    theirs.save_pretrained(folder)
    return theirs, load_pretrained(str(folder))


def bound(ours: Pretrained) -> Whisper:
    assert isinstance(ours.config, WhisperConfig)
    return bind(ours.config, Compute(), ours.params)


def inputs(ours: Pretrained, tokens: int = 13) -> tuple[jax.Array, jax.Array]:
    """(mel [2, 3000, n_mels], tokens [2, t])."""
    rng = np.random.default_rng(1)
    mel = rng.normal(size=(2, 3000, ours.config.n_mels)).astype(np.float32)
    return jnp.asarray(mel), jnp.asarray(rng.integers(0, ours.config.vocab_size, (2, tokens)))


def their_logits(theirs, mel: jax.Array, tokens: jax.Array) -> np.ndarray:
    with torch.no_grad():
        return theirs(*as_torch(mel, tokens)).logits.numpy()


def as_torch(mel: jax.Array, tokens: jax.Array) -> tuple:
    """The first three arguments of their forward."""
    features = torch.tensor(np.asarray(mel).swapaxes(1, 2))
    return features, None, torch.tensor(np.asarray(tokens))


def test_logits_are_those_of_transformers(models):
    theirs, ours = models
    mel, tokens = inputs(ours)

    @jax.jit
    def logits(params, mel, tokens):
        model = bind(ours.config, Compute(), params)
        return model.decoder.logits(model.decoder(tokens, model.encoder(mel)))

    expected = their_logits(theirs, mel, tokens)
    got = logits(ours.params, mel, tokens)
    assert np.abs(expected).max() > 0.5, "the weights are too small for the test to mean anything"
    np.testing.assert_allclose(got, expected, atol=MODEL, rtol=0)


@pytest.mark.parametrize("target", ["cpu", "tpu"])
def test_token_by_token_is_the_same_as_all_at_once(one_pair, target):
    """With a cache that grows on the way; also in the form that other platforms get, run here."""
    theirs, ours = one_pair
    mel, tokens = inputs(ours)

    @jax.jit
    def logits(params, mel, tokens):
        decoder = bind(ours.config, Compute(), params).decoder
        steps, cache = decoder.start(bind(ours.config, Compute(), params).encoder(mel), 8)
        hidden, cache = decoder.extend(steps, tokens[:, :4], cache)
        parts = [hidden]
        for i in range(4, tokens.shape[1]):
            if i == 8:
                steps = decoder.remember(steps, jnp.ones(len(tokens), bool))
                cache = cache.with_room_for(tokens.shape[1] - 8)
            hidden, cache = decoder.extend(steps, tokens[:, i : i + 1], cache)
            parts.append(hidden)
        return decoder.logits(jnp.concatenate(parts, axis=1))

    with compiling_for(target):
        got = logits(ours.params, mel, tokens)
    np.testing.assert_allclose(got, their_logits(theirs, mel, tokens), atol=MODEL, rtol=0)


@pytest.mark.parametrize("target", ["cpu", "tpu"])
def test_tokens_behind_padding_are_as_without_it(one_pair, target):
    """A prompt of more than one block of queries, and tokens after it."""
    theirs, ours = one_pair
    mel, tokens = inputs(ours, 152)
    padding, prompt = [40, 3], 150

    @jax.jit
    def logits(params, mel, tokens):
        model = bind(ours.config, Compute(), params)
        steps, cache = model.decoder.start(model.encoder(mel), 160, jnp.array(padding))
        hidden, cache = model.decoder.extend(steps, tokens[:, :prompt], cache)
        parts = [hidden]
        for i in range(prompt, tokens.shape[1]):
            hidden, cache = model.decoder.extend(steps, tokens[:, i : i + 1], cache)
            parts.append(hidden)
        return model.decoder.logits(jnp.concatenate(parts, axis=1))

    with compiling_for(target):
        got = logits(ours.params, mel, tokens)
    for row, begin in enumerate(padding):
        expected = their_logits(theirs, mel[row : row + 1], tokens[row : row + 1, begin:])
        np.testing.assert_allclose(got[row, begin:], expected[0], atol=MODEL, rtol=0)


def test_every_layer_is_that_of_transformers(models):
    theirs, ours = models
    mel, tokens = inputs(ours)
    with torch.no_grad():
        out = theirs(*as_torch(mel, tokens), output_hidden_states=True)
    model = bound(ours)
    mask = jnp.tril(jnp.ones((tokens.shape[1],) * 2, bool))
    encoded = jnp.asarray(out.encoder_last_hidden_state.numpy())
    for block, before, after in pairs(unstack(model.encoder.blocks), out.encoder_hidden_states):
        np.testing.assert_allclose(jax.jit(block)(before), after, atol=LAYER, rtol=0)
    for block, before, after in pairs(unstack(model.decoder.blocks), out.decoder_hidden_states):
        got = jax.jit(block)(before, encoded, mask)
        np.testing.assert_allclose(got, after, atol=LAYER, rtol=0)
    _, cache = model.decoder.start(encoded, tokens.shape[1])
    for block, before, after in pairs(unstack(model.decoder.blocks), out.decoder_hidden_states):
        reader = block.cross_attention.reader(encoded.dtype)
        given = Memory(encoded), reader, cache.length
        got, _ = jax.jit(block.extend)(before, cache.layers[0], 0, *given)
        np.testing.assert_allclose(got, after, atol=LAYER, rtol=0)


def pairs(blocks: list, states):
    """(block, what goes in, what must come out); the last state is after the final norm."""
    arrays = [jnp.asarray(state.numpy()) for state in states]
    return [(b, arrays[i], arrays[i + 1]) for i, b in enumerate(blocks[:-1])]


@pytest.mark.parametrize("remat", ["none", "dots", "attention", "full"])
def test_remat_and_scan_change_nothing(one_pair, remat, monkeypatch):
    _, ours = one_pair
    mel, tokens = inputs(ours, 5)

    def gradient(compute: Compute) -> dict:
        def loss(decoder: dict) -> jax.Array:
            model = bind(ours.config, compute, {**ours.params, "decoder": decoder})
            return jnp.square(model.decoder(tokens, model.encoder(mel))).mean()

        return jax.jit(jax.grad(loss))(ours.params["decoder"])

    expected = gradient(Compute())
    monkeypatch.setattr("distil_jax.models.layers.on_one_cpu", lambda: False)
    got = gradient(Compute(remat=remat))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, expected)


def test_bfloat16_stays_near(one_pair):
    _, ours = one_pair
    mel, tokens = inputs(ours, 5)

    def hidden(dtype) -> np.ndarray:
        model = bind(ours.config, Compute(dtype=dtype), ours.params)
        return np.asarray(model.decoder(tokens, model.encoder(mel)).astype(jnp.float32))

    difference = np.abs(hidden("bfloat16") - hidden("float32"))
    assert 0 < difference.mean() < 0.05


@pytest.mark.parametrize("rows", [1, 2])
def test_bfloat16_token_by_token_stays_near(one_pair, rows):
    """Of one clip products are with vectors, and memory is turned for all of them."""
    theirs, ours = one_pair
    mel, tokens = (each[:rows] for each in inputs(ours))

    @jax.jit
    def logits(params, mel, tokens):
        model = bind(ours.config, Compute(dtype="bfloat16"), params)
        steps, cache = model.decoder.start(model.encoder(mel), tokens.shape[1])
        assert steps.memory.turned is not None
        steps, parts = model.decoder.remember(steps, jnp.ones(rows, bool)), []
        for i in range(tokens.shape[1]):
            hidden, cache = model.decoder.extend(steps, tokens[:, i : i + 1], cache)
            parts.append(model.decoder.logits(hidden))
        return jnp.concatenate(parts, axis=1)

    difference = np.abs(logits(ours.params, mel, tokens) - their_logits(theirs, mel, tokens))
    assert 0 < difference.mean() < 0.01
    assert difference.max() < 0.1


def test_a_wrong_activation_is_refused():
    from distil_jax.errors import UserError

    values = replace(FAMILIES[0]).hf_config | {"activation_function": "relu"}
    with pytest.raises(UserError, match="gelu"):
        WhisperConfig.from_hf(values)

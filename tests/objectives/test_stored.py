"""Stored distributions against the same in plain numpy, and their losses against the live ones."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distil_jax.objectives import CrossEntropy, KLDivergence, Signals, Targets
from distil_jax.objectives.fused import token_sums
from distil_jax.objectives.stored import LogProbs, TopK, log_probs, top_k

BATCH, TIME, VOCABULARY, KEPT = 4, 9, 31, 5
LENGTHS = [9, 4, 0, 6]  # the third row is padding altogether
MASK = np.arange(TIME) < np.array(LENGTHS)[:, None]


def signals(seed: int, width: int = 6) -> Signals:
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(BATCH, TIME, width))
    head = rng.normal(size=(VOCABULARY, width)) * 2 / width**0.5
    return Signals(jnp.asarray(hidden, jnp.float32), jnp.asarray(head, jnp.float32))


STUDENT, TEACHER = signals(0), signals(1, 8)
TARGETS = Targets(
    jnp.asarray(np.random.default_rng(2).integers(0, VOCABULARY, (BATCH, TIME))), jnp.asarray(MASK)
)


def logits(given: Signals) -> np.ndarray:
    return np.asarray(given.hidden, np.float64) @ np.asarray(given.head, np.float64).T


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def plain_kl(wanted: np.ndarray, given: np.ndarray, k: int, temperature: float) -> np.ndarray:
    """Position by position, token by token: sum p log(p / q) over the k likeliest and the rest."""
    losses = np.zeros(wanted.shape[:2])
    for place in np.ndindex(losses.shape):
        p, q = softmax(wanted[place] / temperature), softmax(given[place] / temperature)
        likeliest = sorted(range(len(p)), key=lambda token: -p[token])[:k]
        for token in likeliest:
            losses[place] += p[token] * np.log(p[token] / q[token])
        rest = [sum(x[t] for t in range(len(x)) if t not in likeliest) for x in (p, q)]
        losses[place] += rest[0] * np.log(rest[0] / rest[1])
    return temperature**2 * losses


@cache
def kept_of(k: int = KEPT, temperature: float = 2.0) -> TopK:
    return jax.jit(lambda: top_k(TEACHER, k, temperature, 4))()


def summed(recipe: tuple, teacher, student: Signals = STUDENT, chunk: int = 4):
    """((weighted sum, own sums), gradient by the student's signals)."""
    loss = jax.value_and_grad(
        lambda s: token_sums(recipe, {"one": s}, teacher, TARGETS, chunk)["one"], has_aux=True
    )
    return jax.jit(loss)(student)


def assert_near(got, wanted, rtol=1e-5, atol=1e-5) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), got, wanted)


@pytest.mark.parametrize("chunk", [1, 4, 9, 64])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_likeliest_tokens_are_kept_and_the_others_as_one(temperature, chunk):
    kept = jax.jit(lambda: top_k(TEACHER, KEPT, temperature, chunk))()
    probabilities = softmax(logits(TEACHER) / temperature)
    tokens = np.argsort(-probabilities, axis=-1)[..., :KEPT]
    np.testing.assert_array_equal(kept.tokens, tokens)
    wanted = np.take_along_axis(probabilities, tokens, axis=-1)
    np.testing.assert_allclose(np.exp(kept.log_probs[..., :-1]), wanted, rtol=1e-5)
    np.testing.assert_allclose(np.exp(kept.log_probs[..., -1]), 1 - wanted.sum(-1), rtol=1e-4)
    assert kept.temperature == temperature


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("k", [1, KEPT, VOCABULARY - 1])
def test_the_divergence_is_that_of_plain_sums(k, temperature):
    recipe = (KLDivergence(temperature=temperature),)
    (loss, _), _ = summed(recipe, kept_of(k, temperature))
    wanted = plain_kl(logits(TEACHER), logits(STUDENT), k, temperature)
    assert float(loss) == pytest.approx((wanted * MASK).sum(), rel=1e-5)


def test_its_gradient_is_that_of_finite_differences():
    recipe = (KLDivergence(temperature=2.0),)
    _, gradient = summed(recipe, kept_of())
    wanted, hidden = logits(TEACHER), np.asarray(STUDENT.hidden, np.float64)
    head = np.asarray(STUDENT.head, np.float64)

    def loss(hidden: np.ndarray) -> float:
        return (plain_kl(wanted, hidden @ head.T, KEPT, 2.0) * MASK).sum()

    for place in [(0, 0, 0), (0, 8, 3), (1, 3, 5), (3, 5, 1), (1, 4, 0)]:  # the last is padding
        step = np.zeros_like(hidden)
        step[place] = 1e-5
        slope = (loss(hidden + step) - loss(hidden - step)) / 2e-5
        assert float(gradient.hidden[place]) == pytest.approx(slope, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_whole_distributions_are_as_good_as_the_teacher(temperature):
    recipe = (CrossEntropy(weight=0.8), KLDivergence(temperature=temperature))
    assert_near(summed(recipe, log_probs(TEACHER, 4)), summed(recipe, TEACHER))


def test_all_but_one_token_is_as_good_too():
    """The bucket then holds one token, and nothing is lost by it."""
    recipe = (KLDivergence(temperature=2.0),)
    kept = kept_of(VOCABULARY - 1)
    assert_near(summed(recipe, kept), summed(recipe, TEACHER))


def test_mass_that_left_the_top_k_costs():
    """Renormalised over the k alone, this student would be perfect (specification, a6)."""
    wanted = logits(TEACHER)
    outside = np.argsort(-wanted, axis=-1)[..., KEPT:]
    moved = wanted.copy()
    np.put_along_axis(moved, outside, np.take_along_axis(wanted, outside, -1) + 3, axis=-1)
    student = Signals(jnp.asarray(moved, jnp.float32), jnp.eye(VOCABULARY, dtype=jnp.float32))
    (whole, _), _ = summed((KLDivergence(temperature=1.0),), TEACHER, student)
    (kept, _), _ = summed((KLDivergence(temperature=1.0),), kept_of(KEPT, 1.0), student)
    assert float(kept) > 1
    assert float(kept) == pytest.approx(float(whole), rel=1e-4)


def test_an_improbable_rest_is_not_lost_in_rounding():
    """1 - sum(p) in float32 would be 0 here, and its logarithm minus infinity."""
    sure = np.full((1, 1, VOCABULARY), -30.0)
    sure[..., :KEPT] = 30.0
    certain = Signals(jnp.asarray(sure, jnp.float32), jnp.eye(VOCABULARY, dtype=jnp.float32))
    kept = top_k(certain, KEPT, 1.0, 1)
    assert float(kept.log_probs[0, 0, -1]) == pytest.approx(-60 + np.log((31 - 5) / 5), abs=1e-4)
    targets = Targets(jnp.zeros((1, 1), int), jnp.ones((1, 1), bool))
    recipe = (KLDivergence(temperature=1.0),)
    loss = lambda s: token_sums(recipe, {"one": s}, kept, targets, 1)["one"][0]  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(certain)
    assert abs(float(value)) < 1e-6
    assert np.isfinite(gradient.hidden).all()


def test_float16_stays_near_and_is_never_below_nothing():
    kept = kept_of()
    half = TopK(kept.log_probs.astype(jnp.float16), kept.tokens.astype(jnp.uint16), 2.0)
    recipe = (KLDivergence(temperature=2.0),)
    assert_near(summed(recipe, half)[0], summed(recipe, kept)[0], rtol=2e-3)
    own = top_k(STUDENT, KEPT, 2.0, 4)
    own = TopK(own.log_probs.astype(jnp.float16), own.tokens, 2.0)
    assert 0 <= float(summed(recipe, own)[0][0]) < 1e-3


def test_padding_of_zeros_has_no_part_in_anything():
    """As batches pad it: a token many times over, log-probabilities that are none."""
    kept = kept_of()
    padded = TopK(
        jnp.where(MASK[..., None], kept.log_probs, 0),
        jnp.where(MASK[..., None], kept.tokens, 0),
        2.0,
    )
    recipe = (CrossEntropy(), KLDivergence(temperature=2.0))
    got = summed(recipe, padded)
    assert_near(got, summed(recipe, kept))
    assert not got[1].hidden[~MASK].any()
    every = log_probs(TEACHER, 4)
    zeros = LogProbs(jnp.where(MASK[..., None], every.log_probs, 0))
    assert_near(summed(recipe, zeros), summed(recipe, every))


def test_another_temperature_is_refused():
    with pytest.raises(ValueError, match=r"kl at temperature 2.0 cannot be .* at temperature 1.0"):
        summed((KLDivergence(temperature=2.0),), kept_of(KEPT, 1.0))


def test_it_gets_no_gradient():
    def loss(log_probs: jax.Array) -> jax.Array:
        teacher = TopK(log_probs, kept.tokens, 2.0)
        return token_sums(recipe, {"one": STUDENT}, teacher, TARGETS, 4)["one"][0]

    recipe, kept = (KLDivergence(temperature=2.0),), kept_of()
    assert not jax.grad(loss)(kept.log_probs).any()


def test_full_logits_are_never_in_memory():
    """What the compiled top k needs beside its input and output grows with the chunk."""
    teacher = Signals(jnp.zeros((2, 128, 4)), jnp.zeros((1000, 4)))

    def temporary(chunk: int) -> int:
        compiled = jax.jit(lambda t: top_k(t, 4, 1.0, chunk)).lower(teacher).compile()
        memory = compiled.memory_analysis()
        assert memory
        return memory.temp_size_in_bytes

    full = 2 * 128 * 1000 * 4
    assert temporary(8) < full < temporary(128)

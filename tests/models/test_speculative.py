"""Decoding: plain, with a cache that grows, and speculative, whatever is drafted."""

from collections import Counter
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import chisquare

from distil_jax.mesh import compiling_for
from distil_jax.models.acceptance import accept, draw_draft
from distil_jax.models.generate import Decoded, Sampling, generate
from distil_jax.models.layers import Compute
from distil_jax.models.speculative import DraftModel, speculate
from distil_jax.models.token_rules import TokenRules
from distil_jax.models.whisper import WhisperConfig, bind, init

TOKENS, END, STAMP = 40, 20, 24
CONFIG = WhisperConfig(
    d_model=16,
    encoder_layers=1,
    decoder_layers=2,
    encoder_heads=2,
    decoder_heads=2,
    encoder_ffn=24,
    decoder_ffn=24,
    vocab_size=TOKENS,
    max_target_positions=32,
)
SMALL = CONFIG.model_copy(update={"d_model": 8, "decoder_layers": 1, "decoder_ffn": 12})
RULES = {
    "end": END,
    "no_speech": 22,
    "vocab_size": TOKENS,
    "suppress": (1, 21, 22, 23),
    "begin_suppress": (3, END),
    "no_timestamps": 23,
    "first_timestamp": STAMP,
    "max_initial_timestamp": 5,
}
PROMPT, LIMIT, ROWS = 3, 12, 7


def shaken(params: dict, seed: int, scale: float) -> dict:
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: np.asarray(a) + rng.normal(0, scale, a.shape).astype(np.float32), params
    )


def made_up(config: WhisperConfig, seed: int) -> dict:
    """Where a token stands says much about the next, so that texts do not repeat themselves."""
    params = shaken(init(config), seed, 0.3)
    params["decoder"]["positions"] *= 3
    return params


TEACHER = made_up(CONFIG, 2)
DRAFTS = {
    "perfect": (CONFIG, TEACHER),
    "good": (CONFIG, shaken(TEACHER, 5, 0.02)),
    "hopeless": (SMALL, made_up(SMALL, 1)),
}


def heard(config: WhisperConfig, rows: int) -> jax.Array:
    """What an encoder might have made; of each row and width its own."""
    shape = (rows, 30, config.d_model)
    return jnp.asarray(np.random.default_rng(config.d_model).normal(size=shape), jnp.float32)


def decode(
    draft: str | None,
    tokens: int = 4,
    rows: int = ROWS,
    timestamps: bool = False,
    limit: int = LIMIT,
    wanted: np.ndarray | None = None,
    sampling: Sampling | None = None,
    prompt: np.ndarray | None = None,
    **rules: Any,
) -> Decoded:
    """Plainly where there is no draft."""
    rules = {**RULES, "timestamps": timestamps, **rules}
    if prompt is None:
        prompt = np.random.default_rng(1).integers(0, END, (rows, PROMPT))
    wanted = np.ones(rows, bool) if wanted is None else wanted
    config, params = DRAFTS[draft or "perfect"]

    @jax.jit
    def run(teacher: dict, params: dict, encoded: jax.Array, own: jax.Array, *arrays: jax.Array):
        decoder, (prompt, wanted) = bind(CONFIG, Compute(), teacher).decoder, arrays
        rest = prompt, 0, TokenRules(**rules), limit, wanted
        if draft is None:
            return generate(decoder, encoded, *rest, sampling)
        model = DraftModel(bind(config, Compute(), params).decoder, own, tokens)
        return speculate(decoder, model, encoded, *rest, sampling)

    arrays = np.asarray(prompt, np.int32), wanted
    made = run(TEACHER, params, heard(CONFIG, rows), heard(config, rows), *arrays)
    return jax.tree.map(np.asarray, made)


def assert_same(found: Decoded, expected: Decoded) -> None:
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    np.testing.assert_array_equal(found.ended, expected.ended)
    for name in ("mean_logprob", "mean_entropy", "no_speech_prob"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-5)


def rate(found: Decoded) -> float:
    assert found.speculation is not None
    return float(found.speculation.accepted.sum() / found.speculation.drafted.sum())


def test_the_made_up_texts_tell_things_apart():
    """Rows end at different steps, some not at all; with timestamps there are some."""
    for timestamps in (False, True):
        plain = decode(None, timestamps=timestamps)
        assert len(set(plain.lengths.tolist())) > 2
        assert 0 < plain.ended.sum() < ROWS
        assert len({str(row) for row in plain.tokens}) > 3
        assert (plain.tokens[:, 0] >= STAMP).all() == timestamps
    assert 0.3 < rate(decode("good")) < 1
    assert rate(decode("hopeless")) < 0.2


@pytest.mark.parametrize("short,target", [(1, "cpu"), (5, "tpu"), (LIMIT - 1, "cpu")])
def test_a_text_that_outgrows_the_short_cache_is_as_in_a_long_one(monkeypatch, short, target):
    expected = decode(None)
    assert expected.lengths.max() == LIMIT
    monkeypatch.setattr("distil_jax.models.generate._SHORT_TEXT", short)
    with compiling_for(target):
        assert_same(decode(None), expected)


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
@pytest.mark.parametrize("drawn", [False, True])
def test_rows_that_go_on_without_the_others_say_the_same(monkeypatch, share, drawn):
    """Whether they were few from the start or became few; and so do those that had ended."""
    keys = jax.random.key_data(jax.random.split(jax.random.key(3), ROWS))
    options: Any = {
        "sampling": Sampling(keys, jnp.linspace(0.3, 1, ROWS)) if drawn else None,
        "wanted": np.arange(ROWS) % 3 != 1,
    }
    expected = decode(None, **options)
    assert 0 < expected.lengths.min(where=options["wanted"], initial=LIMIT) < LIMIT
    monkeypatch.setattr("distil_jax.models.generate._SHORT_TEXT", 1)
    monkeypatch.setattr("distil_jax.models.generate._FEW_ROWS", share)
    assert_same(decode(None, **options), expected)


@pytest.mark.parametrize(
    "draft,tokens,timestamps",
    [("perfect", 5, True), ("good", 3, False), ("good", 8, True), ("hopeless", 1, False)],
)
def test_the_tokens_and_scores_are_the_teachers(draft, tokens, timestamps):
    found = decode(draft, tokens, timestamps=timestamps)
    assert_same(found, decode(None, timestamps=timestamps))
    assert (rate(found) == 1) == (draft == "perfect")


@pytest.mark.parametrize(
    "rows,limit",
    [
        pytest.param(1, 1, marks=pytest.mark.slow),
        pytest.param(1, 7, marks=pytest.mark.slow),
        (2, 3),
    ],
)
def test_the_limit_may_come_in_the_middle_of_a_draft(rows, limit):
    assert_same(decode("perfect", 4, rows, limit=limit), decode(None, rows=rows, limit=limit))


def test_the_limit_may_be_the_last_position():
    rest = {"rows": 3, "limit": CONFIG.max_target_positions - PROMPT, "suppress": (END,)}
    plain = decode(None, **rest)
    assert not plain.ended.any()
    assert_same(decode("good", 6, **rest), plain)


def test_rows_that_nobody_wants_stay_empty_and_cost_nothing():
    wanted = np.array([True, False, True, True, False, True, False])
    found, plain = decode("good", wanted=wanted), decode(None, wanted=wanted)
    assert_same(found, plain)
    assert found.speculation is not None
    assert not found.speculation.drafted[~wanted].any()
    assert not decode("good", wanted=np.zeros(ROWS, bool)).lengths.any()


def test_a_prompt_of_one_token_is_enough():
    prompt = np.arange(ROWS)[:, None]
    assert_same(decode("good", prompt=prompt), decode(None, prompt=prompt))


def test_no_row_waits_for_another():
    """What is accepted of a row does not change with the rows beside it."""
    together = decode("good").speculation
    wanted = np.arange(ROWS) == 2
    alone = decode("good", wanted=wanted).speculation
    assert together is not None
    assert alone is not None
    for both, one in zip(together, alone, strict=True):
        assert both[2] == one[2]
    assert len(set(together.rounds.tolist())) > 1


def test_layers_in_one_stack_decode_alike():
    """As on TPU and GPU."""
    plain = decode(None)
    with compiling_for("gpu"):
        assert_same(decode("good"), plain)


def sampling(rows: int, temperature: float) -> Sampling:
    keys = np.random.default_rng(0).integers(0, 2**32, (rows, 2), np.uint32)
    return Sampling(jnp.asarray(keys), jnp.full(rows, temperature))


def fits(counts: np.ndarray, chances: np.ndarray) -> bool:
    """Whether these counts may come of these chances; what cannot be must not have been."""
    possible = chances > 0
    if counts[~possible].any():
        return False
    expected = chances[possible] * counts.sum() / chances[possible].sum()
    return chisquare(counts[possible], expected).pvalue > 1e-3


def test_accepted_and_drawn_tokens_are_distributed_as_the_teachers():
    """Also pairs of them: the second knows nothing of the first."""
    rows, temperature = 40_000, 0.7
    rng = np.random.default_rng(3)
    q_logits, p_logits = rng.normal(size=(2, 5)), rng.normal(size=(3, 5))
    p_logits[0, 1] = q_logits[1, 2] = p_logits[2, 4] = -np.inf
    drawn = sampling(rows, temperature)
    counts = jnp.full(rows, 9)
    q, p = (
        jnp.broadcast_to(each, (rows, *each.shape)).astype(jnp.float32)
        for each in (q_logits, p_logits)
    )
    drafted = jnp.stack([draw_draft(drawn, q[:, i], counts + i) for i in range(2)], axis=1)
    tokens, accepted = map(np.asarray, accept(drawn, drafted, q, p, counts))
    chances = softmax(p_logits / temperature, axis=1)
    proposed = softmax(q_logits / temperature, axis=1)

    assert not fits(np.bincount(np.asarray(drafted)[:, 0], minlength=5), chances[0])
    for place in range(3):
        there = tokens[accepted >= place, place]
        assert fits(np.bincount(there, minlength=5), chances[place])
    pairs = tokens[accepted >= 1, :2]
    counted = np.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25).reshape(5, 5)
    kept_first = np.minimum(chances[0], proposed[0])
    assert fits(counted.ravel(), np.outer(kept_first, chances[1]).ravel())
    expected = kept_first.sum()
    assert (accepted >= 1).mean() == pytest.approx(expected, abs=5 * (expected / rows) ** 0.5)


def exact_texts(length: int, temperature: float) -> dict[tuple[int, ...], float]:
    """The probability of each text of the teacher's, of so many tokens or fewer with the end."""
    rules = TokenRules(**{**RULES, "suppress": ALLOWED_FEW})
    decoder = bind(CONFIG, Compute(), jax.tree.map(jnp.asarray, TEACHER)).decoder
    allowed = [token for token in range(TOKENS) if token not in ALLOWED_FEW]
    texts = np.array(list(product(allowed, repeat=length)))
    prompt = np.tile(np.arange(PROMPT), (len(texts), 1))
    encoded = jnp.repeat(heard(CONFIG, 1), len(texts), axis=0)
    logits = decoder.logits(decoder(jnp.asarray(np.hstack([prompt, texts])), encoded))
    chances: dict[tuple[int, ...], float] = {}
    for row, text in enumerate(texts):
        logprob, until = 0.0, length
        for place, token in enumerate(text):
            seen = rules.apply(
                logits[row, PROMPT - 1 + place][None], jnp.asarray(text[None]), jnp.asarray(place)
            )
            logprob += log_softmax(np.asarray(seen[0], np.float64) / temperature)[token]
            if token == END:
                until = place + 1
                break
        chances[tuple(text[:until].tolist())] = np.exp(logprob)
    return chances


ALLOWED_FEW = tuple(token for token in range(TOKENS) if token not in (2, 5, 9, END))


@pytest.mark.slow
@pytest.mark.parametrize("draft", ["good", "hopeless"])
def test_whole_texts_are_drawn_as_often_as_the_teacher_would(draft):
    rows, length, temperature = 8192, 3, 1.5
    chances = exact_texts(length, temperature)
    assert sum(chances.values()) == pytest.approx(1, abs=1e-4)
    found = drawn_texts(draft, rows, length, temperature)
    counts = Counter(
        tuple(row[:count].tolist()) for row, count in zip(found.tokens, found.lengths, strict=True)
    )
    assert set(counts) <= {text for text, chance in chances.items() if chance > 0}
    common = [text for text, chance in chances.items() if chance * rows >= 10]
    rest = [text for text in chances if text not in common]
    sums = np.array([*(counts[text] for text in common), sum(counts[text] for text in rest)])
    exact = np.array([*(chances[text] for text in common), sum(chances[text] for text in rest)])
    assert len(common) > 10
    assert fits(sums, exact)
    assert 0 < rate(found) < 1


def drawn_texts(draft: str, rows: int, length: int, temperature: float) -> Decoded:
    """All rows hear the same."""
    config, params = DRAFTS[draft]
    rules = TokenRules(**{**RULES, "suppress": ALLOWED_FEW})

    @jax.jit
    def run(teacher: dict, params: dict) -> Decoded:
        prompt = jnp.tile(jnp.arange(PROMPT), (rows, 1))
        encoded, own = (jnp.repeat(heard(each, 1), rows, axis=0) for each in (CONFIG, config))
        decoder = bind(CONFIG, Compute(), teacher).decoder
        model = DraftModel(bind(config, Compute(), params).decoder, own, 2)
        wanted, drawn = jnp.ones(rows, bool), sampling(rows, temperature)
        return speculate(decoder, model, encoded, prompt, 0, rules, length, wanted, drawn)

    return jax.tree.map(np.asarray, run(TEACHER, params))


@pytest.mark.parametrize("timestamps", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_drawn_texts_follow_the_rules_and_have_the_scores_of_one_plain_pass(timestamps):
    found = decode("good", timestamps=timestamps, sampling=sampling(ROWS, 1.0))
    prompt = np.random.default_rng(1).integers(0, END, (ROWS, PROMPT))
    decoder = bind(CONFIG, Compute(), TEACHER).decoder
    rules = TokenRules(**{**RULES, "timestamps": timestamps})
    tokens = jnp.asarray(np.hstack([prompt, found.tokens]))
    logits = decoder.logits(decoder(tokens, heard(CONFIG, ROWS)))
    scores = np.zeros(ROWS)
    for place in range(LIMIT):
        seen = rules.apply(
            logits[:, PROMPT - 1 + place], jnp.asarray(found.tokens), jnp.asarray(place)
        )
        each = np.asarray(jax.nn.log_softmax(seen))[np.arange(ROWS), found.tokens[:, place]]
        scores += np.where(place < found.lengths, each, 0)
    np.testing.assert_allclose(found.mean_logprob, scores / found.lengths, atol=1e-5)

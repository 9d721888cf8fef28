"""Decoding over devices, its scores, and Whisper's rules for timestamps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from scipy.special import softmax
from scipy.stats import chisquare

from distil_jax.data.speech import Clip
from distil_jax.labelling import decoding
from distil_jax.labelling.label import Label, compression_ratio
from distil_jax.labelling.settings import DecodeConfig, FallbackConfig
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.mesh import MeshConfig, make_mesh
from distil_jax.models import generate
from distil_jax.models.generate import Sampling
from distil_jax.models.layers import Compute
from distil_jax.models.quantized import dense, quantize
from distil_jax.models.tokenizer_files import read_tokenizer
from distil_jax.models.vocabulary import Vocabulary, make_vocabulary
from distil_jax.models.whisper import WhisperConfig, bind, init
from tests.made_up import MULTILINGUAL, write_generation_config, write_tokenizer

NEW_TOKENS = 6


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory) -> Vocabulary:
    folder: Path = tmp_path_factory.mktemp("vocabulary")
    write_tokenizer(folder, MULTILINGUAL)
    generation = write_generation_config(folder, MULTILINGUAL)
    tokenizer = read_tokenizer({"tokenizer.json": folder / "tokenizer.json"}, "made up")
    return make_vocabulary(tokenizer, generation, MULTILINGUAL.vocab_size, "made up")


@pytest.fixture(scope="module")
def params() -> dict:
    rng = np.random.default_rng(0)
    noise = lambda a: np.asarray(a) + rng.normal(0, 0.3, a.shape).astype(np.float32)  # noqa: E731
    return jax.tree.map(noise, init(CONFIG))


CONFIG = WhisperConfig.from_hf({**MULTILINGUAL.hf_config, "encoder_layers": 1})


def some_clips(count: int, language: str | None = "de") -> list[Clip]:
    """Tones of all pitches and lengths."""
    time = np.arange(3 * 16_000) / 16_000
    return [
        Clip(
            id=str(i),
            corpus="made up",
            utterance=str(i),
            start=0.0,
            samples=np.sin(800 * (i + 1) * time[: 16_000 * (1 + i % 3)]).astype(np.float32),
            text=None,
            language=language,
            speaker=None,
        )
        for i in range(count)
    ]


def make_transcriber(vocabulary: Vocabulary, devices: int = 1, **settings: Any) -> Transcriber:
    mesh = MeshConfig(shape=(devices, 1, 1))
    values = {"batch_size": 8, "max_new_tokens": NEW_TOKENS, **settings}
    return Transcriber(
        model=CONFIG,
        vocabulary=vocabulary,
        generation_config={"max_initial_timestamp_index": 50},
        config=DecodeConfig(**values),
        mesh=make_mesh(mesh, jax.devices()[:devices]),
        rules=mesh.rules,
        compute=Compute(),
    )


def labels(vocabulary: Vocabulary, params: dict, clips: list[Clip], **settings: Any) -> list[Label]:
    transcriber = make_transcriber(vocabulary, **settings)
    done = list(transcriber(transcriber.place(params), clips))
    assert [clip.id for clip, _ in done] == [clip.id for clip in clips]
    return [label for _, label in done]


@pytest.mark.parametrize("language,timestamps", [("de", False), (None, True)])
def test_eight_devices_make_the_same_labels(vocabulary, params, language, timestamps):
    """Of a number of clips that fills neither the batch nor every device."""
    clips = some_clips(11, language)
    one = labels(vocabulary, params, clips, timestamps=timestamps)
    eight = labels(vocabulary, params, clips, devices=8, timestamps=timestamps)
    for a, b in zip(one, eight, strict=True):
        assert (a.text, a.tokens, a.language, a.ended) == (b.text, b.tokens, b.language, b.ended)
        assert a.mean_logprob == pytest.approx(b.mean_logprob, abs=1e-5)
        assert a.mean_entropy == pytest.approx(b.mean_entropy, abs=1e-5)
        assert a.no_speech_prob == pytest.approx(b.no_speech_prob, abs=1e-6)
    assert len({str(label.tokens) for label in one}) > 3


@pytest.mark.parametrize("devices", [1, 8])
def test_the_language_alone_is_that_of_the_label(vocabulary, params, devices):
    transcriber = make_transcriber(vocabulary, devices)
    placed, clips = transcriber.place(params), some_clips(3, None)
    expected = [label.language for _, label in transcriber(placed, clips)]
    assert [transcriber.language_of(placed, clip.samples) for clip in clips] == expected
    german = make_transcriber(vocabulary, devices, language="de")
    assert german.language_of(placed, clips[0].samples) == "de"


@pytest.mark.slow
def test_int8_weights_make_the_labels_of_weights_rounded_by_hand(vocabulary, params):
    """In one decoder loop on one device, and in one on each of eight."""
    flat: dict = flatten_dict(params)  # pyright: ignore[reportAssignmentType]
    rounded = {
        path: np.asarray(dense(quantize(a), a.dtype) if _is_quantized(path) else a)
        for path, a in flat.items()
    }
    clips = some_clips(3)
    expected = labels(vocabulary, unflatten_dict(rounded), clips)
    for devices in (1, 8):
        transcriber = replace(make_transcriber(vocabulary, devices), weights="int8")
        placed = transcriber.place(params)
        assert jax.tree.map(lambda a: (a.shape, a.dtype), placed) == jax.tree.map(
            lambda a: (a.shape, a.dtype), transcriber.shapes(params)
        )
        found = [label for _, label in transcriber(placed, clips)]
        assert [label.tokens for label in found] == [label.tokens for label in expected]
        for a, b in zip(found, expected, strict=True):
            assert a.mean_logprob == pytest.approx(b.mean_logprob, abs=1e-5)
    exact = labels(vocabulary, params, clips)
    assert abs(exact[0].mean_logprob - expected[0].mean_logprob) > 1e-4


def _is_quantized(path: tuple[str, ...]) -> bool:
    return path[-1] == "kernel" and "blocks" in path


def test_the_batch_grows_to_a_multiple_of_the_devices(vocabulary):
    assert make_transcriber(vocabulary, devices=8, batch_size=9).batch_size == 16


ALWAYS = {"min_mean_logprob": 0.0, "no_speech_prob": 1.0}  # no text is good enough


@pytest.mark.parametrize("temperatures", [(), (0.7,)])
def test_scores_are_those_of_one_plain_pass_over_the_text(vocabulary, params, temperatures):
    """Of texts that are drawn, too: what a token's probability is does not depend on how."""
    fallback = {"temperatures": temperatures, **ALWAYS}
    transcriber = make_transcriber(vocabulary, fallback=fallback)
    clips = some_clips(3)
    model = bind(CONFIG, Compute(), params)
    prompt = transcriber.prompt("de")
    rules = transcriber.token_rules
    for clip, label in transcriber(transcriber.place(params), clips):
        samples = np.zeros((1, 480_000), np.float32)
        samples[0, : len(clip.samples)] = clip.samples
        tokens = jnp.array([[*prompt, *label.tokens]])
        logits = model.decoder.logits(model.decoder(tokens, model.encode(jnp.asarray(samples))))[0]
        start = jax.nn.softmax(logits[0])[vocabulary.no_speech]
        assert label.no_speech_prob == pytest.approx(float(start), rel=1e-4)
        chosen = []
        for count, token in enumerate(label.tokens):
            row = np.array(logits[len(prompt) - 1 + count], np.float64)
            row[list(rules.suppress)] = -np.inf
            row[list(rules.begin_suppress) if count == 0 else []] = -np.inf
            row -= np.log(np.exp(row - row.max()).sum()) + row.max()
            assert temperatures or token == row.argmax()
            p = np.exp(row)
            chosen.append((row[token], -(p[p > 0] * row[p > 0]).sum()))
        assert label.mean_logprob == pytest.approx(np.mean(chosen, axis=0)[0], abs=1e-4)
        assert label.mean_entropy == pytest.approx(np.mean(chosen, axis=0)[1], abs=1e-4)


def test_a_poor_text_is_drawn_anew_and_all_others_stay(vocabulary, params):
    clips = some_clips(11)
    greedy = labels(vocabulary, params, clips)
    middle = sorted(label.mean_logprob for label in greedy)[5]
    limits = {"temperatures": [0.5, 1.0], "min_mean_logprob": middle, "no_speech_prob": 1.0}
    found = labels(vocabulary, params, clips, fallback=limits)
    for before, after in zip(greedy, found, strict=True):
        if before.mean_logprob >= middle:
            assert after == before
        else:  # good enough at last, or out of temperatures
            assert after.temperature == 1.0 or after.mean_logprob >= middle
            assert after.temperature in (0.5, 1.0)
    assert {0.0, 1.0} <= {label.temperature for label in found}


@pytest.mark.slow
def test_what_is_drawn_for_a_clip_depends_on_no_other(vocabulary, params):
    fallback = {"temperatures": [1.0], **ALWAYS}
    clips = some_clips(11)
    found = labels(vocabulary, params, clips, fallback=fallback)
    others = labels(vocabulary, params, clips[::-1], devices=8, batch_size=16, fallback=fallback)
    assert [label.tokens for label in found] == [label.tokens for label in others[::-1]]
    assert [a.tokens for a in found] != [b.tokens for b in labels(vocabulary, params, clips)]


@pytest.mark.parametrize(
    "ratio,logprob,no_speech,poor",
    [
        (2.5, -0.1, 0.0, True),
        (1.0, -1.1, 0.0, True),
        (1.0, -1.1, 0.7, False),
        (2.5, -1.1, 0.7, False),
        (2.5, -0.1, 0.7, True),
        (1.0, -0.1, 0.7, False),
    ],
)
def test_a_guess_at_silence_is_not_tried_again(ratio, logprob, no_speech, poor):
    """As OpenAI's transcribe.py decides."""
    label = Label("", [], "en", True, logprob, 0.0, no_speech, ratio, 0.0)
    assert label.is_poor(FallbackConfig()) == poor


def test_tokens_are_drawn_as_often_as_they_are_likely():
    rows, temperature = 20_000, 0.7
    logits = jnp.array([2.0, 0.5, -jnp.inf, 0.0, 1.0])
    keys = np.random.default_rng(0).integers(0, 2**32, (rows, 2), np.uint32)
    sampling = Sampling(jnp.asarray(keys), jnp.full(rows, temperature))
    drawn = sampling.draw(jnp.tile(logits, (rows, 1)), jnp.asarray(3))
    counts = np.bincount(np.asarray(drawn), minlength=5)
    expected = rows * softmax(np.asarray(logits, np.float64) / temperature)
    assert counts[2] == 0
    assert chisquare(np.delete(counts, 2), np.delete(expected, 2)).pvalue > 1e-3


def test_a_longer_limit_only_adds_tokens(vocabulary, params):
    clips = some_clips(2)
    short = labels(vocabulary, params, clips, max_new_tokens=3)
    for a, b in zip(short, labels(vocabulary, params, clips), strict=True):
        assert b.tokens[: len(a.tokens)] == a.tokens
        assert len(a.tokens) == 3 or a.ended


@pytest.mark.slow
def test_each_device_goes_over_to_the_long_cache_alone(vocabulary, params, monkeypatch):
    """One of eight has nothing but a filler."""
    clips = some_clips(7)
    expected = labels(vocabulary, params, clips)
    assert max(len(label.tokens) for label in expected) > 2
    monkeypatch.setattr(generate, "_SHORT_TEXT", 2)
    found = labels(vocabulary, params, clips, devices=8)
    assert [label.tokens for label in found] == [label.tokens for label in expected]


def test_to_expect_a_long_text_changes_none(vocabulary, params, monkeypatch):
    clips = some_clips(5)
    expected = labels(vocabulary, params, clips)
    monkeypatch.setattr(generate, "_SHORT_TEXT", 2)
    monkeypatch.setattr(decoding, "_LONG_TEXT_SECONDS", 1)
    found = labels(vocabulary, params, clips)
    assert [label.tokens for label in found] == [label.tokens for label in expected]


def test_only_speech_of_long_clips_that_are_wanted_is_long():
    samples = np.zeros((2, 480_000), np.float32)
    samples[0, :], samples[1, : 15 * 16_000] = 0.1, 0.1
    long = decoding._expects_long_text
    found = [bool(long(jnp.asarray(samples), jnp.asarray([one, True]))) for one in (True, False)]
    assert found == [True, False]


def test_repetition_compresses():
    assert compression_ratio("") <= 1
    assert compression_ratio("so on and " * 30) > 2.4 > compression_ratio("once, and never more")


def random_texts(vocabulary: Vocabulary, rng: np.random.Generator, count: int) -> np.ndarray:
    """[64, count] of words, the end and timestamps, in any order."""
    stamps = rng.integers(vocabulary.first_timestamp, vocabulary.last_timestamp + 1, (64, count))
    words = rng.integers(0, vocabulary.end + 1, (64, count))
    return np.where(rng.random((64, count)) < 0.6, stamps, words)


@pytest.mark.parametrize("count", range(5))
def test_timestamps_follow_the_rules_of_transformers(vocabulary, count):
    """Also after texts that the rules themselves would not have made."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    rng = np.random.default_rng(count)
    prompt = vocabulary.prefix("de", "transcribe", timestamps=True)
    texts = random_texts(vocabulary, rng, count)
    logits = rng.normal(0, 3, (64, vocabulary.size)).astype(np.float32)
    logits[::2, vocabulary.first_timestamp :] += 4
    rules = replace(make_transcriber(vocabulary, timestamps=True).token_rules, suppress=())
    rules = replace(rules, begin_suppress=())
    padded = np.full((64, NEW_TOKENS), vocabulary.end, np.int32)
    padded[:, :count] = texts
    ours = rules.apply(jnp.asarray(logits), jnp.asarray(padded), jnp.asarray(count))

    config = transformers.GenerationConfig(
        eos_token_id=vocabulary.end,
        no_timestamps_token_id=vocabulary.no_timestamps,
        max_initial_timestamp_index=50,
        bos_token_id=vocabulary.end,
    )
    theirs = transformers.generation.logits_process.WhisperTimeStampLogitsProcessor(
        config, begin_index=len(prompt)
    )
    ids = torch.tensor([[*prompt, *text] for text in texts.tolist()])
    expected = theirs(ids, torch.tensor(logits)).numpy()
    np.testing.assert_array_equal(np.isneginf(ours), np.isneginf(expected))
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.asarray(ours)[finite], expected[finite])


def test_no_more_tokens_than_the_model_has_positions_for(vocabulary, params):
    """Its positions hold the prompt of 4 tokens and 4 more."""
    table = params["decoder"]["positions"][:8]
    short = {**params, "decoder": {**params["decoder"], "positions": table}}
    transcriber = make_transcriber(vocabulary)
    few = replace(transcriber, model=CONFIG.model_copy(update={"max_target_positions": 8}))
    (_, label), (_, other) = (
        next(iter(each(each.place(given), some_clips(1))))
        for each, given in ((few, short), (transcriber, params))
    )
    assert not label.ended
    assert len(other.tokens) > 4
    assert label.tokens == other.tokens[:4]

"""Windows of made-up sound through a small random model: the very segments of transformers."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import soundfile

from distil_jax.data.audio import SAMPLE_RATE, read_audio
from distil_jax.data.quarantine import Quarantine
from distil_jax.export.hugging_face import write_folder
from distil_jax.labelling.label import Label
from distil_jax.labelling.settings import FallbackConfig
from distil_jax.longform.passages import PassageTranscriber
from distil_jax.longform.sequential import transcribe_passages
from distil_jax.longform.transcript import Recording
from distil_jax.models.tokenizer_files import read_tokenizer
from distil_jax.models.vocabulary import Vocabulary, make_vocabulary
from distil_jax.models.whisper import init
from tests.labelling.test_transcriber import CONFIG, make_transcriber
from tests.made_up import MULTILINGUAL, write_generation_config, write_tokenizer

NEW_TOKENS = 24
GENERATION = {"max_initial_timestamp_index": 50}
Segments = list[tuple[float, float, str, list[int]]]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory) -> Vocabulary:
    folder: Path = tmp_path_factory.mktemp("vocabulary")
    write_tokenizer(folder, MULTILINGUAL)
    generation = write_generation_config(folder, MULTILINGUAL)
    tokenizer = read_tokenizer({"tokenizer.json": folder / "tokenizer.json"}, "made up")
    return make_vocabulary(tokenizer, generation, MULTILINGUAL.vocab_size, "made up")


@pytest.fixture(scope="module")
def params(vocabulary: Vocabulary) -> dict:
    rng = np.random.default_rng(1)
    noise = lambda a: np.asarray(a) + rng.normal(0, 0.3, a.shape).astype(np.float32)  # noqa: E731
    return jax.tree.map(noise, init(CONFIG))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> list[Path]:
    """Chirps and noise that change every few seconds, of 100, 45 and 8 s."""
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    for seconds in (100, 45, 8):
        time = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
        pitch = np.repeat(rng.uniform(100, 4000, -(-seconds // 3)), 3 * SAMPLE_RATE)[: len(time)]
        level = np.repeat(rng.uniform(0, 0.4, -(-seconds // 5)), 5 * SAMPLE_RATE)[: len(time)]
        sound = level * (np.sin(pitch * time * 6) + rng.normal(0, 0.3, len(time)))
        soundfile.write(folder / f"{seconds}.flac", sound[:-77], SAMPLE_RATE)
    return [folder / f"{seconds}.flac" for seconds in (100, 45, 8)]


@pytest.fixture(scope="module")
def peer(tmp_path_factory, vocabulary: Vocabulary, params: dict) -> tuple[Any, Any]:
    """(model, processor) of transformers."""
    pytest.importorskip("torch")
    import transformers

    folder, layers = tmp_path_factory.mktemp("peer"), list(range(CONFIG.decoder_layers))
    write_folder(folder, CONFIG, params, vocabulary, GENERATION, "", layers)
    loaded = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    return loaded.eval(), transformers.WhisperProcessor.from_pretrained(folder)


class Notes(PassageTranscriber):
    """Keeps what it made."""

    @property
    def labels(self) -> list[Label]:
        return self.__dict__.setdefault("kept", [])

    def label(self, *given: Any) -> Iterator[Any]:
        for done in super().label(*given):
            self.labels.append(done[1][1])
            yield done


@pytest.fixture(scope="module")
def ours(vocabulary, params, recordings) -> Callable[..., tuple[list[Segments], list[Label]]]:
    """Segments of each recording, two of which are under way at a time, and the labels."""

    @cache
    def transcribed(
        previous: bool, devices: int, fallback: FallbackConfig | None = None
    ) -> tuple[list[Segments], list[Label]]:
        how = {"batch_size": 2, "max_new_tokens": NEW_TOKENS, "fallback": fallback}
        made = Notes.of(make_transcriber(vocabulary, devices, **how), previous)
        given = [Recording("a", path.name, path) for path in recordings]
        found = transcribe_passages(
            made, made.place(params), given, Quarantine(None), lambda recording, seconds: None
        )
        transcripts = list(found)
        assert [each.recording for each in transcripts] == given
        rows = [[(s.start, s.end, s.text, s.tokens) for s in t.segments] for t in transcripts]
        return rows, made.labels

    return transcribed


def theirs(peer: tuple[Any, Any], path: Path, previous: bool, **how: Any) -> Segments:
    import torch

    network, processor = peer
    features = processor(
        read_audio(path),
        sampling_rate=SAMPLE_RATE,
        return_tensors="pt",
        truncation=False,
        padding="longest",
    ).input_features
    with torch.no_grad():
        found = network.generate(
            features,
            return_timestamps=True,
            return_segments=True,
            condition_on_prev_tokens=previous,
            max_new_tokens=NEW_TOKENS,
            **{"temperature": 0.0, **how},
        )
    return [
        (
            round(float(segment["start"]), 2),
            round(float(segment["end"]), 2),
            processor.tokenizer.decode(segment["tokens"], skip_special_tokens=True),
            segment["tokens"].tolist(),
        )
        for segment in found["segments"][0]
    ]


@pytest.mark.parametrize("previous,devices", [(False, 1), (True, 2)])
def test_segments_are_those_of_transformers(previous, devices, ours, recordings, peer):
    """The language is detected. Of two rows, the prompts have different lengths."""
    found, _ = ours(previous, devices)
    for path, segments in zip(recordings, found, strict=True):
        assert segments == theirs(peer, path, previous)
    assert len(found[0]) > 10


def test_the_text_before_a_window_changes_what_is_written(ours):
    assert ours(True, 2)[0] != ours(False, 1)[0]


def test_windows_are_skipped_as_in_transformers(ours, recordings, peer):
    """Those of little probability, for half of which no speech seems likelier than for the rest."""
    _, labels = ours(True, 2)
    limit = float(np.median([label.mean_logprob for label in labels]))
    no_speech = float(np.median([label.no_speech_prob for label in labels]))
    limits = FallbackConfig(
        temperatures=(),
        max_compression_ratio=1e9,
        min_mean_logprob=limit + 1e-4,
        no_speech_prob=no_speech,
    )
    found, _ = ours(True, 2, limits)
    assert found != ours(True, 2)[0]
    for path, segments in zip(recordings, found, strict=True):
        thresholds = {
            "temperature": (0.0,),
            "logprob_threshold": limits.min_mean_logprob,
            "no_speech_threshold": limits.no_speech_prob,
        }
        assert segments == theirs(peer, path, True, **thresholds)


def test_a_poor_text_is_drawn_anew_and_then_not_read_again(ours):
    """At no matter which temperature, if not a high one; then the next window's prompt has none."""
    limits = FallbackConfig(temperatures=(0.7,), min_mean_logprob=0.0, no_speech_prob=1.0)
    found, labels = ours(True, 2, limits)
    assert {label.temperature for label in labels} == {0.7}
    assert all(found)

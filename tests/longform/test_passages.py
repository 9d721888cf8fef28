"""Windows of made-up sound through a small random model: the very segments of transformers."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import soundfile

from distil_jax.data.audio import SAMPLE_RATE
from distil_jax.data.quarantine import Quarantine
from distil_jax.export.hugging_face import write_folder
from distil_jax.labelling.label import Label
from distil_jax.labelling.settings import FallbackConfig
from distil_jax.longform.passages import PassageTranscriber
from distil_jax.longform.sequential import transcribe_passages
from distil_jax.longform.transcript import Recording, Transcript
from distil_jax.models.tokenizer_files import read_tokenizer
from distil_jax.models.vocabulary import Vocabulary, make_vocabulary
from distil_jax.models.whisper import init
from tests.labelling.test_transcriber import CONFIG, make_transcriber
from tests.made_up import MULTILINGUAL, write_generation_config, write_tokenizer
from tests.real_models import segments_of_transformers

NEW_TOKENS = 16
GENERATION = {"max_initial_timestamp_index": 50}


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
    """Chirps and noise that change every few seconds, of 70, 40 and 8 s."""
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    for seconds in (70, 40, 8):
        time = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
        pitch = np.repeat(rng.uniform(100, 4000, -(-seconds // 3)), 3 * SAMPLE_RATE)[: len(time)]
        level = np.repeat(rng.uniform(0, 0.4, -(-seconds // 5)), 5 * SAMPLE_RATE)[: len(time)]
        sound = level * (np.sin(pitch * time * 6) + rng.normal(0, 0.3, len(time)))
        soundfile.write(folder / f"{seconds}.flac", sound[:-77], SAMPLE_RATE)
    return [folder / f"{seconds}.flac" for seconds in (70, 40, 8)]


@pytest.fixture(scope="module")
def peer(tmp_path_factory, vocabulary: Vocabulary, params: dict) -> tuple[Any, Any]:
    """(model, processor) of transformers."""
    pytest.importorskip("torch")
    import transformers

    folder = tmp_path_factory.mktemp("peer")
    write_folder(folder, CONFIG, params, vocabulary, GENERATION, "")
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
def ours(vocabulary, params, recordings) -> Callable[..., tuple[list[Transcript], list[Label]]]:
    """The recordings' transcripts, two of which are under way at a time, and the labels."""

    @cache
    def transcribed(
        previous: bool, devices: int, fallback: FallbackConfig | None = None
    ) -> tuple[list[Transcript], list[Label]]:
        how = {"batch_size": 2, "max_new_tokens": NEW_TOKENS, "fallback": fallback}
        made = Notes.of(make_transcriber(vocabulary, devices, **how), previous)
        given = [Recording("a", path.name, path) for path in recordings]
        found = transcribe_passages(
            made, made.place(params), given, Quarantine(None), lambda recording, seconds: None
        )
        transcripts = list(found)
        assert [each.recording for each in transcripts] == given
        return transcripts, made.labels

    return transcribed


def assert_same(ours: Transcript, peer: tuple[Any, Any], previous: bool, **how: Any) -> None:
    found = [(s.start, s.end, s.text, s.tokens) for s in ours.segments]
    path = ours.recording.audio
    assert isinstance(path, Path)
    if ours.duration < 30:  # transformers detects no language there
        how |= {"language": ours.language, "task": "transcribe"}
    assert found == segments_of_transformers(peer, path, previous, max_new_tokens=NEW_TOKENS, **how)


@pytest.mark.slow
@pytest.mark.parametrize("previous,devices", [(False, 1), (True, 2)])
def test_segments_are_those_of_transformers(previous, devices, ours, peer):
    """The language is detected. Of two rows, the prompts have different lengths."""
    transcripts, labels = ours(previous, devices)
    for transcript in transcripts:
        assert_same(transcript, peer, previous)
    assert len(labels) > 5


@pytest.mark.slow
def test_the_text_before_a_window_changes_what_is_written(ours):
    (without, _), (behind, _) = ours(False, 1), ours(True, 2)
    assert [each.text for each in without] != [each.text for each in behind]


@pytest.mark.slow
def test_windows_are_skipped_as_in_transformers(ours, peer):
    """Those of little probability, if no speech seems likelier there than in half of all."""
    transcripts, labels = ours(True, 2)
    limits = FallbackConfig(
        temperatures=(),
        max_compression_ratio=1e9,
        min_mean_logprob=float(np.quantile([each.mean_logprob for each in labels], 0.7)),
        no_speech_prob=float(np.median([each.no_speech_prob for each in labels])) * 0.999,
    )
    skipping, _ = ours(True, 2, limits)
    assert [each.text for each in skipping] != [each.text for each in transcripts]
    assert any(each.segments for each in skipping)
    for transcript in skipping:
        thresholds = {
            "logprob_threshold": limits.min_mean_logprob,
            "no_speech_threshold": limits.no_speech_prob,
        }
        assert_same(transcript, peer, True, temperature=(0.0,), **thresholds)


@pytest.mark.slow
def test_poor_texts_are_drawn_anew(ours):
    limits = FallbackConfig(temperatures=(0.7,), min_mean_logprob=0.0, no_speech_prob=1.0)
    transcripts, labels = ours(True, 2, limits)
    assert {label.temperature for label in labels} == {0.7}
    assert all(each.segments for each in transcripts)

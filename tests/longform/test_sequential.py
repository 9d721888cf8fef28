"""Recordings, window by window, through a transcriber that reads its tokens out of the samples."""

import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from distil_jax.data.audio import SAMPLE_RATE
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip
from distil_jax.labelling.alignment.aligner import TokenTimes
from distil_jax.labelling.alignment.words import Word
from distil_jax.labelling.label import Label
from distil_jax.labelling.settings import FallbackConfig
from distil_jax.longform.passages import Passage
from distil_jax.longform.sequential import transcribe_passages
from distil_jax.longform.stream import Sound
from distil_jax.longform.transcript import Recording, Transcript
from distil_jax.models.log_mel import MARGIN
from tests.longform.test_chunked import END, ZERO, write

BATCH, SEGMENT = 4, 7


def said(tokens: list[int], **how: Any) -> Label:
    scores = {"mean_logprob": -0.1, "no_speech_prob": 0.0, "temperature": 0.0, **how}
    return Label(
        text="",
        tokens=[*tokens, END],
        ended=True,
        mean_entropy=0.0,
        compression_ratio=1.0,
        **{"language": "en", **scores},
    )


@dataclass
class Reads:
    """In place of a PassageTranscriber: each second of sound is a token, written in its samples.

    Every seven of them are a segment.
    """

    batch_size: int = BATCH
    most_previous: int = 12
    fallback: FallbackConfig | None = None
    scores: Callable[[Passage], dict[str, Any]] = lambda passage: {}
    batches: list[list[Passage]] = field(default_factory=list)

    vocabulary = SimpleNamespace(
        first_timestamp=ZERO, end=END, decode=lambda ids: "".join(f" {i}" for i in ids if i < ZERO)
    )

    @property
    def config(self) -> Any:
        return SimpleNamespace(fallback=self.fallback)

    def loudest(self, sound: Sound) -> float:
        return float(sound.samples.max())

    def label(self, params: dict, window: Iterable[tuple[int, Passage]]) -> Iterator[Any]:
        self.batches.append([passage for _, passage in window])
        for number, passage in reversed(list(window)):
            yield number, (passage, said(self._tokens(passage), **self.scores(passage)))

    def _tokens(self, passage: Passage) -> list[int]:
        seconds = passage.frames // 100
        middles = passage.samples[MARGIN + SAMPLE_RATE // 2 :: SAMPLE_RATE][:seconds]
        words = [round(float(x) * 10_000) for x in middles]
        tokens, end = [], 0
        for _, each in groupby(words, lambda word: (word - 1) // SEGMENT):
            segment = list(each)
            start, end = end, end + len(segment)
            tokens += [ZERO + 50 * start, *segment]
            if len(segment) == SEGMENT or seconds < 30:
                tokens.append(ZERO + 50 * end)
        return tokens


def transcripts(
    transcriber: Reads,
    recordings: list[Recording],
    heard: Callable[[Recording, float], None] = lambda recording, seconds: None,
    aligner: Any = None,
) -> tuple[list[Transcript], list[dict]]:
    quarantine, given = Quarantine(None), iter(recordings)
    asked: Any = transcriber
    found = transcribe_passages(asked, {}, given, quarantine, heard, aligner)
    return list(found), quarantine.rows


def segments_of(seconds: int) -> list[tuple[float, float, list[int]]]:
    return [
        (first, min(first + SEGMENT, seconds), words)
        for first in range(0, seconds, SEGMENT)
        if (words := list(range(first + 1, min(first + SEGMENT, seconds) + 1)))
    ]


def words(tokens: list[int]) -> list[int]:
    return [token for token in tokens if token < END]


def test_every_second_is_heard_in_a_whole_segment(tmp_path):
    lengths = [5, 30, 31, 100, 59, 240, 7, 2]
    recordings = [write(tmp_path / f"{n}.wav", n) for n in lengths]
    heard: dict[str, float] = {}

    def hear(recording: Recording, seconds: float) -> None:
        heard[recording.id] = heard.get(recording.id, 0.0) + seconds

    found, aside = transcripts(Reads(), recordings, hear)
    assert [each.recording for each in found] == recordings
    for each, n in zip(found, lengths, strict=True):
        assert each.duration == n
        assert [(s.start, s.end, words(s.tokens)) for s in each.segments] == segments_of(n)
    assert heard == {f"{n}.wav": pytest.approx(n) for n in lengths}
    assert aside == []


class Aligns:
    """In place of an Aligner: each word takes the second that it is made of."""

    def labels(self, params: dict, pairs: Iterable[tuple[Clip, Any]]) -> Iterator[Any]:
        for clip, label in pairs:
            spoken = np.array([token < END for token in label.tokens])
            assert len(clip.samples) == SAMPLE_RATE * spoken.sum()
            yield clip, label, TokenTimes(np.cumsum(spoken), np.where(spoken, 0.5, 0.0))


def test_words_have_the_times_of_their_windows(tmp_path):
    recordings = [write(tmp_path / f"{n}.wav", n) for n in (100, 5)]
    found, _ = transcripts(Reads(), recordings, aligner=Aligns())
    for each, n in zip(found, (100, 5), strict=True):
        heard = [word for segment in each.segments for word in segment.words or []]
        assert heard == [Word(f" {k}", k - 1, k, 0.5) for k in range(1, n + 1)]
        for segment in each.segments:
            assert "".join(word.text for word in segment.words or []) == segment.text


def test_a_recording_that_is_through_makes_room_for_the_next(tmp_path):
    transcriber = Reads(batch_size=2)
    transcripts(transcriber, [write(tmp_path / f"{n}.wav", n) for n in (100, 5, 50, 6)])
    assert [[passage.id for passage in batch] for batch in transcriber.batches] == [
        ["100.wav#0", "5.wav#0"],
        ["100.wav#2800", "50.wav#0"],
        ["100.wav#5600", "50.wav#2800"],
        ["100.wav#8400", "6.wav#0"],
    ]


def test_the_text_so_far_comes_before_a_window(tmp_path):
    """Timestamps and all; not that of other recordings, and no more than there is room for."""
    transcriber = Reads(most_previous=8)
    transcripts(transcriber, [write(tmp_path / f"{n}.wav", n, first=n) for n in (64, 2)])
    first, second, third = (
        passage for batch in transcriber.batches for passage in batch if passage.utterance[0] == "6"
    )
    assert first.previous == []
    for passage in (second, third):
        assert passage.previous[-1] >= ZERO > passage.previous[-2]  # one of the pair
        assert len(passage.previous) == 8
    assert words(second.previous) == list(range(85, 92))
    assert words(third.previous) == list(range(113, 120))


def test_after_a_text_drawn_at_a_high_temperature_the_next_window_has_none_before_it(tmp_path):
    """And the one after that has all again, as in transformers."""

    def scores(passage: Passage) -> dict[str, Any]:
        return {"temperature": {0: 0.4, 2800: 0.6}.get(round(passage.start * 100), 0.0)}

    transcriber = Reads(scores=scores, most_previous=200)
    transcripts(transcriber, [write(tmp_path / "a.wav", 100)])
    before = [words(passage.previous) for [passage] in transcriber.batches]
    assert before == [[], list(range(1, 29)), [], list(range(1, 85))]


def test_silence_is_skipped_whole_and_leaves_no_text(tmp_path):
    """The second window of three; without limits for a fallback there is no silence."""

    def scores(passage: Passage) -> dict[str, Any]:
        return {"no_speech_prob": 0.9, "mean_logprob": -2.0} if passage.start == 28 else {}

    recordings = [write(tmp_path / "a.wav", 70)]
    skipping = Reads(fallback=FallbackConfig(), scores=scores)
    [found], _ = transcripts(skipping, recordings)
    assert [p.start for [p] in skipping.batches] == [0, 28, 58]
    assert words(skipping.batches[2][0].previous) == words(skipping.batches[1][0].previous)
    assert [s.start for s in found.segments] == [0, 7, 14, 21, 58, 63]
    [whole], _ = transcripts(Reads(scores=scores), recordings)
    assert [(s.start, s.end) for s in whole.segments] == [s[:2] for s in segments_of(70)]


def test_a_language_is_detected_once_and_holds(tmp_path):
    transcriber = Reads(scores=lambda passage: {"language": passage.language or "de"})
    long = write(tmp_path / "long.wav", 75)
    found, _ = transcripts(transcriber, [long, Recording(long.corpus, "named", long.audio, "fr")])
    assert [each.language for each in found] == ["de", "fr"]
    asked = [[passage.language for passage in batch] for batch in transcriber.batches]
    assert asked == [[None, "fr"], ["de", "fr"], ["de", "fr"]]


def test_what_breaks_is_set_aside_and_the_others_stay(tmp_path):
    """Also where it breaks late, and where it is gone when it is read again."""
    good, silent = write(tmp_path / "good.wav", 40), tmp_path / "silent.wav"
    late = np.full(95 * SAMPLE_RATE, 0.1, np.float32)
    late[-5] = np.nan
    soundfile.write(tmp_path / "late.wav", late, SAMPLE_RATE, "FLOAT")
    soundfile.write(silent, np.zeros(70 * SAMPLE_RATE), SAMPLE_RATE)
    (tmp_path / "text.wav").write_text("not a recording")
    names = ("late.wav", "silent.wav", "text.wav", "gone.wav")
    bad = [Recording("b", name, tmp_path / name) for name in names]
    write(tmp_path / "gone.wav", 40, first=5000)

    class Removes(Reads):
        def loudest(self, sound: Sound) -> float:
            if sound.samples.max() > 0.5:
                (tmp_path / "gone.wav").unlink(missing_ok=True)
            return super().loudest(sound)

    order = [bad[0], good, bad[1], bad[2], bad[3], good]
    found, aside = transcripts(Removes(batch_size=2), order)
    assert [each.recording for each in found] == [good, good]
    for each in found:
        assert [word for s in each.segments for word in words(s.tokens)] == list(range(1, 41))
    reasons = {(row["corpus"], row["id"]): row["reason"] for row in aside}
    expected = ("not numbers", "silent", "not readable", "missing")
    assert len(reasons) == len(bad)
    for each, reason in zip(bad, expected, strict=True):
        assert reason in reasons[each.corpus, each.id]


def test_the_memory_of_a_long_recording_is_that_of_its_windows(tmp_path):
    """Of twenty minutes: 77 MB of float32."""
    with soundfile.SoundFile(tmp_path / "long.wav", "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for minute in range(20):
            values = np.arange(60 * minute, 60 * minute + 60, dtype=np.float32) / 10_000
            file.write(np.repeat(values, SAMPLE_RATE))

    class Forgets(Reads):
        def label(self, params: dict, window: Iterable[tuple[int, Passage]]) -> Iterator[Any]:
            found = list(super().label(params, window))
            self.batches.clear()
            return iter(found)

    tracemalloc.start()
    [found], _ = transcripts(Forgets(), [Recording("a", "long", tmp_path / "long.wav")])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.duration == 1200
    assert sum(len(words(segment.tokens)) for segment in found.segments) == 1200
    # About 12 MB; a thread that was not heard of yet may hold two windows of 2 MB for longer.
    assert peak < 20e6


def test_which_texts_are_poor_and_which_are_silence_is_as_in_transformers():
    """Where repetition is measured alike: transformers measures it in tokens, OpenAI in text."""
    pytest.importorskip("torch")
    from transformers import GenerationConfig
    from transformers.generation.logits_process import WhisperNoSpeechDetection
    from transformers.models.whisper.generation_whisper import WhisperGenerationMixin
    from transformers.utils.generic import ModelOutput

    limits = FallbackConfig()
    config = GenerationConfig(
        compression_ratio_threshold=limits.max_compression_ratio,
        logprob_threshold=limits.min_mean_logprob,
        no_speech_threshold=limits.no_speech_prob,
    )
    outcomes = set()
    for ratio in (1.0, 3.0):
        for logprob in (-0.5, -1.5):
            for no_speech in (0.3, 0.9):
                label = said([], mean_logprob=logprob, no_speech_prob=no_speech)
                label = Label(**{**vars(label), "compression_ratio": ratio})
                detection = WhisperNoSpeechDetection(0, 1)
                detection._no_speech_prob = [no_speech]  # pyright: ignore[reportAttributeAccessIssue]
                theirs: Any = SimpleNamespace(
                    _retrieve_compression_ratio=lambda *_, ratio=ratio: ratio
                )
                scored = [ModelOutput(sequences_scores=logprob)]
                decide: Any = WhisperGenerationMixin._need_fallback
                expected = decide(theirs, None, scored, 0, [detection], config, 9, 0.0)
                assert (label.is_poor(limits), label.is_silence(limits)) == expected
                outcomes.add(expected)
    assert outcomes == {(True, False), (False, True), (False, False)}


def test_a_file_cut_short_gives_what_is_left(tmp_path):
    whole = write(tmp_path / "whole.wav", 80)
    assert isinstance(whole.audio, Path)
    data = whole.audio.read_bytes()
    [found], _ = transcripts(Reads(), [Recording("c", "cut", data[: len(data) * 50 // 80])])
    assert found.duration == pytest.approx(50, abs=0.1)
    heard = [word for segment in found.segments for word in words(segment.tokens)]
    assert heard[:49] == list(range(1, 50))

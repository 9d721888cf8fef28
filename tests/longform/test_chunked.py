"""Recordings through a transcriber that reads its tokens out of the samples."""

import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, groupby, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from distil_jax.data.audio import SAMPLE_RATE
from distil_jax.data.quarantine import Quarantine
from distil_jax.longform.chunked import transcribe_chunked
from distil_jax.longform.transcript import Recording, Transcript
from distil_jax.longform.windows import Window

BATCH, ZERO, END = 4, 50_000, 40_000


@dataclass
class Reads:
    """In place of a Transcriber: each second of sound is a token, written in its samples.

    silent: windows, by number, that it guesses at, of each recording.
    """

    timestamps: bool = False
    silent: tuple[int, ...] = ()
    batches: list[list[str]] = field(default_factory=list)
    languages: list[str | None] = field(default_factory=list)
    detected: int = 0
    most_samples: int = 0

    vocabulary = SimpleNamespace(
        end=END, first_timestamp=ZERO, decode=lambda ids: "".join(f" {i}" for i in ids)
    )

    @property
    def config(self) -> Any:
        return SimpleNamespace(timestamps=self.timestamps, fallback=bool(self.silent))

    def language_of(self, params: dict, samples: np.ndarray) -> str:
        self.detected += 1
        return "de"

    def __call__(self, params: dict, clips: Iterable[Window]) -> Iterator[tuple[Window, Any]]:
        clips = iter(clips)
        while batch := list(islice(clips, BATCH)):
            self.batches.append([clip.id for clip in batch])
            for clip in batch:
                self.languages.append(clip.language)
                tokens, silent = (
                    self._tokens(clip.samples),
                    int(clip.id.partition("#")[2]) in self.silent,
                )
                yield (
                    clip,
                    SimpleNamespace(
                        tokens=tokens,
                        language=clip.language or "fr",
                        is_silence=lambda limits, silent=silent: silent,
                    ),
                )

    def _tokens(self, samples: np.ndarray) -> list[int]:
        tokens = [round(float(x) * 10_000) for x in samples[SAMPLE_RATE // 2 :: SAMPLE_RATE]]
        if not self.timestamps:
            return [*tokens, END]
        segments = [list(each) for _, each in groupby(tokens, lambda token: (token - 1) // 7)]
        ends = [0, *accumulate(map(len, segments))]
        return [
            token
            for segment, start, end in zip(segments, ends, ends[1:], strict=False)
            for token in (ZERO + 50 * start, *segment, ZERO + 50 * end)
        ] + [END]


def write(path: Path, seconds: int, first: int = 1) -> Recording:
    """A recording whose seconds say `first`, `first` + 1, ..."""
    values = np.arange(first, first + seconds, dtype=np.float32) / 10_000
    soundfile.write(path, np.repeat(values, SAMPLE_RATE), SAMPLE_RATE, "FLOAT")
    return Recording("made up", path.name, path)


def transcripts(
    transcriber: Reads, recordings: list[Recording], **how: Any
) -> tuple[list[Transcript], list[dict]]:
    quarantine = Quarantine(None)
    found: Any = transcribe_chunked(transcriber, {}, recordings, quarantine, **how)  # pyright: ignore[reportArgumentType]
    return list(found), quarantine.rows


@pytest.mark.parametrize("chunk_seconds", [30.0, 18.0, 12.0])
def test_every_second_is_heard_once(tmp_path, chunk_seconds):
    """Overlaps of whole seconds, of which each token is another, are merged without a fault."""
    lengths = [5, 30, 31, 100, 59, 240]
    recordings = [write(tmp_path / f"{n}.wav", n, 10 * n) for n in lengths]
    heard: dict[str, float] = {}

    def hear(recording: Recording, seconds: float) -> None:
        heard[recording.id] = heard.get(recording.id, 0.0) + seconds

    found, aside = transcripts(Reads(), recordings, chunk_seconds=chunk_seconds, heard=hear)
    assert [each.recording for each in found] == recordings
    for each, n in zip(found, lengths, strict=True):
        [segment] = each.segments
        assert segment.tokens == list(range(10 * n, 11 * n))
        assert (segment.start, segment.end, each.duration) == (0.0, n, n)
        assert each.text == " ".join(map(str, segment.tokens))
    assert heard == {f"{n}.wav": pytest.approx(n) for n in lengths}
    assert aside == []


def test_timestamps_make_segments(tmp_path):
    """Of seven seconds, which windows of twenty cut."""
    recordings = [write(tmp_path / f"{n}.wav", n) for n in (14, 70)]
    for transcript in transcripts(Reads(timestamps=True), recordings)[0]:
        assert [(s.start, s.end, s.tokens) for s in transcript.segments] == [
            (first, first + 7, list(range(first + 1, first + 8)))
            for first in range(0, int(transcript.duration), 7)
        ]


def test_a_guess_at_what_nobody_said_is_no_text(tmp_path):
    """As transformers has it with its thresholds; the windows beside it are kept."""
    recordings = [write(tmp_path / f"{n}.wav", n) for n in (20, 100)]
    long = transcripts(Reads(silent=(2,)), recordings)[0][1]  # from 40 to 70 s
    [segment] = long.segments
    assert segment.tokens == [*range(1, 51), *range(61, 101)]
    assert long.duration == 100
    assert [each.text for each in transcripts(Reads(silent=(0,)), recordings[:1])[0]] == [""]


def test_windows_of_several_recordings_share_batches(tmp_path):
    transcriber = Reads()
    transcripts(transcriber, [write(tmp_path / f"{n}.wav", n) for n in (5, 6, 50, 7)])
    assert transcriber.batches == [
        ["5.wav#0", "6.wav#0", "50.wav#0", "50.wav#1"],
        ["7.wav#0"],
    ]


def test_a_language_is_detected_once_and_holds(tmp_path):
    """A lone window is detected while it is decoded; what is named is not."""
    transcriber = Reads()
    long, short = write(tmp_path / "long.wav", 75), write(tmp_path / "short.wav", 5)
    named = Recording(long.corpus, "named", long.audio, "en")
    found, _ = transcripts(transcriber, [long, short, named])
    assert transcriber.detected == 1
    assert transcriber.languages == [*["de"] * 4, None, *["en"] * 4]
    assert [each.language for each in found] == ["de", "fr", "en"]


def test_what_breaks_is_set_aside_and_the_others_stay(tmp_path):
    """Also where some of its windows are through already."""
    good, silent = write(tmp_path / "good.wav", 40), tmp_path / "silent.wav"
    late = np.full(95 * SAMPLE_RATE, 0.1, np.float32)
    late[-5] = np.nan
    soundfile.write(tmp_path / "late.wav", late, SAMPLE_RATE, "FLOAT")
    soundfile.write(silent, np.zeros(70 * SAMPLE_RATE), SAMPLE_RATE)
    (tmp_path / "text.wav").write_text("not a recording")
    bad = [Recording("b", name, tmp_path / name) for name in ("late.wav", "silent.wav", "text.wav")]
    found, aside = transcripts(Reads(), [bad[0], good, bad[1], bad[2], good])
    assert [each.recording for each in found] == [good, good]
    assert all(len(each.segments[0].tokens) == 40 for each in found)
    assert [(row["corpus"], row["id"]) for row in aside] == [("b", each.id) for each in bad]
    reasons = ("not numbers", "silent", "not readable")
    assert all(reason in row["reason"] for reason, row in zip(reasons, aside, strict=True))


def test_a_file_cut_short_gives_what_is_left(tmp_path):
    whole = write(tmp_path / "whole.wav", 80)
    assert isinstance(whole.audio, Path)
    data = whole.audio.read_bytes()
    [found], _ = transcripts(Reads(), [Recording("c", "cut", data[: len(data) * 50 // 80])])
    assert found.duration == pytest.approx(50, abs=0.1)
    assert found.segments[0].tokens == list(range(1, 51))


def test_the_memory_of_a_long_recording_is_that_of_its_windows(tmp_path):
    """Of twenty minutes: 77 MB of float32. A batch of windows is 8 MB."""
    with soundfile.SoundFile(tmp_path / "long.wav", "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for minute in range(20):
            values = np.arange(60 * minute, 60 * minute + 60, dtype=np.float32) / 10_000
            file.write(np.repeat(values, SAMPLE_RATE))
    tracemalloc.start()
    [found], _ = transcripts(Reads(), [Recording("a", "long", tmp_path / "long.wav")])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.duration == 1200
    assert len(found.segments[0].tokens) == 1200
    assert peak < 30e6


def test_a_missing_time_is_filled_in(tmp_path):
    class Unended(Reads):
        def _tokens(self, samples: np.ndarray) -> list[int]:
            return [ZERO, 7, ZERO + 50, ZERO + 50, 8, END]

    [found], _ = transcripts(Unended(timestamps=True), [write(tmp_path / "a.wav", 12)])
    assert [(s.start, s.end) for s in found.segments] == [(0.0, 1.0), (1.0, 12.0)]

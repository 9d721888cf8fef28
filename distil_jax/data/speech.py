"""Speech in: where recordings and transcripts come from, and clips of at most 30 seconds."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import Field

from distil_jax.data.audio import MAX_SAMPLES, SAMPLE_RATE, BadAudio, read_audio
from distil_jax.data.quarantine import Quarantine
from distil_jax.settings import Settings

_READ_AHEAD = 32  # utterances decoded before they are asked for


class SpeechConfig(Settings):
    """One source of speech."""

    # A folder with manifest.jsonl, or of audio (transcripts in .txt files of the same name, or
    # none); a .parquet or .arrow file; a folder saved by `datasets`; or an id on the hub.
    # `package:NAME/path` is a path inside an installed package.
    path: str
    # Of a dataset: its configuration, split, and whether to stream it.
    name: str | None = None
    split: str = "train"
    streaming: bool = False
    audio_column: str = "audio"
    text_column: str = "text"
    language_column: str | None = None
    speaker_column: str | None = None
    # The language of clips for which the data name none.
    language: str | None = None
    # Take this part of the utterances, drawn by a hash of their ids: [0, 0.8] to train on and
    # [0.8, 1] to test on divide one corpus without overlap.
    share: tuple[float, float] = (0.0, 1.0)
    # Take only the first so many.
    limit: int | None = Field(default=None, ge=1)


@dataclass(frozen=True)
class Utterance:
    """A recording that is not decoded yet. problem: why it cannot be used, known already."""

    id: str
    audio: Path | bytes | None
    text: str | None = None
    language: str | None = None
    speaker: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Clip:
    """At most 30 seconds of speech. samples: float32 at 16 kHz; start: seconds into the utterance."""

    id: str
    corpus: str
    utterance: str
    start: float
    samples: np.ndarray
    text: str | None
    language: str | None
    speaker: str | None
    seconds: float | None = None

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / SAMPLE_RATE if self.seconds is None else self.seconds

    def without_samples(self) -> "Clip":
        """The same clip, to keep when its sound is no longer needed."""
        return replace(self, samples=np.zeros(0, np.float32), seconds=self.duration)


class Corpus(Protocol):
    """Utterances in an order that never changes."""

    name: str
    # How many utterances there are; None for a stream.
    count: int | None
    # Whether `fetch` works.
    random_access: bool

    def __iter__(self) -> Iterator[Utterance]: ...

    def fetch(self, utterance: str) -> Path | bytes:
        """The undecoded audio of one utterance, by its id."""
        ...


def open_corpus(name: str, config: SpeechConfig) -> Corpus:
    """The corpus that a config describes. Raises UserError when there is none."""
    from distil_jax.data.corpora import open_source

    return open_source(name, config)


def clips(name: str, utterances: Iterable[Utterance], quarantine: Quarantine) -> Iterator[Clip]:
    """Decode utterances in threads, in order; set aside what cannot be used.

    name: of the corpus. A recording over 30 s without a transcript is cut into pieces `ID#0`,
    `ID#1`, ...; with one it is set aside, because its text cannot be divided.
    """
    with ThreadPoolExecutor() as pool:
        ahead: deque[tuple[Utterance, Future]] = deque()
        for utterance in utterances:
            ahead.append((utterance, pool.submit(_decode, name, utterance)))
            if len(ahead) >= _READ_AHEAD:
                yield from _result(name, *ahead.popleft(), quarantine)
        while ahead:
            yield from _result(name, *ahead.popleft(), quarantine)


def load_clip(audio: Path | bytes, start: float) -> np.ndarray:
    """The samples of one clip again, from its utterance's audio and where it starts in it."""
    first = round(start * SAMPLE_RATE)
    return read_audio(audio)[first : first + MAX_SAMPLES]


def _result(name: str, utterance: Utterance, decoded: Future, quarantine: Quarantine) -> list[Clip]:
    try:
        return decoded.result()
    except BadAudio as error:
        quarantine.add(name, utterance.id, error.reason)
        return []


def _decode(name: str, utterance: Utterance) -> list[Clip]:
    if utterance.problem is not None or utterance.audio is None:
        raise BadAudio(utterance.problem or "missing: no audio")
    samples = read_audio(utterance.audio)
    if len(samples) > MAX_SAMPLES and utterance.text is not None:
        seconds = len(samples) / SAMPLE_RATE
        raise BadAudio(f"too long: {seconds:.1f} s, and its transcript cannot be divided at 30 s")
    starts = range(0, len(samples), MAX_SAMPLES)
    return [
        Clip(
            id=utterance.id if len(starts) == 1 else f"{utterance.id}#{piece}",
            corpus=name,
            utterance=utterance.id,
            start=start / SAMPLE_RATE,
            samples=samples[start : start + MAX_SAMPLES],
            text=utterance.text,
            language=utterance.language,
            speaker=utterance.speaker,
        )
        for piece, start in enumerate(starts)
    ]

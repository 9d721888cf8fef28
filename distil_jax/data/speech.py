"""Speech in: where recordings and transcripts come from, and clips of at most 30 seconds."""

import hashlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import Field, field_validator

from distil_jax.data.audio import (
    MAX_SAMPLES,
    SAMPLE_RATE,
    SHORTEST_SECONDS,
    BadAudio,
    read_audio,
    read_part,
)
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.text import languages
from distil_jax.errors import UserError
from distil_jax.settings import Settings

# What may be decoded before it is asked for; bytes, so that long recordings do not fill the memory.
_READ_AHEAD_UTTERANCES = 32
_READ_AHEAD_BYTES = 64 << 20


class SpeechConfig(Settings):
    """One source of speech."""

    # A folder with manifest.jsonl, or of audio (transcripts in .txt files of the same name, or
    # none), or a manifest; a .parquet or .arrow file; a folder of Parquet files or saved by
    # `datasets`; or an id on the hub (owner/name) when nothing of this name is on the disk.
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

    @field_validator("share")
    @classmethod
    def _share_in_order(cls, share: tuple[float, float]) -> tuple[float, float]:
        if not 0.0 <= share[0] < share[1] <= 1.0:
            raise ValueError(f"expected [low, high] with 0 <= low < high <= 1, got {list(share)}")
        return share

    def takes(self, id: str) -> bool:
        """Whether the hash of an utterance's id, as a number from 0 to 1, lies in `share`."""
        if self.share == (0.0, 1.0):
            return True
        digest = hashlib.sha256(id.encode()).digest()
        return self.share[0] <= int.from_bytes(digest[:7], "big") / 2**56 < self.share[1]


@dataclass(frozen=True)
class Utterance:
    """A recording that is not decoded yet. problem: why it cannot be used, known already."""

    id: str
    audio: Path | bytes | None
    text: str | None = None
    language: str | None = None
    speaker: str | None = None
    problem: str | None = None

    @property
    def content(self) -> list:
        """JSON that changes when the data do; of a file its size alone, so that none is read."""
        audio = self.audio
        if isinstance(audio, bytes):
            sound: str | int | None = hashlib.sha256(audio).hexdigest()
        else:
            sound = audio.stat().st_size if audio is not None and audio.exists() else None
        return [self.id, sound, self.text, self.language, self.speaker]


@dataclass(frozen=True)
class Clip:
    """At most 30 s of speech. samples: float32 at 16 kHz; start: seconds into the utterance."""

    id: str
    corpus: str
    utterance: str
    start: float
    samples: np.ndarray
    text: str | None
    language: str | None
    speaker: str | None

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / SAMPLE_RATE


class Utterances(Protocol):
    """Some, in an order that never changes."""

    @property
    def name(self) -> str: ...

    @property
    def count(self) -> int | None:
        """How many utterances there are; None where only reading them all would tell."""
        ...

    def __iter__(self) -> Iterator[Utterance]: ...


class Corpus(Utterances, Protocol):
    """Utterances with a recording each."""

    @property
    def random_access(self) -> bool:
        """Whether `fetch` works."""
        ...

    @property
    def state(self) -> str | None:
        """Another one when the data may have changed; None where only reading them would tell."""
        ...

    def fetch(self, utterance: str) -> Path | bytes:
        """The undecoded audio of one utterance, by its id."""
        ...


def open_corpus(name: str, config: SpeechConfig) -> Corpus:
    """The corpus that a config describes. Raises UserError when there is none."""
    from distil_jax.data.corpora import open_source

    return open_source(name, config)


def clips(
    name: str,
    utterances: Iterable[Utterance],
    quarantine: Quarantine,
    known: Collection[str] | None = None,
) -> Iterator[Clip]:
    """Decode utterances in threads, in order; set aside what cannot be used.

    name: of the corpus. known: the languages that may stand at an utterance (None: all that any
    Whisper knows). A recording over 30 s without a transcript is cut into pieces `ID#0`, `ID#1`,
    ...; with one it is set aside, because its text cannot be divided. A last piece under 0.1 s is
    set aside by its own id.
    """
    known = languages() if known is None else known
    with ThreadPoolExecutor() as pool:
        ahead: deque[tuple[Utterance, Future, int]] = deque()
        for utterance in utterances:
            decoded = pool.submit(_decode, name, utterance, known)
            ahead.append((utterance, decoded, _bytes(utterance)))
            while ahead and _far_enough(ahead):
                yield from _result(name, *ahead.popleft()[:2], quarantine)
        while ahead:
            yield from _result(name, *ahead.popleft()[:2], quarantine)


def load_clip(audio: Path | bytes, start: float) -> np.ndarray:
    """The samples of one clip again: float32 [n <= 480000] at 16 kHz.

    audio: of its utterance; start: where it begins in it, in seconds. Only that part is decoded.
    Raises UserError when the recording can no longer be read.
    """
    try:
        return read_part(audio, start)
    except BadAudio as error:
        what = audio if isinstance(audio, Path) else "a recording kept with its label"
        raise UserError(f"{what} was fit to use before and is no longer: {error.reason}") from None


def _bytes(utterance: Utterance) -> int:
    """Of the encoded recording; 0 where it is not known."""
    try:
        audio = utterance.audio
        return audio.stat().st_size if isinstance(audio, Path) else len(audio or b"")
    except (OSError, ValueError):
        return 0


def _far_enough(ahead: deque[tuple[Utterance, Future, int]]) -> bool:
    sizes = sum(size for *_, size in ahead)
    return len(ahead) >= _READ_AHEAD_UTTERANCES or sizes >= _READ_AHEAD_BYTES


def _result(
    name: str, utterance: Utterance, decoded: Future, quarantine: Quarantine
) -> Iterator[Clip]:
    try:
        pieces: list[Clip] = decoded.result()
    except BadAudio as error:
        quarantine.add(name, utterance.id, error.reason)
        return
    for clip in pieces:
        if clip.duration < SHORTEST_SECONDS:
            quarantine.add(name, clip.id, f"too short: the last {clip.duration:.4f} s of a file")
        else:
            yield clip


def usable_audio(utterance: Utterance, known: Collection[str]) -> Path | bytes:
    """Its undecoded audio. known: the languages that may stand at it.

    Raises BadAudio when it is already known to be of no use.
    """
    if utterance.problem is not None or utterance.audio is None:
        raise BadAudio(utterance.problem or "missing: no audio")
    if utterance.language is not None and utterance.language not in known:
        raise BadAudio(f"language {utterance.language!r} is none that the model knows")
    return utterance.audio


def _decode(name: str, utterance: Utterance, known: Collection[str]) -> list[Clip]:
    samples = read_audio(usable_audio(utterance, known))
    if len(samples) > MAX_SAMPLES and utterance.text is not None:
        seconds = len(samples) / SAMPLE_RATE
        raise BadAudio(f"longer than 30 s ({seconds:.1f} s), and its transcript cannot be divided")
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

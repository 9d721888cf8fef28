"""What goes into long-form transcription, and what comes out of it."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from distil_jax.data.audio import BadAudio
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Utterance, usable_audio
from distil_jax.labelling.alignment.words import Word


@dataclass(frozen=True)
class Recording:
    """Sound of any length, not decoded yet.

    language: None where it is to be detected. text: what is said in all of it, where that is known.
    """

    corpus: str
    id: str
    audio: Path | bytes
    language: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Segment:
    """A stretch of speech: seconds into the recording, text as decoded (a leading space is kept).

    start, end: None where the model gave no timestamp; a Transcript's segments have both.
    words: None where they were not asked for.
    """

    start: float | None
    end: float | None
    text: str
    tokens: list[int]
    words: list[Word] | None = None


@dataclass(frozen=True)
class Transcript:
    """What was said in one recording. duration: seconds that were heard."""

    recording: Recording
    duration: float
    language: str | None
    segments: list[Segment]

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(segment.text for segment in self.segments).strip()


def recordings(
    corpus: str, utterances: Iterable[Utterance], quarantine: Quarantine, known: Collection[str]
) -> Iterator[Recording]:
    """The utterances of a corpus that may be read; what is known to be of no use is set aside.

    known: the languages that may stand at an utterance. Transcripts do not matter.
    """
    for utterance in utterances:
        try:
            audio = usable_audio(utterance, known)
        except BadAudio as error:
            quarantine.add(corpus, utterance.id, error.reason)
        else:
            yield Recording(corpus, utterance.id, audio, utterance.language, utterance.text)

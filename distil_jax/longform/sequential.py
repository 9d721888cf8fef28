"""The sequential algorithm: each window begins where the last whole segment before it ended.

Radford et al. 2022 (arXiv:2212.04356), section 4.5 and OpenAI's transcribe.py; in a batch of
recordings as transformers has it (`generate` of models/whisper/generation_whisper.py), whose
segments it makes (tests/parity/test_sequential.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import islice

from distil_jax.data.audio import SAMPLE_RATE, BadAudio
from distil_jax.data.audio_stream import audio_blocks
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip
from distil_jax.labelling.alignment.aligner import Aligner, TokenTimes
from distil_jax.labelling.label import Label
from distil_jax.labelling.order import in_order
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.longform.passages import Passage, PassageTranscriber
from distil_jax.longform.stream import Extent, Stream, survey
from distil_jax.longform.timestamps import FRAME_SECONDS, as_prompt, split, with_words
from distil_jax.longform.transcript import Recording, Segment, Transcript
from distil_jax.models.log_mel import FRAMES

# A text drawn at this temperature or above leads the next window astray (transformers; OpenAI
# forgets what was before it, too).
_HIGH_TEMPERATURE = 0.5

Heard = Callable[[Recording, float], None]


def transcribe_sequential(
    transcriber: Transcriber,
    params: dict,
    recordings: Iterable[Recording],
    quarantine: Quarantine,
    condition_on_previous: bool = False,
    heard: Heard = lambda recording, seconds: None,
    aligner: Aligner | None = None,
) -> Iterator[Transcript]:
    """Transcripts of recordings of any length, in their order; what cannot be read is set aside.

    As many recordings as a batch has rows are under way, one window of each at a time; one that is
    through makes room for the next. Some 30 s of each are in memory: it is read once beforehand,
    since how loud a recording gets is part of its spectrogram. All windows have timestamps. Poor
    texts are decoded again, and windows without speech skipped, where the config has `fallback`. A
    language that nobody names is detected in a recording's first window, and holds for all of it.

    Args:
        params: placed.
        condition_on_previous: the decoder reads the text so far before each window; it helps names
            and style to stay, and lets a text that repeats itself do so for longer (which is why
            transformers leaves it off, and this does).
        heard: is told how many seconds more of a recording were transcribed.
        aligner: of the same model; with it segments have words. It hears each window by itself.
    """
    passages = PassageTranscriber.of(transcriber, condition_on_previous)
    timed = aligner.of(passages) if aligner else None
    return transcribe_passages(passages, params, recordings, quarantine, heard, timed)


def transcribe_passages(
    transcriber: PassageTranscriber,
    params: dict,
    recordings: Iterable[Recording],
    quarantine: Quarantine,
    heard: Heard,
    aligner: Aligner | None = None,
) -> Iterator[Transcript]:
    """`transcribe_sequential` with what decodes its windows."""
    done = in_order(_in_turns(transcriber, params, recordings, quarantine, heard, aligner))
    return (transcript for transcript in done if transcript)


def _in_turns(
    transcriber: PassageTranscriber,
    params: dict,
    recordings: Iterable[Recording],
    quarantine: Quarantine,
    heard: Heard,
    aligner: Aligner | None,
) -> Iterator[tuple[int, Transcript | None]]:
    """Numbers of recordings, as they are through; without a transcript where one was set aside."""
    waiting = enumerate(recordings)
    under_way: dict[int, _UnderWay] = {}
    with ThreadPoolExecutor() as pool:
        while True:
            room = transcriber.batch_size - len(under_way)
            coming = list(islice(waiting, room))
            under_way |= {number: _UnderWay(each, transcriber) for number, each in coming}
            if not under_way:
                return
            passages = []
            for number, passage in zip(
                list(under_way), pool.map(_passage, under_way.values()), strict=True
            ):
                if isinstance(passage, BadAudio):
                    recording = under_way.pop(number).recording
                    quarantine.add(recording.corpus, recording.id, passage.reason)
                    yield number, None
                else:
                    passages.append((number, passage))
            labels = transcriber.label(params, passages)
            for number, label, times in _timed(aligner, params, dict(passages), labels):
                each = under_way[number]
                heard(each.recording, each.take(label, times))
                if each.is_through:
                    yield number, under_way.pop(number).transcript()


def _timed(
    aligner: Aligner | None,
    params: dict,
    passages: Mapping[int, Passage],
    labels: Iterable[tuple[int, tuple[Clip, Label]]],
) -> Iterator[tuple[int, Label, TokenTimes | None]]:
    """Labels by number, with their tokens' times where they are wanted."""
    if aligner is None:
        yield from ((number, label, None) for number, (_, label) in labels)
        return
    given = [(number, label) for number, (_, label) in labels]
    pairs = [(passages[number].alone, label) for number, label in given]
    for (number, label), (*_, times) in zip(given, aligner.labels(params, pairs), strict=True):
        yield number, label, times


def _passage(each: "_UnderWay") -> Passage | BadAudio:
    try:
        return each.passage()
    except BadAudio as error:
        return error


class _UnderWay:
    """A recording that was heard up to some frame."""

    def __init__(self, recording: Recording, transcriber: PassageTranscriber):
        self.recording = recording
        self._transcriber = transcriber
        self._stream = Stream(audio_blocks(recording.audio))
        self._language = recording.language
        self._segments: list[Segment] = []
        self._previous: list[int] = []  # the end of the text so far
        self._leads_astray = False
        self._seek = 0

    @cached_property
    def _extent(self) -> Extent:
        return survey(self.recording.audio, self._transcriber.loudest)

    def passage(self) -> Passage:
        """What to decode next. Raises BadAudio where the recording is of no use."""
        loudest = self._extent.loudest  # at the first passage, all of the recording is read for it
        sound = self._stream.cut(self._seek)
        return Passage(
            id=f"{self.recording.id}#{self._seek}",
            corpus=self.recording.corpus,
            utterance=self.recording.id,
            start=self._seek * FRAME_SECONDS,
            samples=sound.samples,
            text=None,
            language=self._language,
            speaker=None,
            frames=sound.frames,
            loudest=loudest,
            previous=[] if self._leads_astray else self._previous,
        )

    def take(self, label: Label, times: TokenTimes | None = None) -> float:
        """What became of the passage; -> by how many seconds more the recording was heard."""
        limits, names = self._transcriber.config.fallback, self._transcriber.vocabulary
        left = self._extent.frames - self._seek
        segments, frames = [], min(left, FRAMES)
        if not (limits and label.is_silence(limits)):
            tokens = label.tokens[: len(label.tokens) - label.ended]
            segments, frames = split(tokens, self._seek, frames, names)
            if times is not None:
                since = times.since(self._seek * FRAME_SECONDS)
                segments = with_words(segments, since, names, label.language)
        self._seek += frames
        self._segments += segments
        text = [*self._previous, *(token for each in segments for token in as_prompt(each, names))]
        self._previous = text[-self._transcriber.most_previous :]
        self._leads_astray = label.temperature >= _HIGH_TEMPERATURE
        self._language = label.language
        return min(frames, left) * FRAME_SECONDS

    @property
    def is_through(self) -> bool:
        return self._seek >= self._extent.frames

    def transcript(self) -> Transcript:
        duration = self._extent.samples / SAMPLE_RATE
        recording = self.recording
        if isinstance(recording.audio, bytes):  # it may wait long for those before it
            recording = replace(recording, audio=b"")
        return Transcript(recording, duration, self._language, self._segments)

"""The chunked algorithm: overlapping windows through batches, their tokens merged."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from distil_jax.data.audio import MAX_SECONDS, SAMPLE_RATE, BadAudio
from distil_jax.data.audio_stream import audio_blocks
from distil_jax.data.quarantine import Quarantine
from distil_jax.labelling.alignment.aligner import Aligner, TokenTimes
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.longform.merge import Merge, Stride
from distil_jax.longform.transcript import Recording, Segment, Transcript
from distil_jax.longform.windows import Window, chunk_and_stride, cut


def transcribe_chunked(
    transcriber: Transcriber,
    params: dict,
    recordings: Iterable[Recording],
    quarantine: Quarantine,
    chunk_seconds: float = MAX_SECONDS,
    heard: Callable[[Recording, float], None] = lambda recording, seconds: None,
    aligner: Aligner | None = None,
) -> Iterator[Transcript]:
    """Transcripts of recordings of any length, in their order; what cannot be read is set aside.

    Windows of several recordings fill a batch together, and about eight batches are in memory. With
    timestamps (of the transcriber's config) a transcript has segments, else one of the whole.
    A language that nobody names is detected in a recording's first window, and holds for all of it.

    Args:
        params: placed.
        chunk_seconds: of a window; a sixth of it on each side is heard in its neighbour, too.
        heard: is told how many seconds more of a recording were transcribed.
        aligner: of the same model; with it segments have words.
    """
    chunk, stride = chunk_and_stride(chunk_seconds)

    def windows() -> Iterator[Window]:
        for recording in recordings:
            try:
                yield from _windows(recording, transcriber, params, chunk, stride)
            except BadAudio as error:  # some of its windows may have gone; its last will not come
                quarantine.add(recording.corpus, recording.id, error.reason)

    begun, limits = None, transcriber.config.fallback
    labels = transcriber(params, windows())
    timed = aligner.labels(params, labels) if aligner else ((*each, None) for each in labels)
    for window, label, times in timed:
        assert isinstance(window, Window)
        if begun is None or window.is_first:
            merge = Merge(transcriber.vocabulary, label.language)
            begun = _Begun(window.recording, merge, label.language)
        if limits and label.is_silence(limits):  # a guess at what nobody said is no text
            heard(window.recording, begun.add(window, [], None))
        else:
            heard(window.recording, begun.add(window, label.tokens, times))
        if window.is_last:
            yield begun.transcript(transcriber.config.timestamps)


def _windows(
    recording: Recording, transcriber: Transcriber, params: dict, chunk: int, stride: int
) -> Iterator[Window]:
    """Read and cut while they are asked for. Raises BadAudio where the recording is of no use."""
    language = recording.language
    for number, piece in enumerate(cut(audio_blocks(recording.audio), chunk, stride)):
        if number == 0 and piece.right and language is None:  # a lone window is heard only once
            language = transcriber.language_of(params, piece.samples)
        yield Window.of(recording, piece, number, language)


class _Begun:
    """A recording of which some windows are through."""

    def __init__(self, recording: Recording, merge: Merge, language: str | None):
        self._recording, self._merge, self._language = recording, merge, language
        self._segments: list[Segment] = []
        self._end = 0.0

    def add(self, window: Window, tokens: list[int], times: TokenTimes | None) -> float:
        """Take the next window's tokens; -> the seconds of sound that it adds."""
        left, right = window.left / SAMPLE_RATE, window.right / SAMPLE_RATE
        self._segments += self._merge.add(tokens, Stride(window.duration, left, right), times)
        before, self._end = self._end, window.end
        return self._end - before

    def transcript(self, timestamps: bool) -> Transcript:
        segments = [*self._segments, *self._merge.finish()]
        timed = _timed(segments, self._end) if timestamps else _whole(segments, self._end)
        return Transcript(self._recording, self._end, self._language, timed)


def _timed(segments: list[Segment], duration: float) -> list[Segment]:
    """Where a timestamp is missing: a start is the end before it, an end that of the recording."""
    timed, end = [], 0.0
    for segment in segments:
        start = end if segment.start is None else segment.start
        end = max(start, duration if segment.end is None else segment.end)
        timed.append(replace(segment, start=start, end=end))
    return timed


def _whole(segments: list[Segment], duration: float) -> list[Segment]:
    """All as one. (A model may write timestamps where it was asked for none.)"""
    text = "".join(segment.text for segment in segments)
    tokens = [token for segment in segments for token in segment.tokens]
    words = [word for segment in segments for word in segment.words or []] or None
    return [Segment(0.0, duration, text, tokens, words)] if segments else []

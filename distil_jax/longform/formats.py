"""Transcripts as files: plain text, SubRip and WebVTT subtitles, JSON."""

import json
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

from distil_jax.longform.transcript import Segment, Transcript


def txt(transcript: Transcript) -> str:
    """A line for each segment."""
    return "".join(f"{_line(segment.text)}\n" for segment in _spoken(transcript))


def srt(transcript: Transcript) -> str:
    """SubRip: numbered cues, times with a decimal comma."""
    return "".join(
        # An arrow inside the text would be taken for times.
        f"{number}\n{start} --> {end}\n{text.replace('-->', '->')}\n\n"
        for number, (start, end, text) in enumerate(_cues(transcript, ","), start=1)
    )


def vtt(transcript: Transcript) -> str:
    """WebVTT (W3C): what would be markup is escaped."""
    cues = (
        f"{start} --> {end}\n{escape(text, quote=False)}\n\n"
        for start, end, text in _cues(transcript, ".")
    )
    return "".join(["WEBVTT\n\n", *cues])


def as_dict(transcript: Transcript) -> dict[str, Any]:
    """What the JSON file holds; times in seconds, of words where they are known."""
    return {
        "source": transcript.recording.corpus,
        "id": transcript.recording.id,
        "duration": round(transcript.duration, 3),
        "language": transcript.language,
        "text": transcript.text,
        "segments": [
            {
                "start": segment.start,
                "end": segment.end,
                "language": transcript.language,
                "text": segment.text.strip(),
                **_words(segment),
            }
            for segment in _spoken(transcript)
        ],
    }


def _words(segment: Segment) -> dict[str, Any]:
    """Nothing where they were not asked for.

    A word that begins in one window and ends in the next may end before it begins.
    """
    if segment.words is None:
        return {}
    words = [
        {
            "word": word.text.strip(),
            "start": word.start,
            "end": max(word.start, word.end),
            "probability": round(word.probability, 4),
        }
        for word in segment.words
    ]
    return {"words": words}


def as_json(transcript: Transcript) -> str:
    """Indented JSON."""
    return json.dumps(as_dict(transcript), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


# By the ending of the file.
FORMATS: dict[str, Callable[[Transcript], str]] = {
    "txt": txt,
    "srt": srt,
    "vtt": vtt,
    "json": as_json,
}
SUBTITLES = {"srt", "vtt"}  # which are nothing without times


def clock(seconds: float, point: str) -> str:
    """Seconds as 01:02:03.004, with `point` before the thousandths."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    second, rest = divmod(rest, 1000)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}{point}{rest:03}"


def _spoken(transcript: Transcript) -> Iterator[Segment]:
    """Segments with text: two timestamps may stand with nothing between them."""
    return (segment for segment in transcript.segments if segment.text.strip())


def _cues(transcript: Transcript, point: str) -> Iterator[tuple[str, str, str]]:
    """(start, end, text of one line). A cue whose end is before its start would not be shown."""
    for segment in _spoken(transcript):
        start = segment.start or 0.0
        end = max(start, segment.end or 0.0)
        yield clock(start, point), clock(end, point), _line(segment.text)


def _line(text: str) -> str:
    """Without line breaks: an empty line ends a cue."""
    return " ".join(text.split())

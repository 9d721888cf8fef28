"""Files of a transcript, letter by letter."""

import json
from dataclasses import replace

import pytest

from distil_jax.labelling.alignment.words import Word
from distil_jax.longform.formats import FORMATS, as_dict, clock
from distil_jax.longform.transcript import Recording, Segment, Transcript

TRANSCRIPT = Transcript(
    recording=Recording("talks", "day 1/a.mp3", b""),
    duration=3661.5,
    language="de",
    segments=[
        Segment(0.0, 2.48, " Grüß Gott, A & B!", [1]),
        Segment(2.48, 2.48, " ", [2]),
        Segment(59.9996, 3600.0, " Zwei\n\n--> <i>drei</i>", [3]),
        Segment(3661.0, 3660.98, " Ende.", [4]),
    ],
)
TXT = """\
Grüß Gott, A & B!
Zwei --> <i>drei</i>
Ende.
"""
SRT = """\
1
00:00:00,000 --> 00:00:02,480
Grüß Gott, A & B!

2
00:01:00,000 --> 01:00:00,000
Zwei -> <i>drei</i>

3
01:01:01,000 --> 01:01:01,000
Ende.

"""
VTT = """\
WEBVTT

00:00:00.000 --> 00:00:02.480
Grüß Gott, A &amp; B!

00:01:00.000 --> 01:00:00.000
Zwei --&gt; &lt;i&gt;drei&lt;/i&gt;

01:01:01.000 --> 01:01:01.000
Ende.

"""


def test_words_stand_in_json_where_they_are_known():
    words = [Word(" Grüß", 0.0, 0.52, 0.98765), Word(" Gott,", 0.52, 0.5, 1.0)]
    segments = [Segment(0.0, 1.0, " Grüß Gott,", [1, 2], words), Segment(1.0, 2.0, " ja", [3])]
    first, second = as_dict(replace(TRANSCRIPT, segments=segments))["segments"]
    assert first["words"] == [
        {"word": "Grüß", "start": 0.0, "end": 0.52, "probability": 0.9877},
        {"word": "Gott,", "start": 0.52, "end": 0.52, "probability": 1.0},
    ]
    assert "words" not in second


@pytest.mark.parametrize("form,text", [("txt", TXT), ("srt", SRT), ("vtt", VTT)])
def test_the_letters(form, text):
    assert FORMATS[form](TRANSCRIPT) == text


def test_json():
    text = FORMATS["json"](TRANSCRIPT)
    assert "Grüß" in text
    value = json.loads(text)
    segments = value.pop("segments")
    assert value == {
        "source": "talks",
        "id": "day 1/a.mp3",
        "duration": 3661.5,
        "language": "de",
        "text": "Grüß Gott, A & B!  Zwei\n\n--> <i>drei</i> Ende.",
    }
    first = {"start": 0.0, "end": 2.48, "language": "de", "text": "Grüß Gott, A & B!"}
    assert segments[0] == first
    assert len(segments) == 3


def test_nothing_said():
    silent = Transcript(Recording("talks", "a.mp3", b""), 3.0, "en", [])
    assert [FORMATS[form](silent) for form in ("txt", "srt", "vtt")] == ["", "", "WEBVTT\n\n"]
    assert json.loads(FORMATS["json"](silent))["segments"] == []


def test_hours_go_on_after_a_day():
    assert clock(100 * 3600 + 59.9994, ".") == "100:00:59.999"

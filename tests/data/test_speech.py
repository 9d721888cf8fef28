"""Clips of at most 30 s: in order, complete, and the same when they are loaded again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distil_jax.data.audio import MAX_SAMPLES, SAMPLE_RATE
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip, SpeechConfig, Utterance, clips, load_clip
from distil_jax.errors import UserError
from distil_jax.run import read_jsonl
from tests.made_up_sound import encoded, noise, tone


def cut(*utterances: Utterance) -> tuple[list[Clip], dict[str, str]]:
    """(clips, reason by id of what was set aside)"""
    quarantine = Quarantine(None)
    found = list(clips("made-up", utterances, quarantine))
    return found, {row["id"]: row["reason"] for row in quarantine.rows}


def heard(samples: np.ndarray, **about) -> Utterance:
    return Utterance("u", encoded(samples), **about)


def test_a_clip_carries_what_the_utterance_says():
    (clip,), aside = cut(heard(tone(1.5), text="hi", language="de", speaker="s"))
    assert (clip.id, clip.corpus, clip.utterance, clip.start) == ("u", "made-up", "u", 0.0)
    assert (clip.text, clip.language, clip.speaker) == ("hi", "de", "s")
    assert clip.duration == 1.5
    assert not aside


def test_exactly_thirty_seconds_is_one_clip():
    (clip,), aside = cut(heard(noise(30), text="a lot"))
    assert (clip.id, clip.duration) == ("u", 30.0)
    assert not aside


def test_a_long_recording_without_transcript_is_cut():
    samples = noise(65)
    pieces, aside = cut(heard(samples, speaker="s"))
    assert [piece.id for piece in pieces] == ["u#0", "u#1", "u#2"]
    assert [piece.start for piece in pieces] == [0.0, 30.0, 60.0]
    assert [piece.duration for piece in pieces] == [30.0, 30.0, 5.0]
    assert {piece.utterance for piece in pieces} == {"u"}
    assert {piece.speaker for piece in pieces} == {"s"}
    joined = np.concatenate([piece.samples for piece in pieces])
    np.testing.assert_allclose(joined, samples, atol=1e-4)
    assert not aside


def test_a_last_piece_that_is_too_short_is_set_aside_by_its_own_id():
    pieces, aside = cut(heard(noise(30.05)))
    assert [piece.id for piece in pieces] == ["u#0"]
    assert aside == {"u#1": "too short: the last 0.0500 s of a file"}


def test_a_long_recording_with_a_transcript_is_set_aside():
    for text in ("more than half a minute", ""):
        assert cut(heard(noise(30.5), text=text)) == (
            [],
            {"u": "longer than 30 s (30.5 s), and its transcript cannot be divided"},
        )


def test_unknown_languages_are_set_aside():
    for language in ("klingon", ""):
        found, aside = cut(heard(tone(1), language=language))
        assert not found
        assert aside == {"u": f"language {language!r} is none that the model knows"}


def test_a_known_problem_is_the_reason():
    found, aside = cut(Utterance("a", encoded(tone(1)), problem="odd"), Utterance("b", None))
    assert not found
    assert aside == {"a": "odd", "b": "missing: no audio"}


@pytest.mark.parametrize("rate,form", [(16_000, "FLAC"), (44_100, "WAV"), (8_000, "MP3")])
def test_loading_a_clip_gives_its_samples_again(rate, form, tmp_path):
    stereo = np.stack([noise(42, rate), noise(42, rate, seed=1)], axis=1)
    (tmp_path / "u").write_bytes(encoded(stereo, rate, form))
    for audio in (tmp_path / "u", (tmp_path / "u").read_bytes()):
        pieces, _ = cut(Utterance("u", audio))
        assert [len(piece.samples) for piece in pieces] == [MAX_SAMPLES, 12 * SAMPLE_RATE]
        for piece in pieces:
            again = load_clip(audio, piece.start)
            assert again.dtype == piece.samples.dtype == np.float32
            np.testing.assert_allclose(again, piece.samples, atol=2e-4)
            if rate == SAMPLE_RATE:
                np.testing.assert_array_equal(again, piece.samples)


def test_a_recording_that_has_gone_is_said(tmp_path):
    with pytest.raises(UserError, match=r"gone\.wav was fit .* is no longer: missing"):
        load_clip(tmp_path / "gone.wav", 0.0)
    with pytest.raises(UserError, match="a recording kept with its label was fit"):
        load_clip(b"junk" * 100, 0.0)


def test_clips_come_in_the_order_of_their_utterances():
    slow, fast = encoded(noise(29, 48_000), 48_000, "FLAC"), encoded(tone(0.2))
    several = [Utterance(str(i), fast if i % 9 else slow) for i in range(60)]
    several[13] = Utterance("13", b"")
    found, aside = cut(*several)
    assert [clip.id for clip in found] == [str(i) for i in range(60) if i != 13]
    assert aside == {"13": "empty: no bytes"}


def test_what_is_read_ahead_is_bounded():
    asked = 0

    def utterances() -> Iterator[Utterance]:
        nonlocal asked
        for asked in range(1, 1001):
            yield Utterance(str(asked), encoded(tone(0.1)))

    first = next(clips("made-up", utterances(), Quarantine(None)))
    assert first.id == "1"
    assert asked < 100


def test_quarantine_keeps_one_row_for_each_and_survives_a_kill(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    quarantine = Quarantine(path)
    quarantine.add("c", "ä\udc80.wav", "silent")
    quarantine.add("d", "ä\udc80.wav", "silent")
    path.write_text(path.read_text("utf-8") + '{"id": "cut', "utf-8")

    again = Quarantine(path)
    assert again.rows == quarantine.rows
    again.add("c", "ä\udc80.wav", "silent")
    again.add("c", "b.wav", "silent")
    assert again.count == 3
    assert read_jsonl(path) == again.rows
    assert again.rows[1] == {"id": "ä\udc80.wav", "corpus": "d", "reason": "silent"}


@pytest.mark.parametrize("share", [(0.5, 0.5), (0.8, 0.2), (-0.1, 1), (0, 1.1)])
def test_shares_must_be_in_order(share):
    with pytest.raises(ValueError, match="low"):
        SpeechConfig(path="x", share=share)


def test_shares_are_drawn_by_id():
    ids = [str(Path("a") / f"{i}.wav") for i in range(3000)]
    parts = [SpeechConfig(path="x", share=share) for share in ((0, 0.25), (0.25, 0.5), (0.5, 1))]
    counts = [sum(part.takes(id) for id in ids) for part in parts]
    assert sum(counts) == 3000
    assert counts == pytest.approx([750, 750, 1500], rel=0.1)

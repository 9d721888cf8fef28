"""A stream is the whole recording, in little memory."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distil_jax.data.audio import SAMPLE_RATE, BadAudio, read_audio
from distil_jax.data.audio_stream import audio_blocks, stated_seconds
from tests.made_up_sound import encoded, noise, tone

FORMATS = [("WAV", None), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)]


def streamed(source: Path | bytes) -> np.ndarray:
    return np.concatenate(list(audio_blocks(source)))


@pytest.mark.parametrize("form,subtype", FORMATS)
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_a_stream_has_the_very_samples_of_the_whole(form, subtype, rate, tmp_path):
    if (subtype, rate) == ("OPUS", 44_100):
        rate = 24_000  # Opus does not know it
    data = encoded(np.stack([noise(3.3, rate), noise(3.3, rate, 1)], axis=1), rate, form, subtype)
    (tmp_path / "a").write_bytes(data)
    whole = read_audio(data)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(streamed(data), whole)
    np.testing.assert_array_equal(streamed(tmp_path / "a"), whole)


@pytest.mark.parametrize("rate", [2_000, 11_025, 44_056, 96_000, 768_000])
def test_odd_rates(rate):
    data = encoded(noise(0.7, rate), rate)
    np.testing.assert_array_equal(streamed(data), read_audio(data))


@pytest.mark.parametrize("form,subtype", FORMATS)
def test_a_damaged_tail_gives_what_the_whole_gives(form, subtype):
    """Cut short, or with other bytes: the same samples, or the same reason."""
    data = encoded(noise(5.0, 24_000), 24_000, form, subtype)
    half = len(data) // 2
    for damaged in (data[:half], data[:half] + b"\xa5" * half):
        np.testing.assert_array_equal(outcome(streamed, damaged), outcome(read_audio, damaged))


def outcome(read: Callable[[bytes], np.ndarray], data: bytes) -> np.ndarray | str:
    """The samples, or the reason why there are none."""
    try:
        return read(data)
    except BadAudio as error:
        return error.reason


def test_what_is_of_no_use_has_the_reason_of_the_whole(tmp_path):
    holes = tone(1.0)
    holes[12_345] = np.nan
    for source in (
        tmp_path / "none.wav",
        b"",
        b"<html>" * 50,
        encoded(np.zeros(0)),
        encoded(tone(0.05)),
        encoded(np.zeros(20_000)),
        encoded(holes, subtype="FLOAT"),
    ):
        reasons = []
        for read in (read_audio, streamed):
            with pytest.raises(BadAudio) as caught:
                read(source)
            reasons.append(caught.value.reason)
        assert reasons[0] == reasons[1]


def test_blocks_come_before_what_makes_them_useless():
    holes = tone(2.0)
    holes[-1] = np.inf
    blocks = audio_blocks(encoded(holes, subtype="FLOAT"))
    assert len(next(blocks)) > 0
    with pytest.raises(BadAudio, match="not numbers"):
        list(blocks)


def test_the_memory_of_minutes_is_that_of_seconds(tmp_path):
    """Of twenty minutes: 77 MB of float32 at 16 kHz, 38 MB in the file."""
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as file:
        for minute in range(20):
            file.write(noise(60.0, 8_000, minute))
    tracemalloc.start()
    samples = sum(len(block) for block in audio_blocks(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert samples == 20 * 60 * SAMPLE_RATE
    assert peak < 1e6


def test_the_header_says_how_long_it_is(tmp_path):
    data = encoded(noise(2.5, 8_000), 8_000, "FLAC")
    (tmp_path / "a.flac").write_bytes(data)
    assert stated_seconds(data) == stated_seconds(tmp_path / "a.flac") == 2.5
    for unknown in (None, b"", b"RIFF", tmp_path / "none.wav"):
        assert stated_seconds(unknown) == 0.0

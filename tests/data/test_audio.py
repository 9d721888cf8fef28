"""Any bytes at all: samples, or a reason."""

import os
from pathlib import Path

import numpy as np
import pytest

from distil_jax.data.audio import MAX_SAMPLES, SAMPLE_RATE, BadAudio, read_audio, read_part
from tests.made_up_sound import encoded, tone

FORMATS = [("WAV", None), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)]


def reason(source: Path | bytes) -> str:
    with pytest.raises(BadAudio) as caught:
        read_audio(source)
    return caught.value.reason


@pytest.mark.parametrize("form,subtype", FORMATS)
def test_every_format_from_a_file_and_from_bytes(form, subtype, tmp_path):
    data = encoded(tone(1.0), form=form, subtype=subtype)
    (tmp_path / "a").write_bytes(data)
    samples = read_audio(data)
    assert samples.dtype == np.float32
    assert samples.shape == (SAMPLE_RATE,)
    assert np.corrcoef(samples, tone(1.0))[0, 1] > 0.99
    np.testing.assert_array_equal(samples, read_audio(tmp_path / "a"))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_any_rate_becomes_16_khz(rate):
    samples = read_audio(encoded(tone(1.0, rate), rate))
    assert len(samples) == SAMPLE_RATE
    np.testing.assert_allclose(samples[1000:-1000], tone(1.0)[1000:-1000], atol=1e-3)


def test_channels_are_mixed_down():
    stereo = np.stack([tone(0.5), np.zeros(8000)], axis=1)
    np.testing.assert_allclose(read_audio(encoded(stereo)), tone(0.5) / 2, atol=1e-4)


def test_reasons(tmp_path):
    assert reason(tmp_path / "none.wav") == "missing: no such file"
    assert reason(tmp_path) == "not a file"
    assert reason(b"") == "empty: no bytes"
    assert reason(encoded(np.zeros(0))) == "empty: no samples"
    assert reason(encoded(np.zeros(16_000))) == "silent"
    assert reason(encoded(tone(0.05))).startswith("too short: 0.050 s")
    assert reason(b"<html>not found</html>" * 50).startswith("not readable as audio")
    holes = tone(0.5)
    holes[77] = np.nan
    assert "not numbers" in reason(encoded(holes, subtype="FLOAT"))
    assert reason(Path("x" * 300 + ".wav")) == "not readable as audio: File name too long"
    assert reason(Path("a\0b.wav")) == "missing: no such file"


def test_a_shortest_recording_is_kept():
    assert len(read_audio(encoded(tone(0.1)))) == 1600


@pytest.mark.parametrize("rate", [1, 50, 2**31 - 1, 0])
def test_a_damaged_header_does_not_fill_the_memory(rate):
    data = bytearray(encoded(tone(1.0)))
    data[24:28] = rate.to_bytes(4, "little")
    assert reason(bytes(data))


def test_a_name_need_not_be_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    path.write_bytes(encoded(tone(1.0)))
    assert len(read_audio(path)) == SAMPLE_RATE


def test_a_file_cut_short_gives_what_is_left():
    for form, subtype in [("WAV", None), ("FLAC", None), ("MP3", None)]:
        data = encoded(np.random.default_rng(0).normal(0, 0.1, 32_000), form=form, subtype=subtype)
        assert 4_000 < len(read_audio(data[: len(data) // 2])) < 17_000


def test_reasons_are_the_same_every_time(tmp_path):
    """They stand in files that two runs must write alike: no addresses, no folders."""
    (tmp_path / "a.ogg").write_bytes(encoded(tone(1.0), form="OGG", subtype="OPUS")[:2000])
    first, second = reason(tmp_path / "a.ogg"), reason((tmp_path / "a.ogg").read_bytes())
    assert first == second
    assert str(tmp_path) not in first


@pytest.mark.parametrize("form,subtype", FORMATS)
def test_damaged_bytes_give_samples_or_a_reason(form, subtype):
    rng = np.random.default_rng(0)
    whole = encoded(tone(0.3), form=form, subtype=subtype)
    reasons = set()
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), rng.integers(1, 30)):
            data[place] = rng.integers(256)
        try:
            samples = read_audio(bytes(data[: rng.integers(1, len(data) + 1)]))
        except BadAudio as error:
            reasons.add(error.reason)
        else:
            assert np.isfinite(samples).all()
            assert np.abs(samples).max() <= 1.0
    assert all(reasons)


@pytest.mark.parametrize("form,subtype", FORMATS)
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_part_is_what_the_whole_has_there(form, subtype, rate):
    if (subtype, rate) == ("OPUS", 44_100):
        rate = 48_000  # Opus has no other
    noise = np.random.default_rng(1).normal(0, 0.1, 65 * rate)
    data = encoded(noise, rate, form, subtype)
    whole = read_audio(data)
    for start in (0.0, 30.0, 60.0):
        first = round(start * SAMPLE_RATE)
        part, wanted = read_part(data, start), whole[first : first + MAX_SAMPLES]
        assert len(part) == len(wanted)
        np.testing.assert_allclose(part, wanted, atol=2e-4)

"""Noise at its level, the same bits whoever makes it; and a babble is never of the clip itself."""

import random
import subprocess
import sys

import numpy as np
import pytest

from distil_jax.data.speech import Clip
from distil_jax.evaluation.noise import Noise, add_noise, babble, generator
from tests.made_up_sound import noise, tone

LEVELS = (40.0, 10.0, 0.0, -10.0)


def clip(id: str, samples: np.ndarray) -> Clip:
    samples = samples.astype(np.float32)
    return Clip(id, "made up", id.partition("#")[0], 0.0, samples, "text", "en", None)


def some_clips() -> list[Clip]:
    """Loud and faint ones, of all lengths, with a pause in each."""
    clips = []
    for number in range(6):
        sound = tone(0.5 + 0.3 * number, hertz=200 + 70 * number) * 10.0 ** -(number % 3)
        sound[: len(sound) // 3] = 0.0
        clips.append(clip(f"{number}.wav", sound))
    return clips


def measured_snr(clean: np.ndarray, noisy: np.ndarray) -> float:
    clean, noisy = clean.astype(np.float64), noisy.astype(np.float64)
    return 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))


def make(kind, snr_db: float, clips: list[Clip], seed: int = 7) -> Noise:
    return Noise(kind, snr_db, seed, lambda: clips, talkers=4)


@pytest.mark.parametrize("kind", ["white", "babble"])
@pytest.mark.parametrize("snr_db", LEVELS)
def test_the_level_is_what_was_asked_for(kind, snr_db):
    clips = some_clips()
    for each in clips:
        noisy = make(kind, snr_db, clips)(each)
        assert noisy.samples.dtype == np.float32
        assert len(noisy.samples) == len(each.samples)
        assert measured_snr(each.samples, noisy.samples) == pytest.approx(snr_db, abs=0.01)
        assert (noisy.id, noisy.text, noisy.language) == (each.id, each.text, each.language)


def test_nothing_is_cut_off_or_made_softer():
    loud = tone(1.0) * 1.9
    noisy = add_noise(loud.astype(np.float32), noise(1.0), -10.0)
    assert np.abs(noisy).max() > 2.0
    assert np.corrcoef(noisy - loud, noise(1.0))[0, 1] == pytest.approx(1.0, abs=1e-6)


def test_a_silent_piece_stays_silent():
    silent = np.zeros(800, np.float32)
    assert not add_noise(silent, np.ones(800), 0.0).any()


@pytest.mark.parametrize("kind", ["white", "babble"])
def test_the_same_bits_in_any_order(kind):
    """And not those of another clip or seed; louder noise is the same noise."""
    clips = some_clips()
    made = {each.id: make(kind, 5.0, clips)(each).samples for each in clips}
    shuffled = random.Random(0).sample(clips, len(clips))
    again = make(kind, 5.0, clips)
    for each in shuffled:
        assert np.array_equal(again(each).samples, made[each.id])
        other = make(kind, 5.0, clips, seed=8)(each).samples
        assert not np.array_equal(other, made[each.id])
    one, other = clips[0], clip("other.wav", clips[0].samples)
    assert not np.array_equal(again(one).samples, again(other).samples)
    softer = make(kind, 25.0, clips)(one).samples.astype(np.float64) - one.samples
    np.testing.assert_allclose(softer * 10, made[one.id] - one.samples, rtol=1e-3, atol=1e-5)


def test_another_process_makes_the_same_bits(repository):
    code = (
        "from tests.evaluation.test_noise import *; import hashlib; clips = some_clips(); "
        "print(hashlib.sha256(b''.join(make(k, 0.0, clips)(c).samples.tobytes() "
        "for k in ('white', 'babble') for c in clips)).hexdigest())"
    )
    how = {"check": True, "capture_output": True, "text": True, "cwd": repository}
    said = [subprocess.run([sys.executable, "-c", code], **how).stdout for _ in range(2)]
    assert said[0] == said[1] != ""


def test_white_noise_is_white():
    noisy = make("white", 0.0, [])(clip("a", tone(2.0)))
    left = noisy.samples - tone(2.0)
    spectrum = np.abs(np.fft.rfft(left)) ** 2
    bands = [band.mean() for band in np.array_split(spectrum, 8)]
    assert max(bands) / min(bands) < 1.2


def test_babble_is_of_the_others_alone():
    """Pure tones: what is in the babble shows in its spectrum."""
    clips = [clip(f"{n}.wav", tone(1.0, hertz=400.0 * (n + 1))) for n in range(5)]
    clips.append(clip("0.wav#1", tone(1.0, hertz=3000.0)))  # another piece of the first
    noise = Noise("babble", 0.0, 0, lambda: clips, talkers=4)(clips[0]).samples - clips[0].samples
    power = np.abs(np.fft.rfft(noise)) ** 2  # a bin a hertz
    heard = {hertz for hertz in range(100, 8000, 100) if power[hertz] > 0.01 * power.max()}
    assert heard == {800, 1200, 1600, 2000}


def test_voices_are_equally_loud_and_fill_the_clip():
    rng = np.random.default_rng(0)
    voices = [tone(1.0, hertz=500.0) * 0.001, tone(0.25, hertz=1000.0)]
    mixed = babble(32_000, voices, 2, rng)
    power = np.abs(np.fft.rfft(mixed)) ** 2  # a bin half a hertz
    assert power[1000] == pytest.approx(power[2000], rel=1e-3)
    assert np.abs(mixed[-4000:]).max() > 0.5


def test_few_voices_speak_at_several_places_and_none_cannot():
    rng = np.random.default_rng(0)
    assert babble(1000, [noise(1.0)], 6, rng).std() > 0
    with pytest.raises(ValueError, match="at least one voice"):
        babble(1000, [], 6, rng)


def test_a_pause_of_all_voices_is_drawn_again():
    voice = np.zeros(16_000)
    voice[8000:8100] = 1.0
    for seed in range(20):
        assert babble(50, [voice], 1, np.random.default_rng(seed)).any()


def test_generators_depend_on_their_names_alone():
    assert generator(1, "a").random() == generator(1, "a").random()
    assert (
        len({generator(*names).random() for names in ((1, "a"), (1, "b"), ("1a",), (2, "a"))}) == 4
    )
    generator(0, "not utf-8 \udcff")

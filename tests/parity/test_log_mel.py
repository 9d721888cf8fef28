"""Log-mel on the device against transformers' feature extractor."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from distil_jax.data.audio import read_audio
from distil_jax.data.batch import pad_samples
from distil_jax.longform.stream import Stream
from distil_jax.mesh import compiling_for
from distil_jax.models.log_mel import (
    CLIP_SAMPLES,
    FRAMES,
    SAMPLE_RATE,
    Excerpt,
    excerpt_log_mel,
    log_mel,
    loudest,
)

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-4
TIME = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
RNG = np.random.default_rng(0)


def signals() -> dict[str, np.ndarray]:
    """What is hard in float32: tones far above everything else, silence, full scale, steps."""
    tone = np.sin(2 * np.pi * 1000 * TIME)
    return {
        "noise": RNG.normal(0, 0.1, TIME.shape),
        "quiet noise": RNG.normal(0, 1e-4, TIME.shape),
        "tone": 0.5 * tone,
        "full-scale low tone": np.sin(2 * np.pi * 60 * TIME),
        "quiet tone": 1e-3 * tone,
        "clipped": np.clip(3 * tone, -1, 1),
        "chirp": 0.5 * np.sin(2 * np.pi * 800 * TIME**2),
        "silence, then noise": np.where(TIME < 2.5, 0.0, RNG.normal(0, 0.1, TIME.shape)),
        "offset": np.full(TIME.shape, 0.5),
        "click": np.eye(1, len(TIME), 1000)[0],
        "silence": np.zeros(TIME.shape),
        "30 s": RNG.normal(0, 0.1, CLIP_SAMPLES),
    }


def difference(samples: np.ndarray, n_mels: int, target: str = "cpu") -> float:
    """target: whose way of computing it is run, on this machine's CPU."""
    extractor = transformers.WhisperFeatureExtractor(feature_size=n_mels)
    samples = samples.astype(np.float32)
    expected = extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="np").input_features
    with compiling_for(target):
        jitted = jax.jit(partial(log_mel, n_mels=n_mels))
        got = jitted(pad_samples([samples], CLIP_SAMPLES))
    return float(np.abs(np.asarray(got)[0].T - expected[0]).max())


@pytest.mark.parametrize("target", ["cpu", "tpu"])
@pytest.mark.parametrize("name", signals())
@pytest.mark.parametrize("n_mels", [80, 128])
def test_signals(name, n_mels, target):
    assert difference(signals()[name], n_mels, target) <= TOLERANCE


@pytest.mark.parametrize("n_mels", [80, 128])
def test_recordings_of_the_package(n_mels, repository):
    for path in sorted((repository / "distil_jax/quickstart/test").glob("*.opus"))[:8]:
        assert difference(read_audio(path), n_mels) <= TOLERANCE, path.name


@pytest.mark.parametrize("target", ["cpu", "tpu"])
@pytest.mark.parametrize("samples", [3 * CLIP_SAMPLES + 3333, CLIP_SAMPLES, CLIP_SAMPLES + 161])
def test_an_excerpt_is_cut_out_of_the_spectrogram_of_all(samples, target):
    """Whose loudest frame is elsewhere; the rest of the last one is zeros."""
    time = np.arange(samples) / SAMPLE_RATE
    sound = RNG.normal(0, 1, samples) * np.where(time % 40 < 3, 0.3, 1e-5)
    sound = sound.astype(np.float32)
    extractor = transformers.WhisperFeatureExtractor()
    how = {"truncation": False, "padding": "longest", "return_tensors": "np"}
    expected = extractor(sound, sampling_rate=SAMPLE_RATE, **how).input_features[0].T
    assert expected.shape[0] == samples // 160
    expected = np.pad(expected, ((0, FRAMES), (0, 0)))
    with compiling_for(target):
        mel = jax.jit(partial(excerpt_log_mel, n_mels=80))
        level = jax.jit(partial(loudest, n_mels=80))
        parts = [Stream([sound]).cut(frame) for frame in range(0, samples // 160, FRAMES)]
        rows = [(part.samples[None], np.array([part.frames])) for part in parts]
        most = np.max([np.asarray(level(*row)) for row in rows])
        stream = Stream(np.array_split(sound, 40))
        for frame in (0, 2, 1234, samples // 160 - 7):
            part = stream.cut(frame)
            excerpt = Excerpt(part.samples[None], np.array([most]), np.array([part.frames]))
            got = np.asarray(mel(excerpt))[0]
            assert np.abs(got - expected[frame : frame + FRAMES]).max() <= TOLERANCE


@pytest.mark.shared_data
def test_recordings_of_many_voices(shared_data: Path):
    for folder in sorted((shared_data / "speech").iterdir()):
        for path in sorted(folder.glob("*.flac"))[:6]:
            assert difference(read_audio(path), 80) <= TOLERANCE, path

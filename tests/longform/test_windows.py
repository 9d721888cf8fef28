"""Windows of a stream: those of transformers' chunk_iter."""

import numpy as np
import pytest

from distil_jax.data.audio import SAMPLE_RATE
from distil_jax.errors import ConfigError
from distil_jax.longform.transcript import Recording
from distil_jax.longform.windows import Piece, Window, chunk_and_stride, cut

pytest.importorskip("torch")
from transformers.pipelines.automatic_speech_recognition import chunk_iter


class Extractor:
    """In the place of transformers' feature extractor: keeps the samples."""

    sampling_rate = SAMPLE_RATE

    def __call__(self, samples: np.ndarray, **_: object) -> dict:
        return {"samples": samples}


def pieces(samples: np.ndarray, chunk: int, stride: int, block: int) -> list[Piece]:
    blocks = (samples[first : first + block] for first in range(0, len(samples), block))
    return list(cut(blocks, chunk, stride))


@pytest.mark.parametrize("block", [1, 7, 30, 1000])
def test_every_length_is_cut_as_transformers_cuts_it(block):
    samples = np.arange(400, dtype=np.float32) + 1
    for chunk, stride in ((30, 5), (16, 3), (12, 2)):
        for length in range(1, 130):
            ours = pieces(samples[:length], chunk, stride, block)
            theirs = list(chunk_iter(samples[:length], Extractor(), chunk, stride, stride))
            assert [(len(p.samples), p.left, p.right) for p in ours] == [
                each["stride"] for each in theirs
            ]
            for piece, each in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(piece.samples, each["samples"])
                assert samples[piece.start] == piece.samples[0]
            assert [p.right == 0 for p in ours] == [each["is_last"] for each in theirs]


def test_nothing_gives_no_window():
    assert pieces(np.zeros(0, np.float32), 30, 5, 10) == []


def test_a_window_knows_where_it_lies():
    samples = np.zeros(50 * SAMPLE_RATE, np.float32)
    recording = Recording("talks", "a.mp3", b"")
    cuts = pieces(samples, *chunk_and_stride(30.0), 4096)
    windows = [Window.of(recording, piece, n, "de") for n, piece in enumerate(cuts)]
    assert [(w.id, w.start, w.end) for w in windows] == [
        ("a.mp3#0", 0.0, 30.0),
        ("a.mp3#1", 20.0, 50.0),
    ]
    assert [(w.is_first, w.is_last) for w in windows] == [(True, False), (False, True)]


@pytest.mark.parametrize("seconds", [0.5, 31.0, -1.0, float("nan")])
def test_a_chunk_that_no_window_holds_is_refused(seconds):
    with pytest.raises(ConfigError, match="expected 1 to 30 seconds"):
        chunk_and_stride(seconds)


def test_chunk_and_stride():
    assert chunk_and_stride(30.0) == (480_000, 80_000)
    assert chunk_and_stride(25.0) == (400_000, 66_667)

"""Clips of one length together, and labels in the order of the clips."""

from concurrent.futures import Future

import numpy as np
import pytest

from distil_jax.data.speech import Clip
from distil_jax.labelling.order import batches, in_order, windows


def of_length(samples: int) -> Clip:
    return Clip(str(samples), "", "", 0.0, np.zeros(samples, np.float32), None, None, None)


def test_every_clip_is_in_one_batch_with_others_of_its_length():
    lengths = np.random.default_rng(0).permutation(100).tolist()
    (window,) = windows(map(of_length, lengths), 25)
    found = list(batches(window, 20))
    assert [[len(clip.samples) for _, clip in batch] for batch in found] == [
        list(range(first + 19, first - 1, -1)) for first in (80, 60, 40, 20, 0)
    ]
    assert all(len(clip.samples) == lengths[number] for batch in found for number, clip in batch)


@pytest.mark.parametrize("batch,sizes", [(4, [16, 16, 8]), (600, [40]), (9, [36, 4])])
def test_a_window_is_of_a_few_batches(batch, sizes):
    found = list(windows(map(of_length, range(40)), batch))
    assert list(map(len, found)) == sizes
    assert [number for window in found for number, _ in window] == list(range(40))


def test_what_goes_wrong_in_reading_is_raised():
    def clips():
        yield of_length(1)
        raise ValueError("the reader's")

    with pytest.raises(ValueError, match="the reader's"):
        list(windows(clips(), 4))


def test_a_result_comes_as_soon_as_all_before_it_are_there():
    coming: list[Future] = []
    done = ((number, coming.append(Future()) or number) for number in (2, 0, 1, 3))
    results = in_order(done)
    assert [(next(results), len(coming)) for _ in range(4)] == [(0, 2), (1, 3), (2, 3), (3, 4)]

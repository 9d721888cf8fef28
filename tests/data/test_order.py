"""Which clips make up a batch: of a seed alone, all of them, neighbours of like length."""

from itertools import chain

import numpy as np
import pytest

from distil_jax.data.order import BatchOrder

LENGTHS = np.random.default_rng(0).integers(1, 400, 240).tolist()


def epoch(order: BatchOrder, number: int) -> list[list[int]]:
    size = order.batches_per_epoch
    return [order[i] for i in range(number * size, (number + 1) * size)]


def clips(batches: list[list[int]]) -> list[int]:
    return list(chain.from_iterable(batches))


def test_an_epoch_takes_every_clip_once():
    order = BatchOrder(LENGTHS, 12, seed=3)
    for number in range(3):
        assert sorted(clips(epoch(order, number))) == list(range(240))


@pytest.mark.parametrize("count,size", [(241, 12), (7, 2), (100, 99), (5, 5)])
def test_what_fills_no_batch_sits_out_and_comes_again(count, size):
    order = BatchOrder([1] * count, size, seed=0)
    assert order.batches_per_epoch == count // size
    for number in range(3):
        taken = clips(epoch(order, number))
        assert len(taken) == len(set(taken)) == count // size * size
    assert set(clips([order[i] for i in range(40 * order.batches_per_epoch)])) == set(range(count))


@pytest.mark.parametrize("count,size", [(1, 8), (3, 8), (5, 7)])
def test_few_clips_come_several_times_and_about_equally_often(count, size):
    order = BatchOrder(list(range(count)), size, seed=0)
    assert order.batches_per_epoch == 1
    for number in range(4):
        times = np.bincount(order[number], minlength=count)
        assert times.sum() == size
        assert times.max() - times.min() <= 1


def test_a_batch_depends_on_seed_and_number_alone():
    forward, backward = BatchOrder(LENGTHS, 12, 3), BatchOrder(LENGTHS, 12, 3)
    numbers = list(range(0, 200, 7))
    there = {number: forward[number] for number in numbers}
    assert {number: backward[number] for number in reversed(numbers)} == there


def test_seeds_and_epochs_differ():
    one, two = BatchOrder(LENGTHS, 12, 3), BatchOrder(LENGTHS, 12, 4)
    assert epoch(one, 0) != epoch(two, 0)
    assert epoch(one, 0) != epoch(one, 1)
    assert epoch(one, 1) != epoch(two, 0)


def test_a_batch_has_clips_of_like_length_and_batches_are_shuffled():
    lengths = np.asarray(LENGTHS)
    batches = epoch(BatchOrder(LENGTHS, 12, 3), 0)
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    alone = np.random.default_rng(0).permutation(240).reshape(-1, 12)
    assert spread < 0.3 * np.mean([np.ptp(lengths[batch]) for batch in alone])
    means = [lengths[batch].mean() for batch in epoch(BatchOrder(LENGTHS[:96], 12, 3), 0)]
    assert sorted(means) not in (means, means[::-1])

"""Batches: padded to fixed shapes, random by seed alone, continued where they stopped."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from distil_jax.data.batch import SpeechBatch, StoredSignals, make_batch, pad_samples
from distil_jax.data.loader import (
    Example,
    Loader,
    LoaderConfig,
    make_loader,
    ordered_batches,
    target_of,
)
from distil_jax.data.targets import TargetTokens, build_target
from distil_jax.errors import ConfigError, UserError
from distil_jax.objectives.stored import TopK

END, START, PREVIOUS, PLAIN, FIRST_TIME = range(100, 105)
IDS = TargetTokens(END, PREVIOUS, PLAIN, FIRST_TIME)
CONFIG = LoaderConfig(batch_size=4, seed=0, target_lengths=(16, 32), clip_samples=50)


def example(number: int) -> Example:
    """Its samples and its label tell which one it is."""
    return Example(
        id=str(number),
        load=lambda: np.full(10 + number, number + 1, np.float32),
        prefix=[START],
        label=[FIRST_TIME, *[number] * (1 + number % 9), FIRST_TIME + 9, END],
        previous=[99, END] if number % 2 else None,
        seconds=(10 + number) / 16_000,
    )


EXAMPLES = [example(i) for i in range(24)]


def loader(examples: Sequence[Example] = EXAMPLES, /, **changes) -> Loader:
    return make_loader(examples, IDS, LoaderConfig(**{**vars(CONFIG), **changes}))


def taken(batches: Loader, count: int) -> list[SpeechBatch]:
    return [next(batches) for _ in range(count)]


def numbers(batches: Sequence[SpeechBatch]) -> list[int]:
    """Which examples they hold."""
    return [int(row[0]) - 1 for batch in batches for row in batch.samples]


def assert_same(ones: Sequence[SpeechBatch], others: Sequence[SpeechBatch]) -> None:
    for one, other in zip(ones, others, strict=True):
        for name in ("samples", "inputs", "labels", "mask"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_padding_is_masked_and_the_first_end_is_not():
    clips = [np.ones(3, np.float32), np.full(5, 2, np.float32)]
    targets = [build_target(IDS, [START], label) for label in ([7, 8, 9, END], [7, END])]
    batch = make_batch(clips, [3, 5], targets, (8, 16), 6)
    assert batch.samples.tolist() == [[1, 1, 1, 0, 0, 0], [2, 2, 2, 2, 2, 0]]
    assert batch.inputs.shape == batch.labels.shape == batch.mask.shape == (2, 8)
    assert batch.mask.sum(axis=1).tolist() == [5, 3]
    assert batch.labels[0, :5].tolist() == [PLAIN, 7, 8, 9, END]
    assert batch.labels[1, batch.mask[1]].tolist() == [PLAIN, 7, END]
    dtypes = [batch.samples.dtype, batch.inputs.dtype, batch.labels.dtype, batch.mask.dtype]
    assert dtypes == [np.float32, np.int32, np.int32, np.bool_]


@pytest.mark.parametrize("tokens,length", [(8, 8), (9, 16), (16, 16)])
def test_the_first_length_that_holds_the_longest(tokens, length):
    target = build_target(IDS, [START], [1] * (tokens - 1))
    assert len(target) == tokens
    assert make_batch([np.ones(1)], [1], [target], (8, 16), 4).inputs.shape == (1, length)


def test_a_target_longer_than_all_lengths_is_said():
    target = build_target(IDS, [START], [1] * 16)
    with pytest.raises(ConfigError, match=r"has 17 tokens, .* train\.target_lengths \[8, 16\]"):
        make_batch([np.ones(1)], [1], [target], (8, 16), 4)


@pytest.mark.parametrize("chance,fits", [(0.0, True), (0.01, False)])
def test_a_target_that_may_get_too_long_is_said_before_the_first_batch(chance, fits):
    longest = Example("a", lambda: np.ones(1), [START], [1] * 14 + [END], [2] * 9, seconds=0)
    if fits:
        loader([longest], target_lengths=(16,), previous_text_probability=chance)
        return
    with pytest.raises(ConfigError, match=r"has 26 tokens, .* train\.target_lengths \[16\]"):
        loader([longest], target_lengths=(16,), previous_text_probability=chance)


def test_samples_are_padded_and_never_cut():
    assert pad_samples([], 4).shape == (0, 4)
    with pytest.raises(ValueError, match="broadcast"):
        pad_samples([np.ones(5)], 4)


def test_every_example_once_an_epoch():
    batches = loader()
    for _ in range(3):
        assert sorted(numbers(taken(batches, 6))) == list(range(24))


def test_samples_and_labels_of_one_example_stay_together():
    for batch in taken(loader(), 6):
        assert batch.samples.shape == (4, 50)
        for number, row, labels, mask in zip(
            numbers([batch]), batch.samples, batch.labels, batch.mask, strict=True
        ):
            assert np.count_nonzero(row) == 10 + number
            assert labels[mask].tolist() == [PLAIN, *[number] * (1 + number % 9), END]


def test_the_same_seed_gives_the_same_batches_whatever_the_threads():
    chances = {"timestamp_probability": 0.5, "previous_text_probability": 0.5}
    whole = taken(loader(**chances), 13)
    assert_same(whole, taken(loader(**chances), 13))
    assert_same(whole, taken(loader(**chances, threads=1, read_ahead=1), 13))
    assert numbers(whole) != numbers(taken(loader(**chances, seed=1), 13))


@pytest.mark.parametrize("before", [0, 1, 5, 6, 9])
def test_a_restored_position_continues_with_the_identical_batches(before):
    chances = {"timestamp_probability": 0.5, "previous_text_probability": 0.5}
    first = loader(**chances)
    taken(first, before)
    state = json.loads(json.dumps(first.get_state()))
    wanted = taken(first, 8)

    fresh = loader(**chances)
    taken(fresh, 3)
    fresh.set_state(state)
    assert_same(wanted, taken(fresh, 8))
    first.set_state(state)
    assert_same(wanted, taken(first, 8))


def shares(**chances: float) -> tuple[float, float]:
    """Of 480 targets, those that have timestamps, and of those with one before, a prompt."""
    batches = taken(loader(**chances), 120)
    timed = [(row >= FIRST_TIME).any() for batch in batches for row in batch.labels]
    prompted = [row[0] == PREVIOUS for batch in batches for row in batch.inputs]
    odd = [number % 2 == 1 for number in numbers(batches)]
    assert not np.any(np.array(prompted) & ~np.array(odd))
    return float(np.mean(timed)), float(np.sum(prompted) / np.sum(odd))


def test_timestamps_and_previous_text_come_by_their_probabilities():
    assert shares() == (0.0, 0.0)
    assert shares(timestamp_probability=1.0) == (1.0, 0.0)
    assert shares(previous_text_probability=1.0) == (0.0, 1.0)
    drawn = shares(timestamp_probability=0.5, previous_text_probability=0.2)
    assert drawn == pytest.approx((0.5, 0.2), abs=0.07)


def test_draws_differ_between_seeds_and_between_clips():
    def timed(seed: int) -> list[bool]:
        batches = loader(EXAMPLES[:1], seed=seed, timestamp_probability=0.5)
        return [bool((row >= FIRST_TIME).any()) for b in taken(batches, 9) for row in b.labels]

    assert timed(0) == timed(0) != timed(1)
    assert len({tuple(timed(0)[i : i + 4]) for i in range(0, 36, 4)}) > 1


def test_draws_of_one_kind_do_not_move_those_of_the_other():
    def timed(**chances: float) -> list[bool]:
        batches = taken(loader(timestamp_probability=0.5, **chances), 12)
        return [bool((row >= FIRST_TIME).any()) for batch in batches for row in batch.labels]

    assert timed() == timed(previous_text_probability=1.0)


def test_a_recording_that_has_gone_stops_the_loader_with_its_reason():
    def gone() -> np.ndarray:
        raise UserError("a.wav was fit to use before and is no longer: missing")

    lost = Example("lost", gone, [START], [1, END], seconds=0)
    with pytest.raises(UserError, match=r"a\.wav was fit"):
        taken(loader([lost]), 1)


def test_it_has_no_end():
    batches = loader(batch_size=24)
    assert len(list(islice(iter(lambda: next(batches), None), 50))) == 50


def with_stored(number: int, states: bool) -> Example:
    """An example whose cache tells which one it is, and whose sound cannot be read."""
    plain = example(number)
    time = len(target_of(plain, IDS, False, False))

    def stored() -> StoredSignals:
        log_probs = np.full((time, 3), -number, np.float16)
        encoded = np.full((5, 2), number, np.float16) if states else None
        return StoredSignals(log_probs, np.full((time, 2), number, np.uint16), 2.0, encoded)

    def unreadable() -> np.ndarray:
        raise UserError("the sound was read")

    return replace(plain, stored=stored, load=unreadable if states else plain.load)


def test_stored_signals_come_with_their_clips_and_padded_as_their_targets():
    batches = loader([with_stored(i, states=True) for i in range(24)])
    for batch in taken(batches, 6):
        assert batch.samples is None
        assert isinstance(batch.teacher, TopK)
        assert (batch.teacher.log_probs.shape, batch.teacher.tokens.shape) == (
            (4, 16, 3),
            (4, 16, 2),
        )
        assert batch.teacher.temperature == 2.0
        assert batch.encoded.shape == (4, 5, 2)
        for row, states in enumerate(batch.encoded):
            number = int(states[0, 0])
            assert batch.seconds[row] == np.float32(example(number).seconds)
            time = batch.mask[row].sum()
            assert set(batch.labels[row, : time - 1]) == {PLAIN, number}
            assert (batch.teacher.tokens[row, :time] == number).all()
            assert not batch.teacher.tokens[row, time:].any()
            assert (batch.teacher.log_probs[row, :time] == -number).all()


def test_without_stored_states_the_sound_is_read():
    batches = taken(loader([with_stored(i, states=False) for i in range(24)]), 6)
    assert sorted(numbers(batches)) == list(range(24))
    for batch in batches:
        assert batch.encoded is None
        assert isinstance(batch.teacher, TopK)
        assert (batch.teacher.tokens[:, 0, 0] == batch.samples[:, 0] - 1).all()


def test_batches_in_order_are_filled_up():
    config = replace(CONFIG, timestamp_probability=1.0)
    found = list(ordered_batches([EXAMPLES[:4], EXAMPLES[4:6], EXAMPLES[9:10]], IDS, config))
    assert [numbers([batch]) for batch in found] == [[0, 1, 2, 3], [4, 5, 5, 5], [9] * 4]
    wanted = [target_of(each, IDS, True, False) for each in EXAMPLES[4:6]]
    for row, target in enumerate(wanted):
        assert found[1].labels[row, : len(target)].tolist() == target.labels.tolist()
        assert (target.labels >= FIRST_TIME).any()

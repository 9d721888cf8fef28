"""What the decoder reads and must say, position by position."""

import numpy as np
import pytest

from distil_jax.data.targets import Target, TargetTokens, build_target, without_timestamps

END, START, ENGLISH, TRANSCRIBE, PREVIOUS, PLAIN = range(100, 106)
IDS = TargetTokens(END, PREVIOUS, no_timestamps=PLAIN, first_timestamp=106)
T0, T1, T2 = 106, 120, 140
PREFIX = [START, ENGLISH, TRANSCRIBE]


def short(longest: int) -> TargetTokens:
    return TargetTokens(END, PREVIOUS, PLAIN, 106, max_length=longest)


def sequence(target: Target) -> list[int]:
    """What is read, and the last token that is said."""
    np.testing.assert_array_equal(target.inputs[1:], target.labels[:-1])
    assert target.inputs.dtype == target.labels.dtype == np.int32
    assert len(target) == len(target.inputs) == len(target.labels) == len(target.mask)
    return [*target.inputs.tolist(), int(target.labels[-1])]


def counted(target: Target) -> list[int]:
    """The labels that are in the loss."""
    return target.labels[target.mask].tolist()


def test_language_task_and_end_count_and_the_start_does_not():
    target = build_target(IDS, PREFIX, [7, 8, END])
    assert sequence(target) == [*PREFIX, PLAIN, 7, 8, END]
    assert counted(target) == [ENGLISH, TRANSCRIBE, PLAIN, 7, 8, END]
    assert target.mask.all()


def test_an_english_model_has_a_prefix_of_one():
    assert sequence(build_target(IDS, [START], [7, END])) == [START, PLAIN, 7, END]


def test_a_label_without_words_still_says_the_end():
    assert counted(build_target(IDS, PREFIX, [END]))[-1] == END


def test_timestamps_are_kept_or_taken_out():
    label = [T0, 7, T1, T1, 8, T2, END]
    kept = build_target(IDS, PREFIX, label, keep_timestamps=True)
    assert sequence(kept) == [*PREFIX, *label]
    assert counted(kept) == [*PREFIX[1:], *label]
    taken_out = build_target(IDS, PREFIX, label)
    assert sequence(taken_out) == [*PREFIX, PLAIN, 7, 8, END]
    assert without_timestamps(IDS, label) == [7, 8, END]


def test_a_label_that_has_no_timestamps_says_so():
    target = build_target(IDS, PREFIX, [7, END], keep_timestamps=True, previous=[T0, 9, T1, END])
    assert sequence(target) == [PREVIOUS, 9, *PREFIX, PLAIN, 7, END]


def test_previous_text_is_read_and_never_said():
    target = build_target(IDS, PREFIX, [7, END], previous=[T0, 9, 10, T1, END])
    assert sequence(target) == [PREVIOUS, 9, 10, *PREFIX, PLAIN, 7, END]
    assert counted(target) == [ENGLISH, TRANSCRIBE, PLAIN, 7, END]
    assert target.mask.tolist() == [False] * 3 + [True] * 5


def test_previous_text_has_timestamps_when_the_label_has():
    label, before = [T0, 7, T1, END], [T0, 9, T1, END]
    target = build_target(IDS, PREFIX, label, keep_timestamps=True, previous=before)
    assert sequence(target) == [PREVIOUS, T0, 9, T1, *PREFIX, *label]
    assert counted(target) == [ENGLISH, TRANSCRIBE, *label]


@pytest.mark.parametrize("previous", [None, [], [END], [T0, T1, END]])
def test_no_previous_text_opens_no_prompt(previous):
    target = build_target(IDS, PREFIX, [7, END], previous=previous)
    assert sequence(target) == [*PREFIX, PLAIN, 7, END]


def test_the_last_tokens_of_a_long_previous_text_are_taken():
    before = [i % 90 for i in range(400)]
    target = build_target(IDS, PREFIX, [7, END], previous=[*before, END])
    assert IDS.longest_prompt == 223
    assert sequence(target) == [PREVIOUS, *before[-223:], *PREFIX, PLAIN, 7, END]


@pytest.mark.parametrize("words", range(8))
def test_a_prompt_gives_way_to_the_label(words):
    label = [*range(1, words + 1), END]
    target = build_target(short(8), PREFIX, label, previous=[50, 51, 52, 53, END])
    assert len(target) <= 8
    without = sequence(build_target(short(8), PREFIX, label))
    whole = sequence(target)
    assert whole[-len(without) :] == without
    room = 9 - len(without) - 1
    kept = [50, 51, 52, 53][-min(3, room) :] if room > 0 else []
    assert whole[: -len(without)] == ([PREVIOUS, *kept] if kept else [])
    assert counted(target) == without[1:]


def test_a_label_that_is_too_long_is_cut_and_says_no_false_end():
    label = [i % 90 for i in range(600)]
    target = build_target(IDS, PREFIX, [*label, END], previous=[9, END])
    assert len(target) == 448
    assert sequence(target) == [*PREFIX, PLAIN, *label[:445]]
    exact = build_target(IDS, PREFIX, [*label[:444], END])
    assert len(exact) == 448
    assert counted(exact)[-1] == END

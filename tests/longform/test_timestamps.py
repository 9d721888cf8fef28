"""Windows' tokens cut into segments as transformers cuts them, whatever the tokens are."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from distil_jax.longform.timestamps import as_prompt, split
from distil_jax.longform.transcript import Segment

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from transformers.models.whisper.generation_whisper import (  # noqa: E402
    WhisperGenerationMixin,
    _pad_to_max_length,
)

ZERO = 100  # <|0.00|>
NAMES: Any = SimpleNamespace(
    first_timestamp=ZERO, decode=lambda ids: "".join(f" {i}" for i in ids if i < ZERO)
)


def theirs(tokens: list[int], seek: int, frames: int) -> tuple[list[dict], int]:
    segments, offset = WhisperGenerationMixin._retrieve_segment(
        seek_sequence=torch.tensor(tokens, dtype=torch.long),
        seek_outputs=[None],
        time_offset=torch.tensor([seek], dtype=torch.float64) * 0.02 / 2,
        timestamp_begin=ZERO,
        seek_num_frames=torch.tensor([frames]),
        time_precision=0.02,
        time_precision_features=0.01,
        input_stride=2,
        prev_idx=0,
        idx=0,
        return_token_timestamps=False,
        decoder_input_ids=torch.zeros((1, 3), dtype=torch.long),
    )
    return segments, int(offset)


def assert_same(tokens: list[int], seek: int, frames: int) -> list[Segment]:
    ours, advance = split(tokens, seek, frames, NAMES)
    expected, offset = theirs(tokens, seek, frames)
    assert advance == offset
    assert [(s.start, s.end, s.tokens) for s in ours] == [
        (round(float(s["start"]), 2), round(float(s["end"]), 2), s["tokens"].tolist())
        for s in expected
    ]
    return ours


def in_any_order(rng: np.random.Generator) -> list[int]:
    count = rng.integers(0, 12)
    stamps = rng.integers(ZERO, ZERO + 1501, count)
    return np.where(rng.random(count) < rng.random(), stamps, rng.integers(0, ZERO, count)).tolist()


def by_the_rules(rng: np.random.Generator) -> list[int]:
    """Timestamps in pairs that never go back, cut off anywhere."""
    times = np.sort(rng.choice(1501, 8, replace=False)).tolist()
    tokens = []
    for start, end in zip(times, times[1:] if rng.random() < 0.5 else times[1::2], strict=False):
        tokens += [ZERO + start, *rng.integers(0, ZERO, rng.integers(1, 4)).tolist(), ZERO + end]
    return tokens[: rng.integers(1, len(tokens) + 1)]


@pytest.mark.parametrize("text", [in_any_order, by_the_rules])
def test_segments_and_the_way_on_are_those_of_transformers(text):
    rng, seen = np.random.default_rng(0), set[tuple]()
    for _ in range(3000):
        tokens = text(rng)
        found = assert_same(tokens, int(rng.integers(0, 400_000)), int(rng.integers(1, 3001)))
        seen.add((len(found), *(token >= ZERO for token in tokens[-2:])))
    assert len(seen) > 8  # numbers of segments, with each kind of ending


def test_without_timestamps_all_of_any_window_is_one_segment():
    for frames in range(1, 3001):
        assert_same([7, 8], 1234, frames)


def test_what_is_not_finished_is_heard_again():
    begun = [ZERO, 1, 2, ZERO + 200, ZERO + 200, 3]
    segments, advance = split(begun, 100, 3000, NAMES)
    assert [(s.start, s.end, s.text) for s in segments] == [(1.0, 5.0, " 1 2")]
    assert advance == 400
    finished = [*begun, ZERO + 300]
    segments, advance = split(finished, 100, 3000, NAMES)
    assert [(s.start, s.end) for s in segments] == [(1.0, 5.0), (5.0, 7.0)]
    assert advance == 3000


def test_the_text_so_far_is_the_prompt_of_transformers():
    rng = np.random.default_rng(0)
    for _ in range(300):
        segments = [s for _ in range(3) for s in split(by_the_rules(rng), 0, 3000, NAMES)[0]]
        padded: Any = _pad_to_max_length(
            [[{"tokens": torch.tensor(segment.tokens)} for segment in segments]],
            0,
            "cpu",
            padding_side="left",
            bos_token_tensor=torch.tensor([9]),
            cut_off_length=20,
            skip_ending_double_timestamps=True,
            timestamp_begin=ZERO,
        )
        ours = [token for segment in segments for token in as_prompt(segment, NAMES)]
        assert [[9, *ours[-20:]]] == padded.tolist()

"""Dynamic time warping: the cheapest way through a matrix of tokens and frames.

k matrices, t tokens, f frames.
"""

import numpy as np

_BOTH, _TOKEN, _FRAME = 0, 1, 2  # what a step of a path moves on


def first_frames(cost: np.ndarray) -> np.ndarray:
    """The frame in which the cheapest path through each matrix comes to each token.

    A path begins at the first token and frame and ends at the last ones; a step moves on the token,
    the frame, or both (Sakoe and Chiba 1978). Costs are summed up in float32; of equal sums the
    step in frames is taken, unless another is cheaper than both others: so transformers' (and
    OpenAI's) `dynamic_time_warping`, whose very paths these are.

    cost [k, t, f], t and f at least 1 -> [k, t] int.
    """
    return _walk_back(_steps(cost), *cost.shape)


def _steps(cost: np.ndarray) -> np.ndarray:
    """At [d, k, i]: the last step of the cheapest path to token i and frame d - i.

    Anti-diagonals (of one d) one after the other: what lies on one depends on the two before.
    Tokens and frames count from 1; at 0 there is nothing but the path's beginning.
    """
    count, tokens, frames = cost.shape
    steps = np.full((tokens + frames + 1, count, tokens + 1), _BOTH, np.int8)
    nowhere = np.full((count, tokens + 1), np.inf, np.float32)
    two_before, before = nowhere.copy(), nowhere
    two_before[:, 0] = 0.0
    for diagonal in range(2, tokens + frames + 1):
        low, high = max(1, diagonal - frames), min(tokens, diagonal - 1)
        here, above = slice(low, high + 1), slice(low - 1, high)
        both, token, frame = two_before[:, above], before[:, above], before[:, here]
        by_both = (both < token) & (both < frame)
        by_token = (token < both) & (token < frame)
        steps[diagonal, :, here] = np.where(by_both, _BOTH, np.where(by_token, _TOKEN, _FRAME))
        least = np.where(by_both, both, np.where(by_token, token, frame))
        rows = np.arange(low - 1, high)
        reached = nowhere.copy()
        reached[:, here] = cost[:, rows, diagonal - 2 - rows].astype(np.float64) + least
        two_before, before = before, reached
    return steps


def _walk_back(steps: np.ndarray, count: int, tokens: int, frames: int) -> np.ndarray:
    """From the end of each path to its beginning."""
    token, frame = np.full(count, tokens), np.full(count, frames)
    first, every = np.zeros((count, tokens + 1), int), np.arange(count)
    while token.any():
        first[every, token] = frame - 1  # what is written last counts: the first frame
        step = steps[token + frame, every, token]
        there = token > 0  # shorter paths wait at the beginning
        token, frame = token - ((step != _FRAME) & there), frame - ((step != _TOKEN) & there)
    return first[:, 1:]

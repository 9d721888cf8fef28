"""Finding the heads that follow the sound: those that agree with an alignment that is known.

OpenAI names for each of its models the heads that are "highly correlated to the word-level timing"
(whisper/__init__.py, `_ALIGNMENT_HEADS`). For a student the timing is its teacher's alignment of
the same tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from distil_jax.labelling.alignment.aligner import Aligner, Attention, Spoken
from distil_jax.labelling.alignment.token_times import evidence, frames, token_ends
from distil_jax.labelling.decoding import Decoding
from distil_jax.models.alignment_heads import Heads, all_heads

_MOST = 10  # heads; OpenAI's models have 6 to 23


class Found(NamedTuple):
    """Heads, and how far their times are from the known ones: the median, in seconds."""

    heads: Heads
    difference: float


def find_heads(
    decoding: Decoding, params: dict, spoken: Sequence[Spoken], known: Sequence[np.ndarray]
) -> Found:
    """The heads of a model that, together, come nearest to the known times.

    First every head is ranked by how far its own times are from them. Of the best ten, the first is
    joined by the one that brings the times of both nearest, then by a third, as long as it helps.

    Args:
        params: placed by `decoding`.
        spoken: some dozens of clips of at least two tokens each.
        known: seconds at which their tokens end, as of an Aligner: the teacher's.
    """
    shape = decoding.model.to_hf()
    heads = all_heads(range(shape["decoder_layers"]), shape["decoder_attention_heads"])
    alone = _differences(_opinions(decoding, params, spoken, heads), known)
    order = sorted(range(len(heads)), key=lambda head: alone[head])[:_MOST]
    best = tuple(heads[head] for head in order)
    chosen, difference = _joined(list(_opinions(decoding, params, spoken, best)), known)
    return Found(tuple(sorted(best[head] for head in chosen)), difference)


def _joined(opinions: list[np.ndarray], known: Sequence[np.ndarray]) -> tuple[list[int], float]:
    """Which heads to join, best first, and the median difference that they have together."""
    chosen: list[int] = []
    least = (np.inf, np.inf)
    while True:
        others = [head for head in range(len(opinions[0])) if head not in chosen]
        # The scale of an opinion does not matter: a sum is as good as a mean.
        sums = (each[others] + each[chosen].sum(axis=0) for each in opinions)
        tried = _differences(sums, known) if others else []
        if not tried or min(tried) >= least:
            return chosen, least[0]
        least = min(tried)
        chosen.append(others[tried.index(least)])


def _opinions(
    decoding: Decoding, params: dict, spoken: Sequence[Spoken], heads: Heads
) -> Iterator[np.ndarray]:
    """Of each clip, what each head says: [n, t - 1, f]."""

    def of_clip(each: Spoken, attention: Attention) -> np.ndarray:
        return evidence(attention.weights[:, :, : frames(len(each.samples))])

    attentions = Aligner(decoding, heads).attention(params, spoken)
    return map(of_clip, spoken, attentions)


def _differences(
    opinions: Iterable[np.ndarray], known: Sequence[np.ndarray]
) -> list[tuple[float, float]]:
    """Of each opinion, over the tokens of all clips: (median, mean) difference in seconds.

    Times are multiples of 0.02 s, so that medians are often equal.
    """
    apart = [
        np.abs(token_ends(each) - ends)[:, :-1]  # the last is no more than the one before
        for each, ends in zip(opinions, known, strict=True)
    ]
    joined = np.concatenate(apart, axis=1)
    return [(float(np.median(row)), float(row.mean())) for row in joined]

"""From a label to what the decoder reads and must say (specification: Distil-Whisper's training).

The sequence is [previous text] + prefix + label; the decoder reads all but its last token and must
say all but its first. Nothing up to and including the start token counts in the loss; the language,
task and first end token do. Masks come from lengths: padding shares its id with the end token.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TargetTokens:
    """The ids that building a target takes, by name from the vocabulary."""

    end: int
    previous: int
    no_timestamps: int
    first_timestamp: int
    max_length: int = 448

    @property
    def longest_prompt(self) -> int:
        """Tokens of previous text at most, without the token that opens it."""
        return self.max_length // 2 - 1


@dataclass(frozen=True)
class Target:
    """inputs [t], labels [t] int32; mask [t] bool."""

    inputs: np.ndarray
    labels: np.ndarray
    mask: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)


def build_target(
    ids: TargetTokens,
    prefix: list[int],
    label: list[int],
    *,
    keep_timestamps: bool = False,
    previous: list[int] | None = None,
) -> Target:
    """One training target.

    prefix: start, language and task tokens, without the no-timestamps token. label: what the
    teacher generated, timestamps and end token included where they came. previous: the label of the
    clip before, of which the last tokens are taken.
    """
    if not (keep_timestamps and _has_timestamps(ids, label)):
        label = without_timestamps(ids, label)
        prefix = [*prefix, ids.no_timestamps]
        previous = without_timestamps(ids, previous) if previous else previous
    text = [*prefix, *label][: ids.max_length + 1]
    prompt = []
    if previous:
        room = ids.max_length + 1 - len(text) - 1
        kept = [token for token in previous if token != ids.end]
        kept = kept[-max(0, min(ids.longest_prompt, room)) :] if room > 0 else []
        prompt = [ids.previous, *kept] if kept else []
    sequence = np.array([*prompt, *text], np.int32)
    mask = np.arange(1, len(sequence)) > len(prompt)
    return Target(sequence[:-1], sequence[1:], mask)


def without_timestamps(ids: TargetTokens, tokens: list[int]) -> list[int]:
    """The tokens that are no timestamps (timestamps are the last ids of the vocabulary)."""
    return [token for token in tokens if token < ids.first_timestamp]


def _has_timestamps(ids: TargetTokens, tokens: list[int]) -> bool:
    return any(token >= ids.first_timestamp for token in tokens)

"""Training batches: grain reads ahead in threads and knows its position."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import grain
import numpy as np

from distil_jax.data.batch import SpeechBatch, StoredSignals, make_batch, padded_length
from distil_jax.data.order import BatchOrder
from distil_jax.data.targets import Target, TargetTokens, build_target


@dataclass(frozen=True)
class Example:
    """A labelled clip to train on.

    load: reads its samples. prefix: start, language and task tokens. label: what the teacher
    generated. previous: the label of the clip before it of the same speaker, or None. corpus: whose
    ids are its own. stored: reads it out of a signals cache; the sound is left unread where the
    cache has what the encoder made of it. seconds: of its samples, known without reading them.
    """

    id: str
    load: Callable[[], np.ndarray]
    prefix: list[int]
    label: list[int]
    previous: list[int] | None = None
    corpus: str = ""
    stored: Callable[[], StoredSignals] | None = None
    seconds: float = field(kw_only=True)


@dataclass(frozen=True)
class LoaderConfig:
    """What the loader must know of the training settings, and of the devices.

    rows: those of a batch whose samples are loaded, in ascending order; None: all. Targets and
    seconds are made of every row, so that lengths and counts are the same in all processes.
    """

    batch_size: int
    seed: int
    target_lengths: Sequence[int]
    clip_samples: int
    rows: Sequence[int] | None = None
    timestamp_probability: float = 0.0
    previous_text_probability: float = 0.0
    threads: int = 4
    read_ahead: int = 4


class Loader(Protocol):
    """An endless iterator of batches whose position can be saved and restored."""

    def __next__(self) -> SpeechBatch: ...

    def get_state(self) -> dict: ...

    def set_state(self, state: dict) -> None: ...


def make_loader(examples: Sequence[Example], ids: TargetTokens, config: LoaderConfig) -> Loader:
    """Batches of `examples`, without end. A seed gives the same batches, from any position.

    Raises ConfigError when a target may come that none of the target lengths holds.
    """
    order = BatchOrder([len(e.label) for e in examples], config.batch_size, config.seed)
    chances = np.array([config.timestamp_probability, config.previous_text_probability])
    longest = max(len(target_of(example, ids, *(chances > 0))) for example in examples)
    padded_length(longest, config.target_lengths)
    rows = range(config.batch_size) if config.rows is None else config.rows

    class Load(grain.transforms.RandomMap):
        def random_map(self, element: int, rng: np.random.Generator) -> SpeechBatch:
            chosen = [examples[i] for i in order[element]]
            # Both draws are made whether or not they matter, so that later draws do not move.
            targets = [target_of(example, ids, *(rng.random(2) < chances)) for example in chosen]
            own = [chosen[row] for row in rows]
            stored = [example.stored() for example in own if example.stored]
            heard = not stored or stored[0].encoded is None
            clips = [example.load() for example in own] if heard else []
            seconds = [example.seconds for example in chosen]
            sizes = config.target_lengths, config.clip_samples
            return make_batch(clips, seconds, targets, *sizes, stored)

    numbers = grain.MapDataset.range(np.iinfo(np.int32).max).seed(config.seed)
    options = grain.ReadOptions(config.threads, config.read_ahead)
    return iter(numbers.random_map(Load()).to_iter_dataset(options))  # pyright: ignore[reportReturnType]


def ordered_batches(
    groups: Sequence[Sequence[Example]], ids: TargetTokens, config: LoaderConfig
) -> Iterator[SpeechBatch]:
    """A batch of each group, in their order, filled up with its last example; read in threads.

    Every probability must be 0 or 1.
    """
    kinds = config.timestamp_probability == 1, config.previous_text_probability == 1

    def load(group: Sequence[Example]) -> SpeechBatch:
        targets = [target_of(example, ids, *kinds) for example in group]
        clips, seconds = [example.load() for example in group], [e.seconds for e in group]

        def full(rows: list[Any]) -> list[Any]:
            return rows + rows[-1:] * (config.batch_size - len(rows))

        sizes = config.target_lengths, config.clip_samples
        return make_batch(full(clips), full(seconds), full(targets), *sizes)

    options = grain.ReadOptions(config.threads, config.read_ahead)
    return iter(grain.MapDataset.source(groups).map(load).to_iter_dataset(options))


def target_of(example: Example, ids: TargetTokens, timestamps: bool, previous: bool) -> Target:
    """With or without its timestamps and the text before it, where it has them."""
    return build_target(
        ids,
        example.prefix,
        example.label,
        keep_timestamps=timestamps,
        previous=example.previous if previous else None,
    )

"""Several processes, one run: who this one is, what is its share, and how they wait for each other.

A process that is alone pays nothing: nothing here imports jax, opens a port or waits then.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count as numbers
from itertools import islice
from typing import Any, TypeVar

_A_WEEK_MS = 7 * 24 * 3600 * 1000  # who is lost in the meantime is missed by his heartbeat

Item = TypeVar("Item")


@dataclass(frozen=True)
class Place:
    """This process among those of the run; `start` finds it."""

    index: int = 0
    count: int = 1


_place = Place()
_barriers = numbers()


def take(place: Place) -> None:
    """Be that process from here on."""
    global _place
    _place = place


def index() -> int:
    """The number of this process, from 0."""
    return _place.index


def count() -> int:
    """How many processes work on this run."""
    return _place.count


def is_writer() -> bool:
    """Whether this process writes what there is one of: configs, logs, reports, results."""
    return _place.index == 0


def is_mine(number: int) -> bool:
    """Whether piece `number` of a work that is dealt out falls to this process."""
    return number % _place.count == _place.index


def mine(items: Iterable[Item]) -> Iterator[Item]:
    """Those of `items` that fall to this process; with one process, all."""
    return islice(items, _place.index, None, _place.count)


def barrier(name: str) -> None:
    """Wait until every process is here. All must come to the same barriers in the same order."""
    if _place.count > 1:
        from orbax.checkpoint import multihost

        # Not multihost_utils.sync_global_devices: that would wait behind the work of the devices.
        key = f"distil_jax-{next(_barriers)}-{name}"
        multihost.get_barrier_sync_fn()(key=key, timeout_ms=_A_WEEK_MS)


def gather(value: Any) -> list[Any]:
    """The JSON value of every process, in their order, on each of them; a barrier, too."""
    if _place.count == 1:
        return [value]
    import numpy as np
    from jax.experimental import multihost_utils

    barrier("gather")
    own = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(len(own), np.int32)).tolist()
    padded = np.pad(own, (0, max(sizes) - len(own)))
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(bytes(row[:size])) for row, size in zip(rows, sizes, strict=True)]


def on_host(tree: Any) -> Any:
    """The arrays of `tree` whole, as numpy's; those that lie across processes are gathered.

    All processes must call it, with the same tree of jax arrays.
    """
    import jax
    from jax.experimental import multihost_utils

    if _place.count == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)

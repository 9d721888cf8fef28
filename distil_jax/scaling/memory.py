"""What a compiled program takes of a device's memory, and how large a batch it leaves room for."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Two ways of saying it: of the whole program, or of its temporaries alone.
_WHOLE = re.compile(r"Used ([\d.]+)([KMG]) of ([\d.]+)([KMG]) hbm")
_TEMPORARIES = re.compile(
    r"temporaries \(([\d.]+)([KMG])\) exceeds available HBM \(([\d.]+)([KMG])\)"
)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
_TILE = 8  # rows of a TPU's registers: batches are filled up to a multiple of it
_FAR = 64  # so many clips tell how memory grows
_NEAR = 8  # the search ends where an eighth more is known not to fit


@dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    used: the most at any moment. arguments: state, constants and batch; temporaries: what a step
    makes for itself. Both None for a program that did not fit. available: what the device has,
    None where nobody said.
    """

    used: int
    available: int | None
    arguments: int | None = None
    temporaries: int | None = None

    @property
    def fits(self) -> bool:
        return self.arguments is not None


def memory_of(compiled: Any, available: int | None) -> Memory:
    """Of a program that was compiled. Donated arguments are counted once.

    Less than arguments and temporaries together where these live in each other's gaps.
    """
    found = compiled.memory_analysis()
    arguments, temporaries = found.argument_size_in_bytes, found.temp_size_in_bytes
    return Memory(found.peak_memory_in_bytes, available, arguments, temporaries)


def shortage_of(message: str, arguments: int) -> Memory | None:
    """Of a program that was too large, from the compiler's words; None for another failure.

    arguments: its bytes on a device.
    """
    whole, temporaries = _WHOLE.search(message), _TEMPORARIES.search(message)
    match = whole or temporaries
    if match is None:
        return None
    used, available = (int(float(match[i]) * _UNITS[match[i + 1]]) for i in (1, 3))
    return Memory(used if whole else used + arguments, available)


def largest_batch(measure: Callable[[int], Memory], first: int, available: int) -> int:
    """About the most clips a device has room for; 0 when not even one. A few compilations.

    An eighth more does not fit.

    Args:
        measure: compiles for that many clips a device.
        first: where to begin.
        available: bytes on a device, where the compiler does not say it.
    """
    points: dict[int, Memory] = {}
    clips = first
    while clips and clips not in points:
        points[clips] = measure(clips)
        clips = _meeting_point(points, available)
    return max((clips for clips, memory in points.items() if memory.fits), default=0)


def _meeting_point(points: dict[int, Memory], available: int) -> int:
    """Where memory, a line over the batch, meets what there is; else a known point.

    One point of a large batch is enough for a guess, because the arguments hardly grow with it.
    """
    said = (memory.available for memory in points.values() if not memory.fits)
    room = next(filter(None, said), available)
    if len(points) == 1 and 2 * max(points) < _FAR:
        return _FAR
    near = sorted(points, key=lambda clips: abs(points[clips].used - room))[:2]
    one, used = near[0], points[near[0]].used
    if len(near) == 1:
        slope = (used - (points[one].arguments or 0)) / one
    else:
        slope = (used - points[near[1]].used) / (one - near[1])
    fitting = max((clips for clips, memory in points.items() if memory.fits), default=0)
    failing = min((clips for clips, memory in points.items() if not memory.fits), default=None)
    guess = max(_whole(int(one + (room - used) / slope)), fitting)
    if failing is None:
        return guess
    if fitting >= _TILE and _NEAR * (failing - fitting) <= fitting:
        return fitting
    return max(min(guess, fewer(failing)), fitting)


def _whole(clips: int) -> int:
    return max(clips if clips < _TILE else clips - clips % _TILE, 0)


def fewer(clips: int) -> int:
    """The next smaller batch worth trying."""
    return _whole(clips - 1)

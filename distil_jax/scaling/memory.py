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
_FAR = 2048  # clips, hardly ever on one device
# What does not fit is told without what arguments and temporaries have in common: a little more
# than it says may fit.
_HOPE = 1.25
_LESS = 15 / 16  # of a batch that did not fit is tried next at most
_WORTH = 1.25  # by how much a batch has to be larger than one that fits to be tried, too


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


def largest_batch(measure: Callable[[int], Memory], one: Memory, first: int, available: int) -> int:
    """About the most clips a device has room for, twice of which were seen not to fit; or 0.

    From far too many downwards to the first batch that fits: for one that does not a compiler gives
    up early, and says by how much. It may say too much, as before it began to save; so what fits
    may lead to one more, larger batch.

    Args:
        measure: compiles for that many clips a device, as the run will.
        one: what `first` clips take, about.
        available: bytes on a device, where the compiler does not say it.
    """
    points = {first: one}
    far = max(_FAR, 2 * first)
    while (memory := measure(far)).fits:
        points, far = {far: memory}, 2 * far
    points[far] = memory
    room = memory.available or available

    def fits(clips: int) -> bool:
        points[clips] = measure(clips)
        return points[clips].fits

    clips = _whole(_meeting_point(points, room) * _HOPE)
    while clips and not fits(clips):
        clips = _whole(min(_meeting_point(points, room), clips - 1, clips * _LESS))
    fitting = {n: memory for n, memory in points.items() if memory.fits}
    if clips and len(fitting) > 1:
        too_many = min((n for n in points if n > clips), default=far)
        larger = _whole(min(_meeting_point(fitting, room), too_many * _LESS))
        if larger >= clips * _WORTH and fits(larger):
            clips = larger
    while clips and all(m.fits or n > 2 * clips for n, m in points.items()) and fits(2 * clips):
        clips *= 2
    return clips


def _meeting_point(points: dict[int, Memory], room: int) -> float:
    """The clips at which memory, a line over them, meets the bytes that there are."""
    near = sorted(points, key=lambda clips: abs(points[clips].used - room))[:2]
    one, other = near
    slope = (points[one].used - points[other].used) / (one - other)
    return one + (room - points[one].used) / slope


def _whole(clips: float) -> int:
    return int(clips if clips < _TILE else clips - clips % _TILE) if clips > 0 else 0

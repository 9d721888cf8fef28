"""Collectives of a compiled program, read from its HLO text: which, how often, how many bytes.

XLA's own count reads the body of a loop once; here the loop's number of rounds multiplies it.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf" = (.+?) ({_KINDS})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+)\[([\d,]*)\]")
_BITS = re.compile(r"\d+$")
_CALLED = re.compile(r"(?:body|calls|to_apply)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_CONDITION = re.compile(r" while\(.*condition=%?([\w.\-]+)")
_KNOWN_ROUNDS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONSTANT = re.compile(r" = s32\[\]\S* constant\((\d+)\)")
# Three ways of writing which devices take part: a mesh's axes (or a part of one: behind (2), its
# first two parts, 4), an iota, plain lists; each of the first two maybe in another order.
_ORDER = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"
_MESH_GROUPS = re.compile(
    rf"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\({_ORDER}\))? \{{([^}}]*)\}}"
)
_MESH_AXIS = re.compile(r"'(\w+)'(?::?\((\d+)\)(\d+))?")
_IOTA_GROUPS = re.compile(rf"replica_groups=\[\d+,(\d+)\]<={_ORDER}")
_LISTED_GROUPS = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_PAIRS = re.compile(r"source_target_pairs=\{(\{.*?\})\}")


@dataclass(frozen=True)
class Collective:
    """bytes: of the result on one device. devices: that take part. times: in one run.

    arrays: the result's types and how many of each. axes: of the mesh, that it goes over.
    """

    kind: str
    bytes: int
    devices: int
    times: int
    arrays: str = field(default="", compare=False)
    axes: str = field(default="", compare=False)

    @property
    def sent(self) -> float:
        """Bytes that leave a device at least, all times together."""
        others = self.devices - 1
        share = {
            "all-reduce": 2 * others / self.devices,
            "reduce-scatter": others,  # the result is one part of what went in
            "collective-permute": 1,
        }.get(self.kind, others / self.devices)
        return self.bytes * share * self.times


_Key = tuple[str, int, int, str, str]  # a Collective's fields but its times


@dataclass
class _Computation:
    collectives: Counter[_Key] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    loops: list[tuple[str, str]] = field(default_factory=list)  # (condition, body)
    constants: list[int] = field(default_factory=list)


def collectives(hlo: str, mesh: Mapping[str, int] | None = None) -> list[Collective]:
    """All of them, the largest by bytes sent first; equal ones as one with their times added.

    mesh: the sizes of its axes by name, for the names of the axes that each goes over.
    """
    computations, entry = _read(hlo, mesh or {})
    total: Counter[_Key] = Counter()

    def visit(name: str, times: int) -> None:
        computation = computations[name]
        for key, count in computation.collectives.items():
            total[key] += count * times
        for called, count in computation.calls.items():
            visit(called, times * count)
        for condition, body in computation.loops:
            # A loop that counts up to a limit has it as the one number of its condition.
            visit(body, times * max(computations[condition].constants, default=1))

    visit(entry, 1)
    made = [
        Collective(kind, size, devices, times, arrays, axes)
        for (kind, size, devices, arrays, axes), times in total.items()
    ]
    return sorted(made, key=lambda each: (-each.sent, each.kind, each.arrays, each.axes))


def _read(hlo: str, mesh: Mapping[str, int]) -> tuple[dict[str, _Computation], str]:
    """The computations by name, and the name of the one that begins."""
    computations: dict[str, _Computation] = defaultdict(_Computation)
    here, entry = _Computation(), ""
    for line in hlo.splitlines():
        if start := _COMPUTATION.match(line):
            here = computations[start[2]]
            entry = start[2] if start[1] else entry
        elif found := _COLLECTIVE.search(line):
            here.collectives[_key(line, found, mesh)] += 1
        elif loop := _CONDITION.search(line):
            body = _CALLED.findall(line)[0]
            if rounds := _KNOWN_ROUNDS.search(line):
                here.calls[body] += int(rounds[1])
            else:
                here.loops.append((loop[1], body))
        else:
            here.calls.update(_CALLED.findall(line))
            for branches in _BRANCHES.findall(line):
                here.calls.update(name.strip().lstrip("%") for name in branches.split(","))
            here.constants += [int(number) for number in _CONSTANT.findall(line)]
    return computations, entry


def _key(line: str, found: re.Match, mesh: Mapping[str, int]) -> _Key:
    types = _ARRAY.findall(found[1])
    if found[3] and len(types) > 1:  # an asynchronous start shows operands and results alike
        types = [max(types, key=_bytes)]
    groups = _groups(line)
    counts = Counter(f"{dtype}[{shape}]" for dtype, shape in types)
    arrays = [f"{count} {each}" if count > 1 else each for each, count in sorted(counts.items())]
    size = sum(map(_bytes, types))
    return found[2], size, len(groups[0]), ", ".join(arrays), _axes(groups, mesh)


def _bytes(array: tuple[str, str]) -> int:
    """Of a (type, shape) as they stand in the text."""
    dtype, shape = array
    return math.prod(_numbers(shape)) * _bits(dtype) // 8


def _bits(dtype: str) -> int:
    match = _BITS.search(dtype)
    return int(match[0]) if match else 8


def _numbers(text: str | None) -> list[int]:
    return [int(number) for number in (text or "").split(",") if number]


def _axes(groups: list[list[int]], mesh: Mapping[str, int]) -> str:
    """The axes along which the devices of a group differ."""
    if not mesh:
        return ""
    places = np.stack(np.unravel_index(groups, tuple(mesh.values())))  # [axis, group, device]
    differ = (places != places[:, :, :1]).any(axis=(1, 2))
    return "+".join(name for name, differs in zip(mesh, differ, strict=True) if differs)


def _groups(line: str) -> list[list[int]]:
    """One of the groups of devices that take part together, by their places in the mesh.

    Of a permutation: all pairs of sender and receiver.
    """
    if named := _MESH_GROUPS.search(line):
        return [_mesh_group(named)]
    if iota := _IOTA_GROUPS.search(line):
        return [_in_order(iota[2], iota[3])[: int(iota[1])]]
    if pairs := _PAIRS.search(line):
        return [_numbers(pair) for pair in re.findall(r"\{([\d,]+)\}", pairs[1])]
    listed = _LISTED_GROUPS.search(line)
    return [_numbers(listed[1]) if listed else [0, 1]]


def _mesh_group(named: re.Match) -> list[int]:
    sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
    order = _in_order(named[2] or str(math.prod(sizes.values())), named[3])
    places = [0]
    for name, before, part in _MESH_AXIS.findall(named[4]):
        behind = math.prod(list(sizes.values())[list(sizes).index(name) + 1 :])
        count = int(part or sizes[name])
        step = behind * sizes[name] // (int(before or 1) * count)
        places = [place + step * i for place in places for i in range(count)]
    return [order[place] for place in places]


def _in_order(sizes: str, axes: str | None) -> list[int]:
    """Numbers from 0 in an array of these sizes, its axes exchanged, one after the other."""
    numbers = np.arange(math.prod(_numbers(sizes))).reshape(_numbers(sizes))
    return numbers.transpose(_numbers(axes) or None).reshape(-1).tolist()

"""What the benchmarks print: the machine, a table of times, and ratios; or all of it as JSON."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import Timing

LIBRARIES = ("jax", "jaxlib", "torch", "transformers", "ctranslate2", "faster-whisper")


def report(
    timings: dict[str, Timing],
    pairs: Sequence[tuple[str, str]],
    machine: dict[str, Any],
    facts: dict[str, Any],
    as_json: bool,
) -> None:
    """pairs: (ours, peer), by name. machine: from `machine()`. facts: whatever else was found."""
    ratios = [compare(timings[ours], timings[peer]) for ours, peer in pairs]
    if as_json:
        rows = [timing.summary() for timing in timings.values()]
        whole = {"machine": machine, "facts": facts, "timings": rows, "ratios": ratios}
        print(json.dumps(whole, indent=2))
        return
    for name, value in {**machine, **facts}.items():
        print(f"{name}: {value}")
    width = max(map(len, timings)) + 2
    print(f"\n{'':{width}}{'median':>9} {'min':>9} {'max':>9}   peak memory")
    for timing in timings.values():
        row = timing.median, min(timing.seconds), max(timing.seconds)
        numbers = " ".join(f"{seconds:7.3f} s" for seconds in row)
        print(f"{timing.name:{width}}{numbers}   {timing.peak_bytes / 1e9:8.2f} GB")
    for row in ratios:
        print(
            f"{row['ours']} is {row['speed']:.2f} times as fast as {row['peer']} (rounds "
            f"{row['lowest']:.2f} to {row['highest']:.2f}), with {row['memory']:.2f} of its memory"
        )


def compare(ours: Timing, peer: Timing) -> dict[str, Any]:
    """How many times as fast ours is: by medians, and the range over pairs of adjacent rounds."""
    each = [b / a for a, b in zip(ours.seconds, peer.seconds, strict=True)]
    return {
        "ours": ours.name,
        "peer": peer.name,
        "speed": peer.median / ours.median,
        "lowest": min(each),
        "highest": max(each),
        "memory": ours.peak_bytes / peer.peak_bytes,
    }


def machine(cores: int) -> dict[str, Any]:
    cpus = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    versions = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    found = [f"{name} {versions[name]}" for name in LIBRARIES if name in versions]
    return {
        "cpu": f"{cpus[0] if cpus else platform.machine()}, {cores} of {os.cpu_count()} cores used",
        "versions": ", ".join([f"Python {platform.python_version()}", *found]),
        "load before": round(os.getloadavg()[0], 2),
    }

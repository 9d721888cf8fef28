"""What a run writes down as it goes: metrics.jsonl, and the compute log compute.jsonl."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from distil_jax import processes
from distil_jax.run import append_jsonl, read_jsonl, write_text

_COMPILE_EVENTS = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
_compile_seconds = 0.0


def _on_event(event: str, duration_secs: float, **_: object) -> None:
    global _compile_seconds
    if event in _COMPILE_EVENTS:
        _compile_seconds += duration_secs


jax.monitoring.register_event_duration_secs_listener(_on_event)


class Stopwatch:
    """Wall seconds by kind. What JAX spends on compiling is told apart from what surrounds it."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        start, compiled = time.perf_counter(), _compile_seconds
        try:
            yield
        finally:
            compiling = _compile_seconds - compiled
            self.seconds["compile"] += compiling
            self.seconds[kind] += max(0.0, time.perf_counter() - start - compiling)

    def take(self) -> dict[str, float]:
        """The seconds so far, rounded to milliseconds; the watch begins anew."""
        kinds = ("compile", "data_wait", "step", "evaluation", "checkpoint")
        taken = {kind: round(self.seconds[kind], 3) for kind in kinds}
        self.seconds.clear()
        return taken


class MetricsLog:
    """metrics.jsonl: one row per logged step, a pure function of config and data."""

    def __init__(self, path: Path):
        self._path = path

    def rewind(self, step: int) -> None:
        """Drop the rows after `step`: the steps they tell of will be made again."""
        if processes.is_writer():
            rows = [row for row in read_jsonl(self._path) if row["step"] <= step]
            write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        if processes.is_writer():
            append_jsonl(self._path, [{"step": step, "kind": kind, **values}])


def compute_row(
    stage: str,
    step: int,
    counts: dict[str, float],
    flops: dict[str, float],
    seconds: dict[str, float],
    losses: dict[str, float] | None = None,
    devices: int | None = None,
) -> dict:
    """One row of compute.jsonl: the work since the row before it. devices: None for all of them."""
    device = jax.devices()[0]
    return {
        "stage": stage,
        "step": step,
        **counts,
        "flops": flops,
        "seconds": seconds,
        "device": {"kind": device.device_kind, "count": devices or jax.device_count()},
        "losses": losses or {},
    }

"""The compute log added up: by stage, and all in all."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

_FLOPS = ("encoder_forward", "teacher_forward", "student_forward", "student_backward")
_SECONDS = ("compile", "data_wait", "step", "evaluation", "checkpoint")
_PREFIXES = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"))


def totals(rows: list[dict]) -> dict[str, Any] | None:
    """Work and wall seconds of each stage in the order met, with a last row for all of them.

    rows: of compute.jsonl. What a kill made the run do twice is in it twice: it was used.
    FLOPs are in one unit throughout, the one that fits the sum of all.
    """
    if not rows:
        return None
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    table = [_total(stage, [row for row in rows if row["stage"] == stage]) for stage in stages]
    table.append(_total("all", rows))
    scale, unit = _scale(table[-1]["flops_total"])
    for row in table:
        row["flops"] = {part: flops / scale for part, flops in row["flops"].items()}
        row["flops_total"] = row["flops_total"] / scale if row["flops_total"] else None
    return {
        "rows": table,
        "flops_unit": unit,
        "flops_parts": _FLOPS,
        "seconds_kinds": _SECONDS,
        "devices": sorted({_device(row) for row in rows}),
    }


def _total(stage: str, rows: list[dict]) -> dict[str, Any]:
    flops, seconds, counts = Counter(), Counter(), Counter()
    for row in rows:
        flops.update(row["flops"])
        seconds.update(row["seconds"])
        counts.update({k: row.get(k, 0) for k in ("clips", "audio_seconds", "target_tokens")})
    return {
        "stage": stage,
        "clips": counts["clips"],
        "audio_hours": counts["audio_seconds"] / 3600,
        "target_tokens": counts["target_tokens"],
        "flops": {part: _all_students(flops, part) for part in _FLOPS},
        "flops_total": sum(flops.values()),
        "seconds": {kind: seconds[kind] for kind in _SECONDS},
        "seconds_total": sum(seconds.values()),
    }


def _all_students(flops: Mapping[str, float], part: str) -> float:
    """`student_forward`, and `student_forward.small` and others of several students."""
    return sum(count for name, count in flops.items() if name.partition(".")[0] == part)


def _scale(flops: float) -> tuple[float, str]:
    """The largest unit in which the sum is at least ten."""
    return next((each for each in _PREFIXES if flops >= 10 * each[0]), _PREFIXES[-1])


def _device(row: dict) -> str:
    return f"{row['device']['count']} × {row['device']['kind']}"

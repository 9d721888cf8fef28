"""What evaluation found: teacher beside student on each set, and the student's worst clips."""

from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from distil_jax.data.text import unit, units
from distil_jax.evaluation.alignment import Piece, align, count_edits
from distil_jax.run import RunFolder, read_json

_ROLES = ("teacher", "student")
_SHOWN_CLIPS = 12
_SHOWN_UNITS = 80


class Heard(NamedTuple):
    """What a model made of a clip, beside the reference."""

    errors: int
    length: int
    pieces: list[Piece]


def sets(run: RunFolder) -> list[dict[str, Any]] | None:
    """The sets of evaluation/summary.json as a list, with what the page says beyond it."""
    summary = _summary(run)
    if summary is None:
        return None
    return [{"name": name, **found, "speedup": _speedup(found)} for name, found in summary.items()]


def no_speech(run: RunFolder) -> dict[str, Any] | None:
    """What the models wrote for clips without speech, where that was asked for."""
    return (read_json(run.evaluation / "summary.json") or {}).get("no_speech")


def _summary(run: RunFolder) -> dict[str, dict] | None:
    """Of the evaluation sets alone."""
    summary = read_json(run.evaluation / "summary.json")
    return summary and {name: found for name, found in summary.items() if name != "no_speech"}


def _speedup(found: dict) -> float | None:
    teacher, student = (found[role].get("real_time_factor") for role in _ROLES)
    return teacher / student if teacher and student else None


def worst(run: RunFolder) -> list[dict[str, Any]] | None:
    """For each set, the clips where the student errs most beyond its teacher, then most of all."""
    names = _summary(run) or {}
    paths = {name: run.evaluation / f"{name}.parquet" for name in names}
    found = [{"name": n, **_worst(path)} for n, path in paths.items() if path.exists()]
    return found or None


def _worst(path: Path) -> dict[str, Any]:
    clips = [(row, _heard(row)) for row in pq.read_table(path).to_pylist() if row["reference"]]
    wrong = [clip for clip in clips if clip[1]["student"].length and clip[1]["student"].errors]
    wrong.sort(key=_badness, reverse=True)
    return {
        "compared": len(clips),
        "wrong": len(wrong),
        "clips": [_shown(*clip) for clip in wrong[:_SHOWN_CLIPS]],
    }


def _heard(row: dict) -> dict[str, Heard]:
    wanted = units(row["reference"], row["language"])
    heard = {}
    for role in _ROLES:
        pieces = align(wanted, units(row[role], row["language"]))
        heard[role] = Heard(count_edits(pieces).total, len(wanted), pieces)
    return heard


def _badness(clip: tuple[dict, dict[str, Heard]]) -> tuple[int, int]:
    teacher, student = clip[1]["teacher"], clip[1]["student"]
    return student.errors - teacher.errors, student.errors


def _shown(row: dict, heard: dict[str, Heard]) -> dict[str, Any]:
    space = "" if unit(row["language"]) == "character" else " "
    return {
        **{name: row[name] for name in ("id", "duration", "reference")},
        "models": [
            {
                "role": role,
                "text": row[role],
                "errors": heard[role].errors,
                "length": heard[role].length,
                **_marked(heard[role].pieces, space),
            }
            for role in _ROLES
        ],
    }


def _marked(pieces: list[Piece], space: str) -> dict[str, Any]:
    """The pieces as (edit, wanted, got) texts, cut where a text runs on and on."""
    shown, room = [], _SHOWN_UNITS
    for edit, wanted, got in pieces:
        shown.append((edit, space.join(wanted[:room]), space.join(got[:room])))
        room -= max(len(wanted), len(got))
        if room <= 0:
            break
    return {"pieces": shown, "space": space, "left_out": max(0, _length(pieces) - _SHOWN_UNITS)}


def _length(pieces: list[Piece]) -> int:
    return sum(max(len(piece.reference), len(piece.hypothesis)) for piece in pieces)

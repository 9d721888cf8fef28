"""False alarms: how often a model writes words for clips in which nobody speaks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from distil_jax.data.text import units

# Whisper's own rule for windows to be skipped (Radford et al. 2022, section 4.5).
NO_SPEECH_PROB, MEAN_LOGPROB = 0.6, -1.0

Role = Literal["teacher", "student"]

_ROLES: tuple[Role, ...] = ("teacher", "student")
_Z = 1.959963984540054  # of a normal distribution, two-sided 95 %


def compare_false_alarms(sides: Mapping[Role, Sequence[Mapping]]) -> dict[str, Any]:
    """Teacher beside student on the same clips without speech.

    sides: by role, for each clip {"kind", "duration" (s), "text", "language", "no_speech_prob",
    "mean_logprob"}.
    Returns {"clips", "seconds", "teacher": {...}, "student": {...}, "by_kind": [...]}; of each role
    what `false_alarms` says, and as "gated" the same when what Whisper's rule takes for silence is
    left out (no_speech_prob > 0.6 and mean_logprob < -1).
    """
    kinds = list(dict.fromkeys(row["kind"] for row in sides["teacher"]))
    return {
        "clips": len(sides["teacher"]),
        "seconds": round(sum(row["duration"] for row in sides["teacher"]), 3),
        **{role: _both(sides[role]) for role in _ROLES},
        "by_kind": [_of_kind(kind, sides) for kind in kinds],
    }


def false_alarms(rows: Sequence[Mapping], gated: bool = False) -> dict[str, Any]:
    """{"false_alarms", "rate", "interval", "words_per_minute"}.

    A clip is a false alarm when anything is left of its text after normalising. rate: percent of
    the clips, interval: Wilson's of 95 %. words_per_minute: of audio (characters, where a language
    does not space its words). gated: clips that Whisper's rule takes for silence have no text.
    """
    heard = [[] if gated and _is_gated(row) else _said(row) for row in rows]
    alarms = sum(map(bool, heard))
    minutes = sum(row["duration"] for row in rows) / 60
    return {
        "false_alarms": alarms,
        "rate": round(100.0 * alarms / len(rows), 4) if rows else None,
        "interval": wilson_interval(alarms, len(rows)),
        "words_per_minute": round(sum(map(len, heard)) / minutes, 4) if minutes else None,
    }


def wilson_interval(count: int, of: int) -> list[float] | None:
    """95 % interval of a share, in percent (Wilson 1927). None for a share of nothing."""
    if not of:
        return None
    share = count / of
    centre = share + _Z**2 / (2 * of)
    spread = _Z * math.sqrt(share * (1 - share) / of + (_Z / (2 * of)) ** 2)
    low, high = (100.0 * (centre + side * spread) / (1 + _Z**2 / of) for side in (-1, 1))
    return [round(max(0.0, low), 4), round(min(100.0, high), 4)]


def _said(row: Mapping) -> list[str]:
    """Words with a letter or digit: the English normaliser leaves the dots of "..."."""
    return [unit for unit in units(row["text"], row["language"]) if any(map(str.isalnum, unit))]


def _is_gated(row: Mapping) -> bool:
    return row["no_speech_prob"] > NO_SPEECH_PROB and row["mean_logprob"] < MEAN_LOGPROB


def _both(rows: Sequence[Mapping]) -> dict[str, Any]:
    return {**false_alarms(rows), "gated": false_alarms(rows, gated=True)}


def _of_kind(kind: str, sides: Mapping[Role, Sequence[Mapping]]) -> dict[str, Any]:
    """A flat row of a table."""
    row: dict[str, Any] = {"kind": kind}
    for role in _ROLES:
        own = [each for each in sides[role] if each["kind"] == kind]
        found = _both(own)
        row["clips"] = len(own)
        row[role] = found["rate"]
        row[f"{role}_interval"] = found["interval"]
        row[f"{role}_words_per_minute"] = found["words_per_minute"]
        row[f"{role}_gated"] = found["gated"]["rate"]
    return row

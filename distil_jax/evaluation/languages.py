"""Error rates of an evaluation set language by language, and their plain mean."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from distil_jax.data.text import language_code
from distil_jax.evaluation.error_rates import compare

_SIDES = ("teacher", "student", "difference")


def by_language(rows: Sequence[Mapping], seed: int, resamples: int) -> dict[str, Any]:
    """Teacher against student in each language, each in its own unit (data.text.unit).

    rows: as for error_rates.compare; those without a language do not count.
    Returns {} for fewer than two languages, else {"by_language": {code: {"clips", "unit",
    "teacher", "student", "difference"}}, "macro_average": {"teacher", "student", "difference"}}.
    The macro average is the mean of the languages' rates in percent, of words and of characters
    alike, as papers report it; languages without a reference are not in it.
    """
    groups: defaultdict[str, list[Mapping]] = defaultdict(list)
    for row in rows:
        if code := language_code(row["language"]):
            groups[code].append(row)
    if len(groups) < 2:
        return {}
    found = {code: _short(compare(groups[code], seed, resamples)) for code in sorted(groups)}
    macro = {side: _mean([each[side]["error_rate"] for each in found.values()]) for side in _SIDES}
    return {"by_language": found, "macro_average": macro}


def _short(compared: dict[str, Any]) -> dict[str, Any]:
    rates = {
        side: {name: compared[side][name] for name in ("error_rate", "interval")} for side in _SIDES
    }
    return {"clips": compared["clips"], "unit": compared["student"]["unit"], **rates}


def _mean(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return round(sum(known) / len(known), 4) if known else None

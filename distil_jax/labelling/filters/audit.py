"""How well each score finds wrong labels, on the clips that have a reference.

A label is wrong here where its error rate is not below `above`: what max_error_rate=above drops.
"""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from distil_jax.data.text import unit
from distil_jax.errors import UserError
from distil_jax.labelling.filters.base import numbers
from distil_jax.labelling.filters.decide import Judge
from distil_jax.labelling.filters.error_rate import with_errors
from distil_jax.labelling.filters.labels import KEPT, basic_reasons
from distil_jax.labelling.filters.settings import Filter, FilterConfig, Match

_LEVEL = 95.0
_RESAMPLES = 1000
_ERROR_RATE = "error_rate"


class Tallies(NamedTuple):
    """Wrong and right labels by distinct score, the worst score first; int64 [k] each."""

    wrong: np.ndarray
    right: np.ndarray


def tallies(badness: np.ndarray, wrong: np.ndarray) -> Tallies:
    """badness float [n], without NaN; wrong bool [n]."""
    values, number = np.unique(-badness, return_inverse=True)
    counted = (np.bincount(number[each], minlength=len(values)) for each in (wrong, ~wrong))
    return Tallies(*counted)


def auc(counts: Tallies) -> float | None:
    """P(a wrong label scores worse than a right one), ties half: Mann-Whitney's U / (n1 n2).

    None where all are wrong, or all right.
    """
    pairs = int(counts.wrong.sum()) * int(counts.right.sum())
    if not pairs:
        return None
    behind = counts.right.sum() - np.cumsum(counts.right) + counts.right / 2
    return float((counts.wrong * behind).sum() / pairs)


def precision_recall(counts: Tallies) -> tuple[np.ndarray, np.ndarray]:
    """(precision, recall), float64 [k] each, of dropping the worst 1, 2, ... k distinct scores."""
    found = np.cumsum(counts.wrong)
    return found / np.cumsum(sum(counts)), found / max(1, found[-1] if len(found) else 0)


def average_precision(counts: Tallies) -> float | None:
    """sum_k (recall_k - recall_{k-1}) precision_k, not interpolated; None without wrong labels."""
    if not counts.wrong.sum():
        return None
    precision, recall = precision_recall(counts)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def auc_interval(badness: np.ndarray, wrong: np.ndarray, seed: int) -> list[float] | None:
    """95 % of the AUCs of 1000 bootstrap resamples of the labels; None where some have none."""
    _, number = np.unique(-badness, return_inverse=True)
    rng, size, n = np.random.default_rng(seed), int(number.max(initial=-1)) + 1, len(badness)
    found = []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(n, size=n) if n else np.zeros(0, np.int64)
        bad, good = drawn[wrong[drawn]], drawn[~wrong[drawn]]
        counts = (np.bincount(number[each], minlength=size) for each in (bad, good))
        found.append(auc(Tallies(*counts)))
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    tail = (100.0 - _LEVEL) / 2
    return [round(float(bound), 4) for bound in np.percentile(known, [tail, 100.0 - tail])]


class Audit(NamedTuple):
    """labels: how many were looked at; wrong: how many of them are.

    rows: one a filter. n: labels that its score tells of; auc of wrong against right ones with its
    95 % interval, and ap, the average precision; cut: the threshold, or the worst score kept;
    precision and recall of what is dropped; clips, hours and error_rate (percent) of what is kept.
    curves: (precision, recall) by filter.
    """

    labels: int
    wrong: int
    rows: list[dict[str, Any]]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]


def audit(labels: pa.Table, config: FilterConfig, above: float, seed: int) -> Audit:
    """Each available score by itself, the config's filters, and the rank of all but error_rate.

    labels: with the columns of `config.available`. Looked at are labels that have a reference and
    are not dropped whatever their score is (empty, upper case). A score that no filter of the
    config names is cut where it keeps as many as error_rate at `above` keeps.
    Raises UserError when there is none to look at.
    """
    labels = with_errors(labels)
    judge = Judge(labels, config, basic_reasons(labels, config) == KEPT)
    rate = judge.badness(_ERROR_RATE)
    looked_at = ~np.isnan(rate)
    if not looked_at.any():
        raise UserError(
            f"none of the {labels.num_rows} labels has a reference to be audited by. Expected "
            f"some clips with transcripts"
        )
    wrong = rate >= above
    rows, curves = [], {}
    for each in _filters(config, above):
        row, counts = _row(each, judge, labels, looked_at, wrong, seed)
        rows.append(row)
        if counts.wrong.any() and str(each) != "error rate":
            curves[row["filter"]] = precision_recall(counts)
    return Audit(int(looked_at.sum()), int(wrong.sum()), rows, curves)


def _filters(config: FilterConfig, above: float) -> list[Filter]:
    """Those of the config, and one for each score that none of them names alone."""
    configured = {each.score for each in config.all_filters}
    match = Match(score=_ERROR_RATE, threshold=above)
    alone = [Filter(score=n, match=match) for n in config.available if n not in configured]
    others = tuple(name for name in config.available if name != _ERROR_RATE)
    combined = [each for each in config.all_filters if each.rank]
    return [
        *(each for each in config.all_filters if not each.rank),
        *alone,
        *(combined or [Filter(rank=others, match=match)]),
    ]


def _row(
    each: Filter,
    judge: Judge,
    labels: pa.Table,
    looked_at: np.ndarray,
    wrong: np.ndarray,
    seed: int,
) -> tuple[dict[str, Any], Tallies]:
    badness, decision = judge.of(each.scores, bool(each.rank)), judge.decide(each)
    known = looked_at & ~np.isnan(badness)
    counts = tallies(badness[known], wrong[known])
    kept, dropped = looked_at & decision.kept, looked_at & ~decision.kept
    found = int((dropped & wrong).sum())
    return {
        "filter": str(each),
        "n": int(known.sum()),
        "auc": _rounded(auc(counts)),
        "interval": auc_interval(badness[known], wrong[known], seed),
        "ap": _rounded(average_precision(counts)),
        "cut": _rounded(decision.cut),
        "precision": _ratio(found, int(dropped.sum())),
        "recall": _ratio(found, int(wrong.sum())),
        "clips": int(kept.sum()),
        "hours": round(float(numbers(labels, "duration")[kept].sum()) / 3600, 4),
        "error_rate": _error_rate(labels, kept),
    }, counts


def _error_rate(labels: pa.Table, kept: np.ndarray) -> float | None:
    """Percent over all kept clips; None where words and characters would be in one sum."""
    languages = set(np.array(labels["language"].to_pylist(), object)[kept])
    length = numbers(labels, "length")[kept].sum()
    if len({unit(language) for language in languages}) != 1 or not length:
        return None
    return _rounded(100.0 * float(numbers(labels, "errors")[kept].sum() / length))


def _ratio(part: int, whole: int) -> float | None:
    return _rounded(part / whole) if whole else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

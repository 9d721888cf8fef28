"""Which runs of a table a fit can use, and why not the others."""

from dataclasses import replace

import numpy as np

from distil_jax.errors import UserError
from distil_jax.scaling.fitting.cells import is_unfinished, is_unknown
from distil_jax.scaling.fitting.table import Table, said
from distil_jax.scaling.fitting.teachers import lend_losses

_SHOWN = 5


def useful(table: Table) -> Table:
    """Without runs that say no number above 0, or that did not end well."""
    losses, reasons = lend_losses(table.numbers, table.words)
    table = replace(table, numbers={**table.numbers, "teacher_loss": losses})
    sound = np.ones(len(table.rows), bool)
    notes = []

    def drop(bad: np.ndarray, why: str) -> None:
        nonlocal sound
        bad = bad & sound
        if bad.any():
            notes.append(f"{_runs(bad)} left out: {why} ({table.where(bad).places()})")
            sound = sound & ~bad

    for name in table.judged:
        cells = table.unread[name]
        drop(said(cells), f"{name} is no number but {_some(cells)}")
    for name in table.judged:
        column = table.numbers[name]
        nothing = np.isnan(column)
        if name in table.needed:
            drop(nothing, f"{name} is empty or nan")
        drop(~nothing & ~(np.isfinite(column) & (column > 0)), f"{name} is no number above 0")
    statuses = table.words["status"]
    unfinished = np.array([is_unfinished(each) for each in statuses], bool)
    drop(unfinished, "the status says that it did not finish")
    for reason in sorted(set(reasons[said(reasons)])):
        drop(reasons == reason, reason)
    kept = table.where(sound)
    _check_tokenizers(kept)
    return replace(kept, notes=[*notes, *_unknown_statuses(kept)])


def _runs(chosen: np.ndarray) -> str:
    """How many of a mask [n] there are."""
    count = int(chosen.sum())
    return f"{count} run{'' if count == 1 else 's'}"


def _some(words: np.ndarray) -> str:
    """The first different ones, in quotation marks."""
    different = list(dict.fromkeys(repr(each.strip()) for each in words[said(words)]))
    return ", ".join(different[:_SHOWN]) + (", ..." if len(different) > _SHOWN else "")


def _unknown_statuses(table: Table) -> list[str]:
    unknown = np.array([is_unknown(each) for each in table.words["status"]], bool)
    if not unknown.any():
        return []
    some = table.where(unknown)
    return [
        f"{_runs(unknown)} with a status that the fit does not know, "
        f"{_some(some.words['status'])}, counted as finished ({some.places()})"
    ]


def _check_tokenizers(table: Table) -> None:
    """Raises UserError where there are several."""
    tokenizers = {each for each in table.words["tokenizer"] if each is not None}
    if len(tokenizers) > 1:
        raise UserError(
            f"the runs have {len(tokenizers)} tokenizers ({', '.join(sorted(tokenizers))}): losses "
            f"a token cannot be compared between them; fit each by itself"
        )

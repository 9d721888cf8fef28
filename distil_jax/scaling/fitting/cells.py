"""Cells of a table of runs: what they say as numbers, as words, and of how a run ended."""

import re

# What people write where there is nothing to say; spreadsheets and data frames write it, too.
_NOTHING = {"", "-", "none", "null", "nil", "nan", "na", "n/a", "#n/a", "<na>"}
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
# How the first word of a status begins, as of "failed (out of memory)" and "OUT_OF_MEMORY".
_UNFINISHED = re.compile(
    r"abort|cancel|crash|deadline|diverg|error|explo|fail|incomplete|interrupt|invalid|kill|lost"
    r"|partial|pause|pending|preempt|queue|requeue|resum|running|schedul|start|stop|submit|suspend"
    r"|terminat|timed|timeout|unfinished|wait|(false|in|no|node|not|oom|out)$"
)
_FINISHED = re.compile(r"complete|converged|done|ended|finish|good|ok|pass|succe|true|valid|yes")


def number(cell: object, commas: bool) -> float | None:
    """nan where the cell says nothing, None where it says something else than a number.

    commas: whether they may divide thousands, as in 1,234,567; in a loss they may stand for a
    point.
    """
    text = "" if cell is None else str(cell).strip()
    if text.lower() in _NOTHING:
        return float("nan")
    if commas and _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    try:
        return float(text)
    except ValueError:
        return None


def word(cell: object) -> str | None:
    """None where the cell says nothing."""
    text = "" if cell is None else str(cell).strip()
    return None if text.lower() in _NOTHING else text


def is_unfinished(status: str | None) -> bool:
    """Whether a run's status tells that it did not end well; one that nobody knows does not."""
    return bool(_UNFINISHED.match(_first_word(status)))


def is_unknown(status: str | None) -> bool:
    """Whether a status is there, but tells nothing that is known here."""
    known = is_unfinished(status) or _FINISHED.match(_first_word(status))
    return status is not None and not known


def _first_word(status: str | None) -> str:
    """In small letters."""
    found = re.search("[a-z]+", (status or "").lower())
    return found.group() if found else ""

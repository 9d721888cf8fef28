"""How numbers are written on the page."""

import math
from collections import Counter
from collections.abc import Iterable

_NONE = "–"


def number(value: float | None, digits: int = 2) -> str:
    """1234.5 -> "1,234.50"; None and what is not finite -> a dash."""
    if value is None or not math.isfinite(value):
        return _NONE
    return f"{value:,.{digits}f}".replace("-", "−")


def digits(value: float | None, significant: int = 4) -> str:
    """So many significant digits: 0.00042 or 1.3e+08; a dash as `number`."""
    if value is None or not math.isfinite(value):
        return _NONE
    return f"{value:.{significant}g}".replace("-", "−")


def plain(value: object) -> str:
    """As in a config, but 10.0 as 10."""
    return str(value).removesuffix(".0")


def count(value: float | None) -> str:
    return number(value, 0)


def points(value: float | None, digits: int = 2) -> str:
    """A difference, with its sign; none for zero."""
    if value is None or not math.isfinite(value):
        return _NONE
    text = f"{value:+,.{digits}f}".replace("-", "−")
    return text[1:] if float(text[1:].replace(",", "")) == 0 else text


def share(part: float | None, whole: float | None) -> str:
    """Percent of the whole."""
    return f"{number(100 * part / whole, 0)} %" if part is not None and whole else _NONE


def tally(values: Iterable[str]) -> list[tuple[str, int]]:
    """The most frequent first; of equals, the first met first."""
    return Counter(values).most_common()

"""One self-contained HTML page about a fitted scaling law, and what it says of plans."""

import math
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distil_jax.report.templating import write_page
from distil_jax.scaling.believed import Believed
from distil_jax.scaling.break_even import break_evens
from distil_jax.scaling.charts import fits, plans
from distil_jax.scaling.fitted import FittedLaw, read_fitted
from distil_jax.scaling.laws import law_named


def write_law_report(path: Path) -> Path:
    """Write a page beside the law's file (`law.html` beside `law.json`) and return its path.

    It needs nothing beside itself. Raises UserError where the file is no fitted law.
    """
    fitted = read_fitted(path)
    parts = [_part(fitted)] + ([_part(fitted.supervised)] if fitted.supervised else [])
    facts = {"name": path.stem, "file": str(path), "parts": parts, "plans": _plans(fitted)}
    page = path.with_suffix(".html")
    write_page(page, "law.html", facts)
    return page


def _part(fitted: FittedLaw) -> dict[str, Any]:
    """What the page says of one law."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        fits.write_charts(fitted, folder)
        charts = _inlined(folder, fits.CAPTIONS)
    return {"law": fitted, "source": law_named(fitted.law).source, "charts": charts}


def _plans(fitted: FittedLaw) -> dict[str, Any] | None:
    """Charts around a student in the middle of the runs; None of a law without teachers."""
    if fitted.supervised is None:
        return None
    believed = Believed.of(fitted)
    size, tokens = (
        math.exp(sum(map(math.log, believed.students.ranges[name])) / 2) for name in ("N", "D")
    )
    planner = believed.inside(size)
    some = planner.without_teacher(3 * planner.flops(size) * tokens, size)
    with TemporaryDirectory() as name:
        folder = Path(name)
        plans.write_charts(believed, planner, some, folder)
        charts = _inlined(folder, plans.CAPTIONS)
    turns = break_evens(believed, planner, size)
    told = believed.shape.told
    return {"size": size, "tokens": tokens, "charts": charts, "turns": turns, "operations": told}


def _inlined(folder: Path, captions: Mapping[str, str]) -> list[dict[str, str]]:
    """The charts that were drawn, as data of the page."""
    drawn = [(folder / f"{name}.png", caption) for name, caption in captions.items()]
    return [
        {"caption": caption, "data": b64encode(path.read_bytes()).decode()}
        for path, caption in drawn
        if path.exists()
    ]

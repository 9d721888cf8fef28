"""One self-contained HTML page about a run, however far it got."""

from datetime import datetime
from pathlib import Path
from typing import Any

from distil_jax.report import compute, curves, figures, results
from distil_jax.report.templating import write_page
from distil_jax.run import ONLY_STUDENT, RunFolder, read_json, read_jsonl
from distil_jax.yaml_io import parse_yaml

_SHOWN_ROWS = 12


def write_report(run: RunFolder) -> Path:
    """Write report.html into the run's folder and return its path.

    It needs nothing beside itself: no script, no request. Parts whose files are not there yet are
    told of in a sentence each.
    """
    write_page(run.report, "report.html", _facts(run))
    return run.report


def _facts(run: RunFolder) -> dict[str, Any]:
    """All that the template asks for; None where there is no file yet."""
    text = run.config.read_text(encoding="utf-8") if run.config.exists() else None
    config = _config(text)
    students = _names(config)
    return {
        "name": config.get("name") or run.root.resolve().name,
        "summary": _summary(config),
        "dates": _dates(run, students),
        "students": [_student(run, name, n) for n, name in enumerate(students)],
        "filter": _filter(run),
        "quarantine": _quarantine(read_jsonl(run.quarantine)),
        "compute": compute.totals(read_jsonl(run.compute)),
        "config": text,
        "folder": str(run.root),
    }


def _names(config: dict[str, Any]) -> list[str]:
    several = config.get("students")
    named = list(map(str, several)) if isinstance(several, dict) else []
    return named or [ONLY_STUDENT]


def _student(run: RunFolder, name: str, number: int) -> dict[str, Any]:
    """What the page says of one student; it names only those that have a name."""
    own = run.of_student(name)
    sets = results.sets(own)
    for place, found in enumerate(sets or []):
        found["noise_chart"] = curves.noise_levels(found, f"noise{number}-{place}-")
    return {
        "name": None if name == ONLY_STUDENT else name,
        "sets": sets,
        "no_speech": results.no_speech(own),
        "curves": curves.curves(read_jsonl(own.metrics), f"chart{number}-"),
        "worst": results.worst(own),
        "export": _export(own),
    }


def _config(text: str | None) -> dict[str, Any]:
    """As it stands, valid or not: an old run's page must not depend on today's keys."""
    try:
        config, _ = parse_yaml(text or "")
    except ValueError:
        return {}
    return config if isinstance(config, dict) else {}


def _summary(config: dict[str, Any]) -> list[str]:
    """The config in a line, as the pieces of it."""

    def at(*keys: str) -> Any:
        value: Any = config
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    weights = at("teacher", "weights")
    objectives = at("objectives")
    several = [f"{name} ({at('students', name, 'decoder_layers')})" for name in _names(config)]
    pieces = [
        ("teacher {}", ", ".join(map(str, weights)) if isinstance(weights, list) else weights),
        ("student with {} encoder layers", at("student", "encoder_layers")),
        ("student with {} decoder layers", at("student", "decoder_layers")),
        ("students {} with so many decoder layers", ", ".join(several) if at("students") else None),
        ("λ {} %", at("filter", "max_error_rate")),
        ("{} steps", at("train", "steps")),
        ("{} clips a batch", at("train", "batch_size")),
        ("{}", _recipe(objectives) if isinstance(objectives, list) else None),
        ("seed {}", at("seed")),
    ]
    return [form.format(figures.plain(value)) for form, value in pieces if value is not None]


def _recipe(objectives: list) -> str:
    named = [each for each in objectives if isinstance(each, dict)]
    pairs = [(figures.plain(each.get("weight", 1)), each.get("name")) for each in named]
    return " + ".join(f"{weight} × {name}" for weight, name in pairs)


def _dates(run: RunFolder, students: list[str]) -> dict[str, str] | None:
    """When the first and the last of the run's own files were written."""
    own = [run.config, run.compute, run.quarantine, run.filter / "summary.json"]
    for each in map(run.of_student, students):
        own += [each.metrics, each.root / "export.json", each.evaluation / "summary.json"]
    times = [path.stat().st_mtime for path in own if path.exists()]
    if not times:
        return None
    shown = [datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M") for time in times]
    return {"first": min(shown), "last": max(shown)}


def _filter(run: RunFolder) -> dict[str, Any] | None:
    summary = read_json(run.filter / "summary.json")
    if summary is None:
        return None
    chart = curves.histogram(run.filter / "scores.parquet", summary["max_error_rate"])
    return {**summary, "histogram": chart}


def _quarantine(rows: list[dict]) -> dict[str, Any] | None:
    if not rows:
        return None
    reasons = figures.tally(row["reason"] for row in rows)
    return {"total": len(rows), "reasons": reasons[:_SHOWN_ROWS], "rows": rows[:_SHOWN_ROWS]}


def _export(run: RunFolder) -> dict[str, Any] | None:
    proof = read_json(run.root / "export.json")
    if proof is None or not run.export.exists():
        return None
    size = sum(path.stat().st_size for path in run.export.rglob("*") if path.is_file())
    formats = [{"name": name, **each} for name, each in proof.get("formats", {}).items()]
    return {**proof, "folder": str(run.export), "megabytes": size / 1e6, "formats": formats}

"""What the user sees: logging on stderr without noise or secrets, and the result on stdout."""

import json
import logging
import os
import re
import sys
import warnings
from typing import Any

from rich.console import Console
from rich.table import Table

from distil_jax import processes
from distil_jax.progress import stderr_console

_NOISY = (
    "datasets",
    "etils",
    "fsspec",
    "grain",
    "httpx",
    "huggingface_hub",
    "jax",
    "matplotlib",
    "transformers",
    "urllib3",
)
# Orbax prints a traceback in every thread that an error passes through; then it raises the error.
_ECHOES = ("absl", "asyncio", "orbax")
_QUIET_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",  # XLA's C++ log: errors only
    "GRPC_VERBOSITY": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",  # "PyTorch was not found"
    "DATASETS_VERBOSITY": "error",
}
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY", re.I)
_SECRET_SHAPE = re.compile(r"\bhf_[A-Za-z0-9]{8,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")


def redact(text: str) -> str:
    """`text` without the values of secret environment variables, hub tokens and URL passwords."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_NAME.search(name):
            text = text.replace(value, "***")
    return _SECRET_SHAPE.sub("***", text)


def set_up_logging(debug: bool) -> None:
    """Our own lines from INFO up on stderr; those of libraries only from ERROR up.

    With `debug` every library speaks, and Python's warnings are shown.
    """
    handler = logging.StreamHandler(_Stderr())
    form = "%(asctime)s %(name)s %(levelname)s %(message)s" if debug else "%(message)s"
    handler.setFormatter(_Redacting(form, datefmt="%H:%M:%S"))
    if not debug:
        handler.addFilter(_worth_saying)
    logging.basicConfig(
        level=logging.INFO if debug else logging.WARNING, handlers=[handler], force=True
    )
    logging.getLogger("distil_jax").setLevel(logging.DEBUG if debug else logging.INFO)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.INFO if debug else logging.ERROR)
    for name in _ECHOES:
        logging.getLogger(name).setLevel(logging.INFO if debug else logging.CRITICAL)
    if not debug:
        warnings.simplefilter("ignore")
        for name, value in _QUIET_ENVIRONMENT.items():
            os.environ.setdefault(name, value)


def print_error(message: str) -> None:
    """`message` on stderr, without secrets."""
    print(redact(message), file=sys.stderr, flush=True)  # noqa: T201


def print_result(result: dict[str, Any], as_json: bool) -> None:
    """The result on stdout: one line of JSON, or tables for a reader."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False, allow_nan=False), flush=True)  # noqa: T201
        return
    # Piped into a file, lines are not folded at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    rows, tables = _flatten(result, "")
    for title, items in tables:
        console.print(_items_table(title, items))
    if rows:
        table = Table.grid(padding=(0, 2))
        for row in rows:
            table.add_row(*map(_cell, row))
        console.print(table)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # Asked for at every line: which process this is comes out after the logging is set up.
        who = "" if processes.is_writer() else f"[process {processes.index()}] "
        return who + redact(super().format(record))


def _worth_saying(record: logging.LogRecord) -> bool:
    """All processes do the same: what goes well, process 0 says for all."""
    return processes.is_writer() or record.levelno >= logging.WARNING


class _Stderr:
    """A stream that writes through the shared console, so that a running bar stays whole."""

    def write(self, text: str) -> None:
        stderr_console().out(text, end="", highlight=False)

    def flush(self) -> None:
        sys.stderr.flush()


Rows = list[tuple[str, Any]]
Tables = list[tuple[str, list[dict[str, Any]]]]


def _flatten(value: dict[str, Any], prefix: str) -> tuple[Rows, Tables]:
    """Nested sections as dotted rows; lists of sections apart, as tables."""
    rows: Rows = []
    tables: Tables = []
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, dict):
            inner_rows, inner_tables = _flatten(item, f"{name}.")
            rows += inner_rows
            tables += inner_tables
        elif isinstance(item, list) and item and all(isinstance(each, dict) for each in item):
            tables.append((name, item))
        else:
            rows.append((name, item))
    return rows, tables


def _items_table(title: str, items: list[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(key for item in items for key in item))
    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
    for item in items:
        table.add_row(*(_cell(item.get(column)) for column in columns))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        # Of seconds in hours of sound the hundredths, too.
        return f"{value:.2f}" if 1e3 <= abs(value) < 1e6 else f"{value:.4g}"
    if isinstance(value, list):
        # Sentences have commas of their own.
        sentences = any(isinstance(each, str) and " " in each for each in value)
        return ("\n" if sentences else ", ").join(map(_cell, value))
    return "-" if value is None else str(value).replace("[", r"\[")

"""How a verb's work begins and ends: logging, its result, errors as messages and exit codes."""

import contextlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer

from distil_jax.errors import ConfigError, Preempted, UserError, disk_is_full

FAILED, WRONG_USAGE, INTERRUPTED, PREEMPTED = 1, 2, 130, 143
_GOES_ON = "The same command goes on where it stopped."


def run_stage(
    function: str, config: Path, overrides: list[str], *rest: Any, **options: Any
) -> dict[str, Any]:
    """The pipeline's `function` on the config, with what else it takes."""
    from distil_jax.config import load_config

    loaded = load_config(config, overrides)
    from distil_jax import pipeline  # after the config: a mistake in it answers at once

    return getattr(pipeline, function)(loaded, *rest, **options)


def finish_together(
    work: Callable[[], dict[str, Any]], as_json: bool, debug: bool, if_interrupted: str = _GOES_ON
) -> None:
    """`finish` for a verb that several processes may share."""
    from distil_jax.processes.ending import finish as leave
    from distil_jax.processes.start import start

    def shared() -> dict[str, Any]:
        result = work()
        leave()
        return result

    finish(shared, as_json, debug, if_interrupted, begin=lambda: start(debug))


def finish(
    work: Callable[[], dict[str, Any]],
    as_json: bool,
    debug: bool,
    if_interrupted: str = _GOES_ON,
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Begin, do the work and print its result; an error becomes a message and an exit code.

    if_interrupted: what is true of the work when somebody interrupts it.

    Exits with 1 (failed), 2 (wrong config or usage), 130 (interrupted) or 143 (asked to stop by a
    scheduler: run it again).
    """
    from distil_jax import processes
    from distil_jax.console import print_result, set_up_logging

    set_up_logging(debug)
    try:
        begin()
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result alone
            result = work()
        if processes.is_writer():
            print_result(result, as_json)
    except KeyboardInterrupt as error:
        _end(f"Interrupted. {if_interrupted}", INTERRUPTED, error)
    except Exception as error:
        details = f"{traceback.format_exc()}\n" if debug else ""
        _end(f"{details}{_message(error)}", _code(error), error)


def _code(error: Exception) -> int:
    if isinstance(error, Preempted):
        return PREEMPTED
    return WRONG_USAGE if isinstance(error, ConfigError) else FAILED


def _end(message: str, code: int, error: BaseException) -> NoReturn:
    """Say why, and exit; of several processes the others say it, too."""
    from distil_jax import processes
    from distil_jax.console import print_error, redact

    if processes.count() > 1:
        from distil_jax.processes.ending import fail

        fail(redact(message), code, error)
    print_error(message)
    raise typer.Exit(code) from None


def _message(error: Exception) -> str:
    if isinstance(error, Preempted):
        return str(error)
    if isinstance(error, UserError):
        return f"Error: {error}"
    if disk_is_full(error):
        return f"Error: disk full: {error}. Make room, and the same command goes on."
    return (
        f"Unexpected {type(error).__name__}: {error}\n"
        "This is a fault of distil_jax or of the machine; --debug shows where it happened."
    )

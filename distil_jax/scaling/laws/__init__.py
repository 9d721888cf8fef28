"""The laws that can be fitted, by name. One's own: `register(Law(...))`, then its name."""

import runpy
from collections.abc import Iterable
from pathlib import Path

from distil_jax.errors import UserError
from distil_jax.scaling.laws.check import check
from distil_jax.scaling.laws.distillation import DISTILLATION
from distil_jax.scaling.laws.law import Coefficient, Law
from distil_jax.scaling.laws.supervised import CHINCHILLA, GAMMA

__all__ = [
    "CHINCHILLA",
    "DISTILLATION",
    "GAMMA",
    "Coefficient",
    "Law",
    "law_named",
    "register",
    "register_from",
]

_LAWS = {law.name: law for law in (CHINCHILLA, GAMMA, DISTILLATION)}


def register(law: Law) -> Law:
    """Let `law` be fitted by its name, which must be a new one.

    Raises ValueError where that is not so, or the law cannot be evaluated at its starts.
    """
    if law.name in _LAWS:
        raise ValueError(f"there is a law named {law.name!r} already")
    check(law)
    _LAWS[law.name] = law
    return law


def register_from(paths: Iterable[Path]) -> None:
    """Run Python files of the user's own, each of which calls `register`."""
    for path in paths:
        _register_from(path)


def _register_from(path: Path) -> None:
    before = len(_LAWS)
    try:
        runpy.run_path(str(path))
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{path}: expected Python that registers laws; running it ended with "
            f"{type(error).__name__}: {error}"
        ) from error
    if len(_LAWS) == before:
        raise UserError(
            f"{path}: it registers no law; expected `register(Law(...))`, both from "
            f"distil_jax.scaling.laws"
        )


def law_named(name: str) -> Law:
    if name not in _LAWS:
        raise UserError(
            f"law {name!r}: got a name that no law has; expected {', '.join(_LAWS)}, "
            f"or one that a file of --laws registers"
        )
    return _LAWS[name]

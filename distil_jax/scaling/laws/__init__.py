"""The laws that can be fitted, by name. One's own: `register(Law(...))`, then its name."""

from distil_jax.errors import UserError
from distil_jax.scaling.laws.distillation import DISTILLATION
from distil_jax.scaling.laws.law import Coefficient, Law
from distil_jax.scaling.laws.supervised import CHINCHILLA, GAMMA

__all__ = ["CHINCHILLA", "DISTILLATION", "GAMMA", "Coefficient", "Law", "law_named", "register"]

_LAWS = {law.name: law for law in (CHINCHILLA, GAMMA, DISTILLATION)}


def register(law: Law) -> Law:
    """Let `law` be fitted by its name, which must be a new one."""
    if law.name in _LAWS:
        raise ValueError(f"there is a law named {law.name!r} already")
    _LAWS[law.name] = law
    return law


def law_named(name: str) -> Law:
    if name not in _LAWS:
        raise UserError(f"law {name!r}: got a name that no law has; expected {', '.join(_LAWS)}")
    return _LAWS[name]

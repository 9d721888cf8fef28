"""The law of a student that learns from a teacher (Busbridge et al. 2025, arXiv:2502.08606, Eq 8).

Of the teacher it sees nothing but its loss. Besides what the student's own size and tokens give, it
knows what the student would reach without a teacher, by the supervised law: where the teacher is
much better than that, the student no longer gains (the capacity gap).
"""

from math import exp

import jax
import jax.numpy as jnp

from distil_jax.scaling.laws.law import Coefficient, Law, Values, log_add
from distil_jax.scaling.laws.supervised import POWER, exponent, reducible, scale

TEACHER_LOSS, SUPERVISED_LOSS = "teacher_loss", "supervised_loss"


def _distillation(c: Values, x: Values) -> jax.Array:
    """The paper's Eq 49, with gamma' and logarithms where it misprints them."""
    teacher = jnp.log(x[TEACHER_LOSS])
    behind = teacher - jnp.log(x[SUPERVISED_LOSS]) - jnp.log(c["d1"])
    gap = c["c1"] * c["f1"] * log_add(jnp.zeros_like(behind), behind / c["f1"])
    return log_add(teacher, -c["c0"] * teacher - gap + c["gamma"] * reducible(c, x))


_POWERS = (0.0, 0.5, 1.0)
DISTILLATION = Law(
    name="distillation",
    inputs=("N", "D", TEACHER_LOSS, SUPERVISED_LOSS),
    coefficients=(
        scale("A", 5),
        scale("B", 5),
        exponent("alpha", _POWERS),
        exponent("beta", _POWERS),
        exponent("gamma", _POWERS, low=0.01),
        Coefficient("c0", (0.0, 0.5, 1.0, 1.5), low=-20.0, high=20.0),
        # The paper begins at 0, 0.5, 1, 1.5 for both; but 0 is singular for f1, and its own c1 is
        # 500: both are searched by their logarithm.
        Coefficient("c1", (0.5, 1.5, 10.0, 100.0), low=1e-3, high=1e5, log=True),
        Coefficient("f1", (0.05, 0.1, 0.5, 1.0), low=1e-3, high=20.0, log=True),
        Coefficient("d1", tuple(map(exp, (-1.0, -0.5, 0.0, 0.5, 1.0))), exp(-4), exp(4), log=True),
    ),
    log_loss=_distillation,
    power=POWER,
    source="L of N, D, L_T and the supervised loss. Busbridge et al. 2025, arXiv:2502.08606, Eq 8",
)

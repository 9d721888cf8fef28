"""How the verb `fit` fits, and what it does besides."""

from dataclasses import dataclass
from pathlib import Path

from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.laws import GAMMA


@dataclass(frozen=True)
class FitOptions:
    """loss: what is minimised. starts: of the law's grid, drawn at random. draws: of the
    bootstrap. supervised: the name of the law of runs without a teacher, where that of a student is
    fitted. held_out: whether runs that were held out are predicted, too. plots: a folder for
    charts."""

    loss: FitLoss
    starts: int
    draws: int
    held_out: bool
    supervised: str = GAMMA.name
    plots: Path | None = None
    seed: int = 0

"""What `plan --law` is asked."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distil_jax.errors import UserError
from distil_jax.scaling.language_models import Shape


@dataclass(frozen=True)
class Question:
    """size: of the student, parameters. compute: operations to spend, or loss: to be reached with
    the fewest. students: of one teacher, whose bill they share. teachers: a table of those that
    exist. room, token_bytes: storage for cached signals, and what a token of them takes.
    chips, utilization, price: as v5e:256, the share of its peak that is used, and of a chip's hour.
    next_runs: operations for runs that would make the best plan's loss surer. shape: of the models
    whose operations are counted, or "2n" for the rule of thumb; None: as the law's runs say, or as
    the paper's. plots: a folder for charts.
    """

    size: float
    compute: float | None = None
    loss: float | None = None
    students: int = 1
    teachers: Path | None = None
    room: float | None = None
    token_bytes: float | None = None
    chips: str | None = None
    utilization: float = 0.4
    price: float | None = None
    extrapolate: bool = False
    next_runs: float | None = None
    shape: Shape | Literal["2n"] | None = None
    plots: Path | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float) and not 0 < value < math.inf:
                raise UserError(f"{name}: got {value:g}, expected a number above 0")
        if (self.compute is None) == (self.loss is None):
            raise UserError("got both of --compute and --loss, or none: expected one of them")
        if self.teachers is not None and self.compute is None:
            raise UserError("--teachers are ranked for a budget: expected --compute, got --loss")
        if self.price is not None and self.chips is None:
            raise UserError("--price is of a chip's hour: expected --chips too, as v5e:256")
        if self.utilization > 1:
            raise UserError(f"utilization: got {self.utilization:g}, expected a share, as 0.4")
        if (self.room is None) != (self.token_bytes is None):
            raise UserError(
                "--storage and --token-bytes go together: top-k signals take 4 k + 8 bytes a token "
                "or so; `distil-jax cache` tells those of a run"
            )

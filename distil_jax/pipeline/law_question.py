"""What `plan --law` is asked."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from distil_jax.errors import UserError
from distil_jax.scaling.chips import TPU_CHIPS, Chip
from distil_jax.scaling.language_models import Shape


@dataclass(frozen=True)
class Question:
    """size: of the student, parameters. compute: operations to spend, or loss: to be reached with
    the fewest. students: of one teacher, whose bill they share. teachers: a table of those that
    exist. room, token_bytes: storage for cached signals, and what a token of them takes.
    chips, utilization, price: as v5e:256, the share of its peak that is used, and of a chip's hour.
    next_runs: operations for runs that would make the best plan's loss surer. flops: how operations
    are counted: by the models' shape, or by the rule of thumb. context, vocabulary: of that shape,
    where they are not those of the law's runs. plots: a folder for charts.
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
    flops: Literal["paper", "2n"] = "paper"
    context: int | None = None
    vocabulary: int | None = None
    plots: Path | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float) and not 0 < value < math.inf:
                raise UserError(f"{_option(name)}: got {value:g}, expected a number above 0")
        self._check_goal()
        self._check_counting()
        if self.price is not None and self.chips is None:
            raise UserError("--price is of a chip's hour: expected --chips too, as v5e:256")
        if self.utilization > 1:
            raise UserError(f"--utilization: got {self.utilization:g}, expected a share, as 0.4")
        if (self.room is None) != (self.token_bytes is None):
            raise UserError(
                "--storage and --token-bytes go together: top-k signals take 4 k + 8 bytes a token "
                "or so; `distil-jax cache` tells those of a run"
            )
        if self.chips is not None:
            chips_of(self.chips)

    def _check_goal(self) -> None:
        if (self.compute is None) == (self.loss is None):
            got = "neither --compute nor" if self.loss is None else "both --compute and"
            raise UserError(
                f"got {got} --loss, expected one of them: operations to spend, or a loss to be "
                f"reached with the fewest"
            )
        if self.teachers is not None and self.compute is None:
            raise UserError("--teachers are ranked for a budget: expected --compute, got --loss")

    def _check_counting(self) -> None:
        if self.flops == "2n" and (self.context or self.vocabulary):
            given = "--context" if self.context else "--vocabulary"
            raise UserError(
                f"got {given} and --flops 2n, which counts by size alone: leave out one of them"
            )

    def shape(self, of_runs: Shape) -> Shape:
        """Of the models whose operations are counted: the runs' in all that is not asked for."""
        return replace(
            of_runs,
            context=self.context or of_runs.context,
            vocabulary=self.vocabulary or of_runs.vocabulary,
        )


def _option(name: str) -> str:
    """What a field is called on the command line."""
    return {"room": "--storage"}.get(name, f"--{name.replace('_', '-')}")


def chips_of(text: str) -> tuple[Chip, int]:
    """The kind, and how many. Raises UserError for what is not as v5e:256."""
    kind, _, count = text.partition(":")
    if kind not in TPU_CHIPS or not count.isdecimal() or not int(count):
        raise UserError(
            f"--chips {text}: expected a kind and a number, as v5e:256; kinds are "
            f"{', '.join(TPU_CHIPS)}"
        )
    return TPU_CHIPS[kind], int(count)

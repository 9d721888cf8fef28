"""The verb `plan --law`: which teacher, how many tokens, or no teacher at all."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from distil_jax.errors import UserError
from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import BEST_CASE, INFERENCE, SCENARIOS, Flops, Scenario, shared_by
from distil_jax.scaling.charts import plans
from distil_jax.scaling.chips import TPU_CHIPS
from distil_jax.scaling.fitted import read_fitted
from distil_jax.scaling.language_models import APPLE
from distil_jax.scaling.next_runs import next_runs
from distil_jax.scaling.planner import Choice, Planner
from distil_jax.scaling.questions import (
    Teacher,
    Unreachable,
    break_even,
    chosen,
    compute_for,
    pays_from,
    ranked,
)

PUBLISHED = "apple"
_ROW = (
    "scenario",
    "compute",
    "tokens",
    "teacher_size",
    "teacher_tokens",
    "teacher_loss",
    "loss",
    "low",
    "high",
)


@dataclass(frozen=True)
class Question:
    """size: of the student, parameters. compute: operations to spend, or loss: to be reached with
    the fewest. students: of one teacher, whose bill they share. teachers: a table of those that
    exist. room, token_bytes: storage for cached signals, and what a token of them takes.
    chips, utilization, price: as v5e:256, the share of its peak that is used, and of a chip's hour.
    next_runs: operations for runs that would make the best plan's loss surer. flops: of a token's
    forward pass, by size. plots: a folder for charts.
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
    flops: Flops = APPLE.forward_flops
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


def plan_by_law(law: str, question: Question) -> dict[str, Any]:
    """law: a file of `distil-jax fit --law distillation`, or the name of published coefficients.

    Raises UserError where the answer would lie outside of what the law's runs span, unless the
    question says to extrapolate.
    """
    believed = Believed.published() if law == PUBLISHED else Believed.of(read_fitted(Path(law)))
    believed = replace(believed, planner=replace(believed.planner, flops=question.flops))
    planner = _planner(believed, question)
    scenarios = (*SCENARIOS, shared_by(question.students)) if question.students > 1 else SCENARIOS
    choices = [_choice(planner, question, each) for each in (None, *scenarios)]
    rows = [_row(believed, question, each) for each in choices]
    open_ = [c for c, row in zip(choices, rows, strict=True) if row["loss"] is not None]
    if not open_:
        why = next((row["outside"] for row in rows if row["outside"]), "")
        raise UserError(
            f"no plan lies where the law was measured. {why}. Ask for another size or budget, or "
            f"take --extrapolate and believe it as far as that"
        )
    found: dict[str, Any] = {"plans": rows}
    if question.teachers is not None:
        found["teachers"] = _ranked(believed, planner, question)
    if question.compute is not None and rows[0]["loss"] is not None:
        found["pays_from_students"] = _pays_from(believed, planner, question)
    if question.next_runs is not None:
        best = min(open_, key=lambda choice: choice.loss)
        found["next_runs"] = next_runs(believed, best, question.next_runs)
    if question.plots is not None:
        drawn = believed.drawn_planners(planner)
        plans.write_charts(planner, open_[0], question.plots, drawn)
    low, high = _both_measured(believed, question)
    if low < high:
        found["break_even_compute"] = break_even(planner, question.size, BEST_CASE, (low, high))
    return found


def _pays_from(believed: Believed, planner: Planner, question: Question) -> int | None:
    """None, too, where only students that nobody measured would be better than without."""
    assert question.compute is not None
    count = pays_from(planner, question.compute, question.size)
    if count is None or question.extrapolate:
        return count
    choice = planner.best(question.compute, question.size, shared_by(count))
    return None if believed.outside(choice) else count


def _both_measured(believed: Believed, question: Question) -> tuple[float, float]:
    """Operations for which both a student and a model without a teacher have tokens as measured."""
    alone, taught = believed.teachers.ranges["D"], believed.students.ranges["D"]
    low, high = max(alone[0], taught[0]), min(alone[1], taught[1])
    if question.extrapolate:
        low, high = low / 1e3, high * 1e5
    a_token = 3 * question.flops(question.size)
    return float(a_token * low), float(a_token * high)


def _planner(believed: Believed, question: Question) -> Planner:
    """With the limits that the question sets."""
    planner = believed.planner if question.extrapolate else believed.inside
    if question.room is None or question.token_bytes is None:
        return planner
    low, high = planner.limits.student_tokens
    most = question.room / question.token_bytes
    return planner.limited(student_tokens=(low, min(high, most)))


def _choice(planner: Planner, question: Question, scenario: Scenario | None) -> Choice:
    """By a scenario, or without a teacher. Of no loss where what is asked for cannot be."""
    if question.compute is not None:
        return chosen(planner, question.compute, question.size, scenario)
    assert question.loss is not None
    try:
        return compute_for(planner, question.loss, question.size, scenario)
    except Unreachable:
        name = scenario.name if scenario else "supervised"
        return Choice(name, math.nan, question.size, math.nan, math.nan)


def _row(believed: Believed, question: Question, choice: Choice) -> dict[str, Any]:
    """A plan as it is printed. Outside of the runs it has no loss, unless that was asked for."""
    why = ""
    if math.isnan(choice.loss):
        why = "loss not reached"
    elif choice.tokens <= 0:
        why = "the teacher takes the whole budget"
    if why:
        return dict.fromkeys(_ROW) | {"scenario": choice.scenario, "outside": why}
    outside = believed.outside(choice)
    hidden = math.isinf(choice.loss) or (bool(outside) and not question.extrapolate)
    low, high = (None if hidden else believed.interval(choice)) or (None, None)
    row = {
        **{name: getattr(choice, name) for name in _ROW[:-3]},
        "loss": None if hidden else choice.loss,
        "low": low,
        "high": high,
    }
    return {**row, **_bill(question, choice.compute), "outside": outside or None}


def _bill(question: Question, compute: float) -> dict[str, float]:
    """Hours on the chips, and their price."""
    if question.chips is None:
        return {}
    kind, _, count = question.chips.partition(":")
    if kind not in TPU_CHIPS or not count.isdigit() or not int(count):
        raise UserError(
            f"--chips {question.chips}: expected a kind and a number, as v5e:256; kinds are "
            f"{', '.join(TPU_CHIPS)}"
        )
    chip_hours = compute / (TPU_CHIPS[kind].flops * question.utilization) / 3600
    bill = {"hours": chip_hours / int(count), "chip_hours": chip_hours}
    return bill if question.price is None else {**bill, "cost": chip_hours * question.price}


def _ranked(believed: Believed, planner: Planner, question: Question) -> list[dict[str, Any]]:
    """Students of the teachers in the user's table, the best first."""
    assert question.compute is not None
    assert question.teachers is not None
    teachers = _read_teachers(question.teachers)
    order = ranked(planner, teachers, question.compute, question.size, INFERENCE)
    return [{"teacher": t.name, **_row(believed, question, choice)} for t, choice in order]


def _read_teachers(path: Path) -> list[Teacher]:
    """Of columns name, N and loss."""
    try:
        table = pyarrow.csv.read_csv(path)
        rows = table.select(["name", "N", "loss"]).to_pylist()
        found = [Teacher(str(row["name"]), float(row["N"]), float(row["loss"])) for row in rows]
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise UserError(
            f"{path}: expected a .csv with the columns name, N (parameters) and loss: {error}"
        ) from None
    wrong = [each.name for each in found if not (each.size > 0 and each.loss > 0)]
    if wrong:
        raise UserError(f"{path}: teacher {wrong[0]}: expected N and loss above 0")
    return found

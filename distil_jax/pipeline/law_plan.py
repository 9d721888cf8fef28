"""The verb `plan --law`: which teacher, how many tokens, or no teacher at all."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv

from distil_jax.errors import UserError
from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import BEST_CASE, INFERENCE, SCENARIOS, Flops, Scenario, shared_by
from distil_jax.scaling.charts import plans
from distil_jax.scaling.chips import TPU_CHIPS
from distil_jax.scaling.fitted import read_fitted
from distil_jax.scaling.language_models import Shape, twice_size
from distil_jax.scaling.next_runs import next_runs
from distil_jax.scaling.planner import Choice, Planner
from distil_jax.scaling.questions import (
    BreakEven,
    Teacher,
    Unreachable,
    at_limits,
    break_even,
    chosen,
    compute_for,
    pays_from,
    ranked,
)

PUBLISHED = "apple"
Row = dict[str, Any]
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


def plan_by_law(law: str, question: Question) -> dict[str, Any]:
    """law: a file of `distil-jax fit --law distillation`, or the name of published coefficients.

    Raises UserError where the answer would lie outside of what the law's runs span, unless the
    question says to extrapolate.
    """
    believed = Believed.published() if law == PUBLISHED else Believed.of(read_fitted(Path(law)))
    flops, counted = _counted(believed, question)
    believed = replace(believed, planner=replace(believed.planner, flops=flops))
    planner = _planner(believed, question)
    scenarios = (*SCENARIOS, shared_by(question.students)) if question.students > 1 else SCENARIOS
    answers = [_answer(believed, planner, question, each) for each in (None, *scenarios)]
    rows = [row for _, row in answers]
    open_ = [choice for choice, row in answers if row["loss"] is not None]
    if not open_:
        raise _no_plan(answers, question)
    found: dict[str, Any] = {"plans": rows, "operations": counted}
    if question.teachers is not None:
        found["teachers"] = _ranked(believed, planner, question)
    if question.compute is not None and rows[0]["loss"] is not None:
        found["pays_from_students"] = _pays_from(believed, planner, question)
    if question.next_runs is not None:
        found |= _next_runs(believed, open_, question)
    if question.plots is not None:
        plans.write_charts(believed, planner, open_[0], question.plots)
    turn = _break_even(believed, planner, question)
    return {**found, "break_even": turn.told, "break_even_compute": turn.compute}


def _counted(believed: Believed, question: Question) -> tuple[Flops, str]:
    """A token's operations by size, and in words of which models."""
    if question.shape == "2n":
        return twice_size, "2 N of a token's forward pass"
    shape = question.shape or believed.shape
    return shape.forward_flops, shape.told


def _no_plan(answers: list[tuple[Choice, Row]], question: Question) -> UserError:
    """Why there is none: what comes nearest, or how far the plans are from the law's runs."""
    unreached = [(choice, row) for choice, row in answers if row["tokens"] is None]
    beyond = "take --extrapolate and believe it as far as that"
    if question.loss is not None and len(unreached) == len(answers):
        _, row = min(unreached, key=lambda answer: round(answer[0].loss, 6))
        told = f"no plan reaches what was asked for. {row['outside']}"
        return UserError(told if question.extrapolate else f"{told}. Or {beyond}")
    why = next(row["outside"] for choice, row in answers if row["tokens"] is not None)
    return UserError(
        f"no plan lies where the law was measured. {why}. Ask for another size or budget, or "
        f"{beyond}"
    )


def _next_runs(believed: Believed, plans: list[Choice], question: Question) -> dict[str, Any]:
    """For the best of the plans: of the lowest loss or, for a loss, of the fewest operations."""
    assert question.next_runs is not None
    by = "loss" if question.loss is None else "compute"
    found = next_runs(believed, min(plans, key=lambda plan: getattr(plan, by)), question.next_runs)
    return {
        "next_runs_asked": found.asked,
        "next_runs_spread_before": found.spread_before,
        "next_runs": found.runs,
    }


def _break_even(believed: Believed, planner: Planner, question: Question) -> BreakEven:
    """Of a free teacher's student and a model without a teacher, where both are measured."""
    low, high = _both_measured(believed, question)
    if low >= high:
        return BreakEven(BEST_CASE.name, "not measured")
    return break_even(planner, question.size, BEST_CASE, (low, high))


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
    both = believed.teachers, believed.students
    if question.extrapolate:
        spans = [each.ranges["D"] for each in both]
    else:
        spans = [each.tokens_for(question.size) for each in both]
    low, high = max(fewest for fewest, _ in spans), min(most for _, most in spans)
    if question.extrapolate:
        low, high = low / 1e3, high * 1e5
    a_token = 3 * believed.planner.flops(question.size)
    return float(a_token * low), float(a_token * high)


def _planner(believed: Believed, question: Question) -> Planner:
    """With the limits that the question sets."""
    planner = believed.planner if question.extrapolate else believed.inside(question.size)
    if question.room is None or question.token_bytes is None:
        return planner
    low, high = planner.limits.student_tokens
    most = question.room / question.token_bytes
    return planner.limited(student_tokens=(low, min(high, most)))


def _answer(
    believed: Believed, planner: Planner, question: Question, scenario: Scenario | None
) -> tuple[Choice, Row]:
    """By a scenario, or without a teacher; of a loss that cannot be, what comes nearest to it."""
    if question.compute is not None:
        choice = chosen(planner, question.compute, question.size, scenario)
        return choice, _row(believed, planner, question, choice)
    assert question.loss is not None
    try:
        choice = compute_for(planner, question.loss, question.size, scenario)
    except Unreachable as error:
        choice = error.nearest
        if math.isfinite(choice.loss):
            outside = "" if question.extrapolate else believed.outside(choice)
            why = f"{error}; and that is outside: {outside}" if outside else str(error)
            return choice, _empty_row(choice, why)
    return choice, _row(believed, planner, question, choice)


def _empty_row(choice: Choice, why: str) -> Row:
    row = {"scenario": choice.scenario, "at_limit": None, "outside": why}
    return dict.fromkeys(_ROW) | row


def _row(believed: Believed, planner: Planner, question: Question, choice: Choice) -> Row:
    """A plan as it is printed. Outside of the runs it has no loss, unless that was asked for."""
    if choice.tokens <= 0:
        return _empty_row(choice, "the teacher takes the whole budget")
    outside = believed.outside(choice)
    if math.isinf(choice.loss) and not outside:
        outside = "no teacher such as the law's runs had leaves the student tokens enough"
    hidden = math.isinf(choice.loss) or (bool(outside) and not question.extrapolate)
    low, high = (None if hidden else believed.interval(choice)) or (None, None)
    row = {
        **{name: getattr(choice, name) for name in _ROW[:-3]},
        "loss": None if hidden else choice.loss,
        "low": low,
        "high": high,
        **_bill(question, choice.compute),
    }
    limits = None if hidden else at_limits(planner, choice) or None
    return {**row, "at_limit": limits, "outside": outside or None}


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
    """Students of the teachers in the user's table, the best first, those outside last."""
    assert question.compute is not None
    assert question.teachers is not None
    teachers = _read_teachers(question.teachers)
    order = ranked(planner, teachers, question.compute, question.size, INFERENCE)
    rows = [
        {"teacher": teacher.name, **_row(believed, planner, question, choice)}
        for teacher, choice in order
    ]
    return sorted(rows, key=lambda row: row["loss"] is None)


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

"""Plans by a law as they are printed, one a row."""

import math
from dataclasses import asdict
from typing import Any

from distil_jax.pipeline.law_question import Question, chips_of
from distil_jax.pipeline.law_teachers import read_teachers
from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import INFERENCE
from distil_jax.scaling.break_even import BreakEven
from distil_jax.scaling.planner import Choice, Planner
from distil_jax.scaling.questions import at_limits, ranked

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


def empty_row(choice: Choice, why: str) -> Row:
    row = {"scenario": choice.scenario, "at_limit": None, "outside": why}
    return dict.fromkeys(_ROW) | row


def row_of(believed: Believed, planner: Planner, question: Question, choice: Choice) -> Row:
    """A plan as it is printed. Outside of the runs it has no loss, unless that was asked for."""
    if choice.tokens <= 0:
        return empty_row(choice, "the teacher takes the whole budget")
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


def break_even_row(found: BreakEven) -> Row:
    row = {"scenario": found.scenario, "pays": found.pays, **asdict(found)}
    return {**row, "ranges": [list(each) for each in found.ranges]}


def _bill(question: Question, compute: float) -> dict[str, float]:
    """Hours on the chips, and their price."""
    if question.chips is None:
        return {}
    chip, count = chips_of(question.chips)
    chip_hours = compute / (chip.flops * question.utilization) / 3600
    bill = {"hours": chip_hours / count, "chip_hours": chip_hours}
    return bill if question.price is None else {**bill, "cost": chip_hours * question.price}


def ranked_rows(believed: Believed, planner: Planner, question: Question) -> list[dict[str, Any]]:
    """Students of the teachers in the user's table, the best first, those outside last."""
    assert question.compute is not None
    assert question.teachers is not None
    teachers = read_teachers(question.teachers)
    order = ranked(planner, teachers, question.compute, question.size, INFERENCE)
    rows = [
        {"teacher": teacher.name, **row_of(believed, planner, question, choice)}
        for teacher, choice in order
    ]
    return sorted(rows, key=lambda row: row["loss"] is None)

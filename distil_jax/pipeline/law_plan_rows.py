"""Plans by a law as they are printed, one a row."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from distil_jax.errors import UserError
from distil_jax.pipeline.law_question import Question
from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import INFERENCE
from distil_jax.scaling.break_even import BreakEven
from distil_jax.scaling.chips import TPU_CHIPS
from distil_jax.scaling.planner import Choice, Planner
from distil_jax.scaling.questions import Teacher, at_limits, ranked

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
    return {"scenario": found.scenario, "pays": found.pays, **asdict(found)}


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


def ranked_rows(believed: Believed, planner: Planner, question: Question) -> list[dict[str, Any]]:
    """Students of the teachers in the user's table, the best first, those outside last."""
    assert question.compute is not None
    assert question.teachers is not None
    teachers = _read_teachers(question.teachers)
    order = ranked(planner, teachers, question.compute, question.size, INFERENCE)
    rows = [
        {"teacher": teacher.name, **row_of(believed, planner, question, choice)}
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

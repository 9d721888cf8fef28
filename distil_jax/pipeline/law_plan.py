"""The verb `plan --law`: which teacher, how many tokens, or no teacher at all."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from distil_jax.errors import UserError
from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import BEST_CASE, INFERENCE, SCENARIOS, Scenario, shared_by
from distil_jax.scaling.chips import TPU_CHIPS
from distil_jax.scaling.fitted import read_fitted
from distil_jax.scaling.planner import Choice, Planner
from distil_jax.scaling.questions import (
    Teacher,
    break_even,
    chosen,
    compute_for,
    pays_from,
    ranked,
)

PUBLISHED = "apple"


@dataclass(frozen=True)
class Question:
    """size: of the student, parameters. compute: operations to spend, or loss: to be reached with
    the fewest. students: of one teacher, whose bill they share. teachers: a table of those that
    exist. room, token_bytes: storage for cached signals, and what a token of them takes.
    chips, utilization, price: as v5e:256, the share of its peak that is used, and of a chip's hour.
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

    def __post_init__(self) -> None:
        if (self.compute is None) == (self.loss is None):
            raise UserError("got both of --compute and --loss, or none: expected one of them")
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
    planner = _planner(believed, question)
    scenarios = (*SCENARIOS, shared_by(question.students)) if question.students > 1 else SCENARIOS
    rows = [_row(believed, question, each) for each in _choices(planner, question, scenarios)]
    if not question.extrapolate and all(row["loss"] is None for row in rows):
        raise UserError(
            f"no plan lies where the law was measured. {rows[0]['outside']}. Ask for another size "
            f"or budget, or take --extrapolate and believe it as far as that"
        )
    found: dict[str, Any] = {"plans": rows}
    if question.compute is not None:
        if question.teachers is not None:
            found["teachers"] = _ranked(believed, planner, question)
        found["pays_from_students"] = pays_from(planner, question.compute, question.size)
    found["break_even_compute"] = break_even(planner, question.size, BEST_CASE)
    return found


def _planner(believed: Believed, question: Question) -> Planner:
    """With the limits that the question sets."""
    planner = believed.planner if question.extrapolate else believed.inside
    if question.room is None or question.token_bytes is None:
        return planner
    low, high = planner.limits.student_tokens
    most = question.room / question.token_bytes
    return planner.limited(student_tokens=(low, min(high, most)))


def _choices(
    planner: Planner, question: Question, scenarios: tuple[Scenario, ...]
) -> Iterator[Choice]:
    """Without a teacher, and by each scenario."""
    for scenario in (None, *scenarios):
        if question.loss is not None:
            yield compute_for(planner, question.loss, question.size, scenario)
        else:
            assert question.compute is not None
            yield chosen(planner, question.compute, question.size, scenario)


def _row(believed: Believed, question: Question, choice: Choice) -> dict[str, Any]:
    """A plan as it is printed. Outside of the runs it has no loss, unless that was asked for."""
    outside = believed.outside(choice)
    hidden = bool(outside) and not question.extrapolate
    interval = None if hidden else believed.interval(choice)
    return {
        "scenario": choice.scenario,
        "compute": choice.compute,
        "tokens": choice.tokens,
        "teacher_size": choice.teacher_size,
        "teacher_tokens": choice.teacher_tokens,
        "teacher_loss": choice.teacher_loss,
        "loss": None if hidden else choice.loss,
        "low": interval[0] if interval else None,
        "high": interval[1] if interval else None,
        **_bill(question, choice.compute),
        "outside": outside or None,
    }


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
        return [Teacher(str(row["name"]), float(row["N"]), float(row["loss"])) for row in rows]
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise UserError(
            f"{path}: expected a .csv with the columns name, N (parameters) and loss: {error}"
        ) from None

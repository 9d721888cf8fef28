"""The verb `plan --law`: which teacher, how many tokens, or no teacher at all."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from distil_jax.errors import UserError
from distil_jax.pipeline.law_plan_rows import Row, break_even_row, empty_row, ranked_rows, row_of
from distil_jax.pipeline.law_question import Question
from distil_jax.run import check_writable
from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import SCENARIOS, Flops, Scenario, shared_by
from distil_jax.scaling.break_even import break_evens
from distil_jax.scaling.charts import plans
from distil_jax.scaling.fitted import read_fitted
from distil_jax.scaling.language_models import twice_size
from distil_jax.scaling.next_runs import next_runs
from distil_jax.scaling.planner import Choice, Planner
from distil_jax.scaling.questions import Unreachable, chosen, compute_for, pays_from

PUBLISHED = "apple"


def plan_by_law(law: str, question: Question) -> dict[str, Any]:
    """law: a file of `distil-jax fit --law distillation`, or the name of published coefficients.

    Raises UserError where the answer would lie outside of what the law's runs span, unless the
    question says to extrapolate.
    """
    if question.plots is not None:
        check_writable(question.plots / "scenarios.png")
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
        found["teachers"] = ranked_rows(believed, planner, question)
    if question.compute is not None and rows[0]["loss"] is not None:
        found["pays_from_students"] = _pays_from(believed, planner, question)
    if question.next_runs is not None:
        found |= _next_runs(believed, open_, question)
    if question.plots is not None:
        plans.write_charts(believed, planner, open_[0], question.plots)
    turns = break_evens(believed, planner, question.size, question.extrapolate)
    return {**found, "break_even": [break_even_row(each) for each in turns]}


def _counted(believed: Believed, question: Question) -> tuple[Flops, str]:
    """A token's operations by size, and in words of which models."""
    if question.flops == "2n":
        return twice_size, "2 N of a token's forward pass"
    shape = question.shape(believed.shape)
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


def _pays_from(believed: Believed, planner: Planner, question: Question) -> int | None:
    """None, too, where only students that nobody measured would be better than without."""
    assert question.compute is not None
    count = pays_from(planner, question.compute, question.size)
    if count is None or question.extrapolate:
        return count
    choice = planner.best(question.compute, question.size, shared_by(count))
    return None if believed.outside(choice) else count


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
        return choice, row_of(believed, planner, question, choice)
    assert question.loss is not None
    try:
        choice = compute_for(planner, question.loss, question.size, scenario)
    except Unreachable as error:
        choice = error.nearest
        if math.isfinite(choice.loss):
            outside = "" if question.extrapolate else believed.outside(choice)
            why = f"{error}; and that is outside: {outside}" if outside else str(error)
            return choice, empty_row(choice, why)
    return choice, row_of(believed, planner, question, choice)

"""Charts of plans by a law: what a budget buys, and how to spend it."""

from pathlib import Path

from distil_jax.scaling.believed import Believed
from distil_jax.scaling.charts.budgets import write_allocation, write_optima, write_scenarios
from distil_jax.scaling.charts.teachers import write_gain, write_teachers
from distil_jax.scaling.planner import Choice, Planner

CAPTIONS = {
    "scenarios": "Loss by compute, by who pays for the teacher; dashed: the plan in the middle; "
    "dotted, and shaded if all are: "
    "beyond the law's runs, or more than can be spent within the limits",
    "teachers": "The student's loss by its teacher's; dotted, shaded: beyond the law's runs",
    "gain": "What the best teacher gains, if it is free; white: nothing; hatched: beyond the runs",
    "allocation": "How the best plan that pays for its teacher divides the budget; hatched: beyond "
    "the law's runs, or more than can be spent within the limits",
    "optima": "The best plan by compute; bands: 90 % of the bootstrap's draws; dotted, and shaded "
    "if all are: beyond the law's runs, or more than can be spent within the limits",
}


def write_charts(believed: Believed, planner: Planner, some: Choice, folder: Path) -> None:
    """Of plans by a planner with the coefficients of `believed`, around one of them, by the names
    of CAPTIONS."""
    size, compute, tokens = some.size, some.compute, some.tokens
    write_scenarios(believed, planner, size, compute, folder / "scenarios.png")
    write_teachers(believed, planner, size, tokens, folder / "teachers.png")
    write_gain(believed, planner, size, tokens, folder / "gain.png")
    write_allocation(believed, planner, size, compute, folder / "allocation.png")
    write_optima(believed, planner, size, compute, folder / "optima.png")

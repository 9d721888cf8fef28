"""Charts of plans over compute: what each budget buys, and how to spend it."""

from pathlib import Path

import numpy as np

from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import BOTH, INFERENCE, PRETRAINING, SCENARIOS, Scenario
from distil_jax.scaling.charts.figure import (
    BLUE,
    COLOURS,
    INK,
    LOSS,
    ORANGE,
    draw_line,
    figure,
    shade_unreached,
)
from distil_jax.scaling.planner import Choice, Planner

_MANY, _FEW = 49, 13  # budgets of a chart
_SPENT = 0.999  # a share of the budget: less, and the limits leave the plan nothing more to buy
_OPTIMA = {
    "teacher_size": "teacher's parameters",
    "teacher_tokens": "teacher's tokens",
    "tokens": "student's tokens",
}


def _budgets(around: float, count: int) -> np.ndarray:
    """Two decades to each side."""
    return np.geomspace(around / 100, around * 100, count)


def reached_by(believed: Believed, choices: list[Choice], budgets: np.ndarray) -> np.ndarray:
    """Of which of them the law's runs tell, and whether all of the budget is spent there."""
    return np.array(
        [
            bool(np.isfinite(choice.loss))
            and choice.compute >= _SPENT * budget
            and not believed.outside(choice)
            for choice, budget in zip(choices, budgets, strict=True)
        ]
    )


def write_scenarios(
    believed: Believed, planner: Planner, size: float, around: float, path: Path
) -> None:
    """The loss of a student of `size` against compute."""
    budgets, any_reached = _budgets(around, _MANY), np.zeros(_MANY, bool)
    with figure(path, (7, 4)) as drawn:
        axes = drawn.add_subplot()
        for scenario, colour in zip((None, *SCENARIOS), COLOURS, strict=False):
            choices = [planner.sketch(budget, size, scenario) for budget in budgets]
            losses = np.array([choice.loss for choice in choices])
            losses = np.where(np.isfinite(losses), losses, np.nan)
            reached = reached_by(believed, choices, budgets)
            any_reached |= reached
            name = scenario.name if scenario else "supervised"
            draw_line(axes, budgets, losses, reached, colour, name)
        axes.axvline(around, color=INK, linestyle="--", linewidth=0.8)
        axes.set(xlabel="operations", ylabel=f"{LOSS}, of {size:.3g} parameters", xscale="log")
        shade_unreached(axes, budgets, any_reached)
        axes.legend(frameon=False, labelcolor=INK)


def write_allocation(
    believed: Believed, planner: Planner, size: float, around: float, path: Path
) -> None:
    """How the best plan that pays for its teacher divides a budget; nothing where there is none."""
    budgets = _budgets(around, _MANY)
    choices = [planner.best(budget, size, BOTH) for budget in budgets]
    sound = np.isfinite([choice.loss for choice in choices])
    if not sound.any():
        return
    parts = np.array([_parts(planner, choice) for choice in choices])[sound].T
    with figure(path, (7, 4)) as drawn:
        axes = drawn.add_subplot()
        axes.stackplot(
            budgets[sound],
            100 * parts / parts.sum(axis=0),
            labels=("student", "teacher's logits", "teacher's training"),
            colors=(BLUE, ORANGE, INK),
        )
        axes.set(xlabel="operations", ylabel="% of them", xscale="log", ylim=(0, 100))
        reached = reached_by(believed, choices, budgets)
        shade_unreached(axes, budgets, reached, fill=False, hatch="///", ec="#bbbbbb", lw=0)
        axes.legend(loc="upper left", labelcolor=INK, framealpha=1)


def _parts(planner: Planner, choice: Choice) -> tuple[float, float, float]:
    """Operations of the student's training, the teacher's logits, the teacher's training."""
    assert choice.teacher_size is not None
    teacher = planner.flops(choice.teacher_size)
    learnt = choice.teacher_tokens or 0.0
    own = 3 * planner.flops(choice.size) * choice.tokens
    return own, teacher * choice.tokens, 3 * teacher * learnt


def write_optima(
    believed: Believed, planner: Planner, size: float, around: float, path: Path
) -> None:
    """The best teacher's size and tokens, and the student's tokens, against compute."""
    budgets, drawn = _budgets(around, _FEW), believed.drawn_planners(planner)
    any_reached = np.zeros(_FEW, bool)
    with figure(path, (10, 3.4)) as page:
        panels = page.subplots(1, len(_OPTIMA))
        for scenario, colour in zip((INFERENCE, PRETRAINING, BOTH), COLOURS, strict=False):
            choices = _best(planner, budgets, size, scenario)
            reached = reached_by(believed, choices, budgets)
            any_reached |= reached
            others = [_optima(_best(each, budgets, size, scenario)) for each in drawn]
            for number, axes in enumerate(panels):
                line = _optima(choices)[number]
                draw_line(axes, budgets, line, reached, colour, scenario.name)
                if others:
                    low, high = _band(np.array(others)[:, number])
                    axes.fill_between(budgets, low, high, color=colour, alpha=0.15, lw=0)
        for axes, title in zip(panels, _OPTIMA.values(), strict=True):
            axes.set(xlabel="operations", title=title, xscale="log", yscale="log")
            shade_unreached(axes, budgets, any_reached)
        panels[0].legend(frameon=False, labelcolor=INK, fontsize=7)


def _best(planner: Planner, budgets: np.ndarray, size: float, scenario: Scenario) -> list[Choice]:
    return [planner.best(budget, size, scenario) for budget in budgets]


def _optima(choices: list[Choice]) -> np.ndarray:
    """[optima, budgets]; nan where there is no plan."""
    rows = [[getattr(each, name) for name in _OPTIMA] for each in choices]
    sound = np.isfinite([choice.loss for choice in choices])
    return np.where(sound, np.array(rows, float).T, np.nan)


def _band(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What 90 % of draws [b, n] lie in; nan where most of them have no plan."""
    missing = np.isnan(drawn).mean(axis=0) > 0.5
    low, high = np.nanquantile(np.where(missing, 0.0, drawn), (0.05, 0.95), axis=0)
    return np.where(missing, np.nan, low), np.where(missing, np.nan, high)

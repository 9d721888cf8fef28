"""Charts of plans by a law: what a budget buys, and how to spend it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distil_jax.scaling.bill import BOTH, INFERENCE, PRETRAINING, SCENARIOS, Scenario
from distil_jax.scaling.charts.figure import BLUE, COLOURS, INK, ORANGE, figure
from distil_jax.scaling.planner import Choice, Planner

_BUDGETS = 13  # of a chart over compute


CAPTIONS = {
    "scenarios": "Loss by compute, by who pays for the teacher",
    "teachers": "The student's loss by its teacher's",
    "gain": "What the best teacher gains, if it is free; white: nothing",
    "allocation": "How the best plan that pays for its teacher divides the budget",
    "optima": "The best plan by compute; bands: 90 % of the bootstrap's draws",
}


def write_charts(
    planner: Planner, some: Choice, folder: Path, drawn: Sequence[Planner] = ()
) -> None:
    """Of plans around one of them, by the names of CAPTIONS. drawn: by other draws of the runs."""
    size, compute, tokens = some.size, some.compute, some.tokens
    write_scenarios(planner, size, compute, folder / "scenarios.png")
    write_teachers(planner, size, tokens, folder / "teachers.png")
    write_gain(planner, size, tokens, folder / "gain.png")
    write_allocation(planner, size, compute, folder / "allocation.png")
    write_optima(planner, size, compute, folder / "optima.png", drawn)


def write_scenarios(planner: Planner, size: float, around: float, path: Path) -> None:
    """The loss of a student of `size` against compute, two decades to each side of `around`."""
    budgets = np.geomspace(around / 100, around * 100, 25)
    with figure(path, (7, 4)) as drawn:
        axes = drawn.add_subplot()
        for scenario, colour in zip((None, *SCENARIOS), COLOURS, strict=False):
            losses = np.array([planner.best_loss(budget, size, scenario) for budget in budgets])
            name = scenario.name if scenario else "supervised"
            losses = np.where(np.isfinite(losses), losses, np.nan)
            axes.plot(budgets, losses, color=colour, linewidth=1.4, label=name)
        axes.axvline(around, color=INK, linestyle=":", linewidth=0.8)
        axes.set(xlabel="operations", ylabel=f"loss of {size:.3g} parameters", xscale="log")
        axes.legend(frameon=False, labelcolor=INK)


def write_teachers(planner: Planner, size: float, tokens: float, path: Path) -> None:
    """The student's loss against its teacher's, with the best one, for three numbers of tokens."""
    with figure(path, (7, 4)) as drawn:
        axes = drawn.add_subplot()
        for times, colour in zip((0.1, 1, 10), (ORANGE, BLUE, INK), strict=True):
            loss, best = planner.best_teacher(size, times * tokens)
            heard = np.linspace(0.8 * best, 1.6 * best, 200)
            reached = planner.student_loss(size, times * tokens, heard)
            axes.plot(heard, reached, color=colour, linewidth=1.4, label=f"{times * tokens:.2g}")
            axes.plot(best, loss, "o", color=colour, markersize=5)
            alone = float(planner.supervised_loss(size, times * tokens))
            axes.axhline(alone, color=colour, linestyle=":", linewidth=0.8)
        axes.set(xlabel="teacher's loss", ylabel=f"loss of {size:.3g} parameters")
        axes.legend(frameon=False, labelcolor=INK, title="tokens (dotted: no teacher)")


def write_gain(planner: Planner, size: float, tokens: float, path: Path) -> None:
    """What the best teacher, free of charge, takes off the loss of students of a decade to each
    side of `size` and of `tokens`; beyond the line of zero none helps."""
    sizes, counts = (np.geomspace(middle / 10, middle * 10, 60) for middle in (size, tokens))
    across, up = np.meshgrid(sizes, counts)
    lowest = max(planner.limits.teacher_loss, 1.001 * planner.supervised["E"])
    lowest = lowest or 0.2 * float(planner.supervised_loss(size, tokens))  # a fit may have no E
    heard = np.geomspace(lowest, 20 * lowest, 300)
    taught = planner.student_loss(across[..., None], up[..., None], heard).min(axis=-1)
    gain = planner.supervised_loss(across, up) - taught
    with figure(path, (7, 4.4)) as drawn:
        axes = drawn.add_subplot()
        filled = axes.contourf(sizes, counts, gain, levels=12, cmap="viridis")
        if gain.min() < 0 < gain.max():
            axes.contour(sizes, counts, gain, levels=[0.0], colors="white")
        axes.plot(size, tokens, "o", color=ORANGE, markersize=5)
        axes.set(xlabel="student's parameters", ylabel="student's tokens", xscale="log")
        axes.set_yscale("log")
        drawn.colorbar(filled, label="nats a token less than alone")


def _best(planner: Planner, size: float, around: float, scenario: Scenario) -> list[Choice]:
    """The best plans for budgets of two decades to each side."""
    budgets = np.geomspace(around / 100, around * 100, _BUDGETS)
    found = [planner.best(budget, size, scenario) for budget in budgets]
    return [choice for choice in found if np.isfinite(choice.loss)]


def write_allocation(planner: Planner, size: float, around: float, path: Path) -> None:
    """How the best plan that pays for its teacher divides a budget; nothing where there is none."""
    choices = _best(planner, size, around, BOTH)
    if not choices:
        return
    parts = np.array([_parts(planner, choice) for choice in choices]).T
    with figure(path, (7, 4)) as drawn:
        axes = drawn.add_subplot()
        axes.stackplot(
            [choice.compute for choice in choices],
            100 * parts / parts.sum(axis=0),
            labels=("student", "teacher's logits", "teacher's training"),
            colors=(BLUE, ORANGE, INK),
        )
        axes.set(xlabel="operations", ylabel="% of them", xscale="log", ylim=(0, 100))
        axes.legend(loc="upper left", labelcolor=INK)


def _parts(planner: Planner, choice: Choice) -> tuple[float, float, float]:
    """Operations of the student's training, the teacher's logits, the teacher's training."""
    assert choice.teacher_size is not None
    teacher = planner.flops(choice.teacher_size)
    learnt = choice.teacher_tokens or 0.0
    own = 3 * planner.flops(choice.size) * choice.tokens
    return own, teacher * choice.tokens, 3 * teacher * learnt


def write_optima(
    planner: Planner, size: float, around: float, path: Path, drawn: Sequence[Planner] = ()
) -> None:
    """The best teacher's size and tokens, and the student's tokens, against compute."""
    titles = {
        "teacher_size": "teacher's parameters",
        "teacher_tokens": "teacher's tokens",
        "tokens": "student's tokens",
    }
    budgets = np.geomspace(around / 100, around * 100, _BUDGETS)

    def best(planner: Planner, scenario: Scenario) -> np.ndarray:
        """[titles, budgets]; nan where there is no plan."""
        choices = [planner.best(budget, size, scenario) for budget in budgets]
        rows = [[getattr(each, name) for name in titles] for each in choices]
        sound = np.isfinite([choice.loss for choice in choices])
        return np.where(sound, np.array(rows, float).T, np.nan)

    with figure(path, (10, 3.4)) as page:
        panels = page.subplots(1, len(titles))
        for scenario, colour in zip((INFERENCE, PRETRAINING, BOTH), COLOURS, strict=False):
            lines = best(planner, scenario)
            others = np.array([best(each, scenario) for each in drawn])
            for number, axes in enumerate(panels):
                axes.plot(budgets, lines[number], color=colour, lw=1.4, label=scenario.name)
                if len(others):
                    low, high = _band(others[:, number])
                    axes.fill_between(budgets, low, high, color=colour, alpha=0.15, lw=0)
        for axes, title in zip(panels, titles.values(), strict=True):
            axes.set(xlabel="operations", title=title, xscale="log", yscale="log")
        panels[0].legend(frameon=False, labelcolor=INK, fontsize=7)


def _band(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What 90 % of draws [b, n] lie in; nan where most of them have no plan."""
    missing = np.isnan(drawn).mean(axis=0) > 0.5
    low, high = np.nanquantile(np.where(missing, 0.0, drawn), (0.05, 0.95), axis=0)
    return np.where(missing, np.nan, low), np.where(missing, np.nan, high)

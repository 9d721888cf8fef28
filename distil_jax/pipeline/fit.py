"""The verb `fit`: tables of runs in, a fitted law out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distil_jax.errors import UserError
from distil_jax.progress import progress
from distil_jax.scaling.charts import fits
from distil_jax.scaling.fitted import FittedLaw
from distil_jax.scaling.fitting import held_out
from distil_jax.scaling.fitting.bootstrap import bootstrap, bootstrap_both
from distil_jax.scaling.fitting.checks import check_runs, outliers
from distil_jax.scaling.fitting.fit import Fit, fit
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.fitting.table import Table, read_tables
from distil_jax.scaling.language_models import Shape
from distil_jax.scaling.laws import DISTILLATION, GAMMA, Law, law_named
from distil_jax.scaling.laws.distillation import SUPERVISED_LOSS, TEACHER_LOSS

_HELD_OUT_DRAWS = 200
_MOST_SHOWN = 10
_FEWEST_CLUSTERS = 5
_NEAR = 1e-5  # of the way between a coefficient's bounds: so close to one, it is at it

Done = Callable[[], None]


@dataclass(frozen=True)
class FitOptions:
    """loss: what is minimised. starts: of the law's grid, drawn at random. draws: of the
    bootstrap. supervised: the name of the law of runs without a teacher, where that of a student is
    fitted. held_out: whether runs that were held out are predicted, too. plots: a folder for
    charts."""

    loss: FitLoss
    starts: int
    draws: int
    held_out: bool
    supervised: str = GAMMA.name
    plots: Path | None = None
    seed: int = 0


def fit_law(
    paths: Sequence[Path], law: str, columns: Mapping[str, str], options: FitOptions, output: Path
) -> dict[str, Any]:
    """Fit `law` to the runs in the files and write it to `output`; the result, to be printed.

    columns: what the files call a column that has another name here.
    """
    chosen, table = law_named(law), read_tables(paths, columns)
    work = _fit_both if chosen is DISTILLATION else _fit_one
    with progress(total=3, description=f"fit {law}", unit="parts") as bar:
        found = work(chosen, table, options, lambda: bar.advance(1))
    found.write(output)
    if options.plots is not None:
        fits.write_charts(found, options.plots)
        if found.supervised:
            fits.write_charts(found.supervised, options.plots / "supervised")
    return {**described(found), "fit": str(output)}


def _fit_one(law: Law, table: Table, options: FitOptions, done: Done) -> FittedLaw:
    alone = table.where(np.isnan(table.numbers[TEACHER_LOSS]))
    runs = _runs(alone, law.inputs, "without a teacher")
    found = _search(law, runs, options, done)
    sampled = bootstrap(found, options.draws, options.seed)
    done()
    tested = _tested(found, options, alone.words["teacher"])
    done()
    taught = len(table.rows) - len(alone.rows)
    left_out = [f"{taught} runs with a teacher_loss left out"] if taught else []
    notes = [*table.notes, *left_out, *_notes(found, alone)]
    shape = Shape.of_runs(alone.numbers)
    return FittedLaw.of(sampled, held_out=tested, notes=notes, shape=shape)


def _fit_both(law: Law, table: Table, options: FitOptions, done: Done) -> FittedLaw:
    """Of the runs with a teacher; the law of those without one comes first."""
    alone_law = law_named(options.supervised)
    if alone_law.inputs != GAMMA.inputs:
        raise UserError(
            f"--supervised {alone_law.name}: got a law of {', '.join(alone_law.inputs)}, expected "
            f"one of {', '.join(GAMMA.inputs)}"
        )
    taught = np.isfinite(table.numbers[TEACHER_LOSS])
    of_teachers = table.where(taught)
    students = _runs(of_teachers, ("N", "D", TEACHER_LOSS), "with a teacher_loss")
    alone = _runs(table.where(~taught), alone_law.inputs, "without a teacher")
    supervised = fit(alone_law, alone, options.loss, options.starts, options.seed)
    said = supervised.predict(students.columns)
    found = _search(law, students.with_column(SUPERVISED_LOSS, said), options, done)
    first, second = bootstrap_both(supervised, found, options.draws, options.seed)
    done()
    told_alone, tested = _both_tested(supervised, found, options, of_teachers.words["teacher"])
    done()
    return FittedLaw.of(
        second,
        held_out=tested,
        notes=[*table.notes, *_notes(found, of_teachers)],
        shape=Shape.of_runs(table.numbers),
        supervised=FittedLaw.of(
            first, held_out=told_alone, notes=_notes(supervised, table.where(~taught))
        ),
    )


def _search(law: Law, runs: Runs, options: FitOptions, done: Done) -> Fit:
    found = fit(law, runs, options.loss, options.starts, options.seed)
    done()
    return found


def _runs(table: Table, inputs: Sequence[str], which: str) -> Runs:
    """Raises UserError where there is none."""
    if not len(table.rows):
        raise UserError(
            f"got no run {which}, which this law is fitted to: "
            f"{'; '.join(table.notes) or 'the tables have none, and no run was left out'}. If the "
            f"tables call the loss of the teachers otherwise, or the names of runs that were "
            f"teachers, say so: --column teacher_loss=..., or --column run=... --column teacher=..."
        )
    weights, teachers = table.numbers["weight"], table.words["teacher"]
    return Runs.of(
        {name: table.numbers[name] for name in inputs},
        table.numbers["loss"],
        np.where(np.isnan(weights), 1.0, weights),
        np.array(teachers, str) if _clustered(teachers) else None,
    )


def _clustered(teachers: np.ndarray) -> bool:
    """Whether runs are drawn teacher by teacher: all are named, and there are some of them."""
    return None not in teachers.tolist() and len(set(teachers)) >= _FEWEST_CLUSTERS


def _notes(found: Fit, table: Table) -> list[str]:
    """For a user: what to know of the runs and of how the law fits them."""
    told = check_runs(found.runs)
    teachers = table.words["teacher"]
    if any(teachers) and not _clustered(teachers):
        told.append(
            f"runs are drawn one by one, not by their teacher: that would take at least "
            f"{_FEWEST_CLUSTERS} teachers, and a name for each run's"
        )
    far = outliers(found)
    if len(far):
        told.append(
            f"{len(far)} runs lie far from the law, more than 6 robust standard deviations "
            f"({table.where(far).places(_MOST_SHOWN)}): look at them before trusting it"
        )
    told += _at_bounds(found)
    if found.reached == 1:
        told.append("a single search ended at the best optimum: take more --starts")
    return told


def _at_bounds(found: Fit) -> list[str]:
    """Which coefficients would have gone on, had the search let them."""
    (low, high), told = found.law.bounds(), []
    near = _NEAR * (high - low)
    for number, each in enumerate(found.law.coefficients):
        for end, bound in ((low, each.low), (high, each.high)):
            if abs(found.point[number] - end[number]) <= near[number]:
                told.append(
                    f"{each.name} ended at the bound {bound:.4g} of the search: the runs do not "
                    f"tell it"
                )
    return told


def _tested(found: Fit, options: FitOptions, teachers: np.ndarray) -> list[held_out.HeldOut]:
    if not options.held_out:
        return []
    splits = _splits(found.runs.columns, found.runs.loss, _together(teachers))
    return held_out.held_out(found.law, found.runs, splits, *_how(options))


def _both_tested(
    supervised: Fit, found: Fit, options: FitOptions, teachers: np.ndarray
) -> tuple[list[held_out.HeldOut], list[held_out.HeldOut]]:
    """What is held out is taken from the runs of both laws: neither sees it."""
    if not options.held_out:
        return [], []
    alone, students = supervised.runs, found.runs
    columns = {n: np.concatenate([alone.columns[n], students.columns[n]]) for n in ("N", "D")}
    named = np.concatenate([np.full(len(alone.loss), ""), _together(teachers)])
    splits = _splits(columns, np.concatenate([alone.loss, students.loss]), named)
    return held_out.held_out_of_both(supervised.law, alone, students, splits, *_how(options))


def _together(teachers: np.ndarray) -> np.ndarray:
    """Of each run, the teacher with whose others it is held out; "" where that is not known."""
    return teachers.astype(str) if _clustered(teachers) else np.full(len(teachers), "")


def _how(options: FitOptions) -> tuple[FitLoss, int, int]:
    return options.loss, options.starts, min(options.draws, _HELD_OUT_DRAWS)


def _splits(
    columns: Mapping[str, np.ndarray], loss: np.ndarray, teachers: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Weaker runs to predict stronger ones; and where teachers are named, each of them once."""
    size, tokens = columns["N"], columns["D"]
    yield from held_out.rollouts("compute", size * tokens)
    yield from held_out.rollouts("size", size, (0.8,))
    yield from held_out.rollouts("data", tokens, (0.8,))
    yield from held_out.weak_to_strong(loss)
    yield from held_out.leave_one_out("teacher", teachers)


def described(found: FittedLaw) -> dict[str, Any]:
    """What a user is shown of a fitted law: without draws and residuals.

    Of coefficients that the runs do not tell, without the bootstrap's interval: it comes out narrow
    where the search stays near one of many values that fit as well.
    """
    shown = {
        "law": found.law,
        "runs": found.runs,
        "coefficients": [
            {
                "name": name,
                "value": each.value,
                "low": each.interval[0] if each.interval and each.told else None,
                "high": each.interval[1] if each.interval and each.told else None,
                "profile_low": each.profile[0],
                "profile_high": each.profile[1],
                "told": each.told,
            }
            for name, each in found.coefficients.items()
        ],
        "search": found.search.model_dump(),
        "criteria": asdict(found.criteria),
        "held_out": [_summary(each) for each in found.held_out],
        "notes": [*found.notes, *_untold(found)],
    }
    return {**shown, "supervised": described(found.supervised)} if found.supervised else shown


def _summary(each: held_out.HeldOut) -> dict[str, Any]:
    """Without the single runs."""
    single = ("observed", "predicted", "intervals", "fitted_losses")
    return {name: value for name, value in vars(each).items() if name not in single}


def _untold(found: FittedLaw) -> list[str]:
    names = [name for name, each in found.coefficients.items() if not each.told]
    if not names:
        return []
    return [
        f"the runs do not tell {', '.join(names)}: other values fit as well. Trust what the law "
        f"predicts within the runs' range, not these numbers"
    ]

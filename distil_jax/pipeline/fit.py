"""The verb `fit`: tables of runs in, a fitted law out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distil_jax.compile_cache import keep_compiled_programs
from distil_jax.errors import UserError
from distil_jax.pipeline.fit_options import FitOptions
from distil_jax.pipeline.fit_tested import both_tested, tested
from distil_jax.pipeline.fit_told import described, notes_on
from distil_jax.progress import progress
from distil_jax.run import check_writable
from distil_jax.scaling.charts import fits
from distil_jax.scaling.compared import compared
from distil_jax.scaling.fitted import FittedLaw
from distil_jax.scaling.fitting.bootstrap import bootstrap, bootstrap_both
from distil_jax.scaling.fitting.fit import Fit, fit
from distil_jax.scaling.fitting.reading import read_tables
from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.fitting.table import Table
from distil_jax.scaling.fitting.teachers import is_clustered
from distil_jax.scaling.language_models import Shape
from distil_jax.scaling.laws import DISTILLATION, GAMMA, Law, law_named
from distil_jax.scaling.laws.distillation import SUPERVISED_LOSS, TEACHER_LOSS

Done = Callable[[], None]


def fit_laws(
    paths: Sequence[Path],
    laws: Sequence[str],
    columns: Mapping[str, str],
    options: FitOptions,
    output: Path,
) -> dict[str, Any]:
    """Fit laws to the runs in the files and write the best to `output`; the result, to be printed.

    columns: what the files call a column that has another name here.
    """
    chosen = [law_named(name) for name in dict.fromkeys(laws)]
    if DISTILLATION in chosen and len(chosen) > 1:
        raise UserError(
            "--law distillation is fitted to students and compares with no other law; expected it "
            "alone, or several laws of runs without a teacher"
        )
    check_writable(output)
    if options.plots is not None:
        check_writable(options.plots / "fit.png")
    table = read_tables(paths, columns, _columns_of(chosen))
    keep_compiled_programs()
    fitted = [_fitted(law, table, options) for law in chosen]
    standings = compared(fitted) if len(fitted) > 1 else []
    found = next(each for each in fitted if not standings or each.law == standings[0].law)
    others = [
        f"{each.law}: {note}" for each in fitted for note in each.notes if note not in found.notes
    ]
    found = found.model_copy(update={"compared": standings, "notes": [*found.notes, *others]})
    found.write(output)
    if options.plots is not None:
        fits.write_charts(found, options.plots)
        if found.supervised:
            fits.write_charts(found.supervised, options.plots / "supervised")
    return {**described(found), "fit": str(output)}


def _columns_of(laws: Sequence[Law]) -> list[str]:
    """What runs must say for all of them: laws are compared on the same runs.

    Raises UserError for a law that none of this can be fitted to.
    """
    inputs = dict.fromkeys(name for law in laws for name in law.inputs)
    if DISTILLATION in laws:
        # The law of runs alone says the supervised loss; who has no teacher has no teacher's loss.
        return [name for name in inputs if name not in (TEACHER_LOSS, SUPERVISED_LOSS)]
    if TEACHER_LOSS in inputs:
        raise UserError(
            f"a law of {TEACHER_LOSS}: got one of your own, but runs with a teacher are fitted by "
            f"{DISTILLATION.name!r} alone"
        )
    return list(inputs)


def _fitted(law: Law, table: Table, options: FitOptions) -> FittedLaw:
    work = _fit_both if law is DISTILLATION else _fit_one
    with progress(total=3, description=f"fit {law.name}", unit="parts") as bar:
        return work(law, table, options, lambda: bar.advance(1))


def _fit_one(law: Law, table: Table, options: FitOptions, done: Done) -> FittedLaw:
    alone = table.where(np.isnan(table.numbers[TEACHER_LOSS]))
    runs = _runs(alone, law.inputs, "without a teacher")
    found = _search(law, runs, options, done)
    sampled = bootstrap(found, options.draws, options.seed)
    done()
    foreseen = tested(found, options, alone.words["teacher"])
    done()
    taught = len(table.rows) - len(alone.rows)
    left_out = [f"{taught} runs with a teacher_loss left out"] if taught else []
    notes = [*table.notes, *left_out, *notes_on(found, alone)]
    shape = Shape.of_runs(alone.numbers)
    return FittedLaw.of(sampled, held_out=foreseen, notes=notes, shape=shape)


def _fit_both(law: Law, table: Table, options: FitOptions, done: Done) -> FittedLaw:
    """Of the runs with a teacher; the law of those without one comes first."""
    alone_law = law_named(options.supervised)
    if alone_law.inputs != GAMMA.inputs:
        raise UserError(
            f"--supervised {alone_law.name}: got a law of {', '.join(alone_law.inputs)}, expected "
            f"one of {', '.join(GAMMA.inputs)}"
        )
    taught = np.isfinite(table.numbers[TEACHER_LOSS])
    of_teachers, of_none = table.where(taught), table.where(~taught)
    students = _runs(of_teachers, ("N", "D", TEACHER_LOSS), "with a teacher_loss")
    alone = _runs(of_none, alone_law.inputs, "without a teacher")
    supervised = fit(alone_law, alone, options.loss, options.starts, options.seed)
    said = supervised.predict(students.columns)
    found = _search(law, students.with_column(SUPERVISED_LOSS, said), options, done)
    first, second = bootstrap_both(supervised, found, options.draws, options.seed)
    done()
    alone_foreseen, foreseen = both_tested(supervised, found, options, of_teachers.words["teacher"])
    done()
    return FittedLaw.of(
        second,
        held_out=foreseen,
        notes=[*table.notes, *notes_on(found, of_teachers)],
        shape=Shape.of_runs(table.numbers),
        supervised=FittedLaw.of(
            first, held_out=alone_foreseen, notes=notes_on(supervised, of_none)
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
        np.array(teachers, str) if is_clustered(teachers) else None,
    )

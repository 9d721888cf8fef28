"""Fitting scaling laws: ours against SciPy's L-BFGS-B from the same starts, in float64.

    python -m tests.benchmarks.law_fit [--work grid] [--runs FILE.csv] [--rounds 3]
    python -m tests.benchmarks.law_fit --work bootstrap
    python -m tests.benchmarks.law_fit --work distillation

grid: the Chinchilla law from all of its 4,500 starts, Huber's loss of 1e-3. bootstrap: 1,000 draws
of the same runs, each from the optima that rival; compared is the spread of alpha. distillation:
697 runs, 64 starts, 1e-4. Runs are made up (tests/made_up_runs.py) unless --runs names a table of
N, D, loss.

The same in all: runs, starts, loss, which jax has compiled. SciPy is given its compiled gradient,
or, in a contender of its own, takes differences, as it does when called without one. It gets the
loss divided by delta squared, without which it stops early. It searches only --peer-starts of the
starts (or draws) and its time is counted up to all of them: it takes them one by one. Compiling is
not timed. What each found is compared: at the same starts SciPy may end in more places than one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import figures, harness
from tests.benchmarks.harness import Contender

OURS, SCIPY, DIFFERENCES = "ours", "SciPy L-BFGS-B", "SciPy L-BFGS-B, by differences"
ALL = {"grid": 4500, "bootstrap": 1000, "distillation": 64}
Run = Callable[[], float]


def problem(work: str, path: str | None) -> Any:
    """(law, runs, loss, starts [k, p])."""
    import numpy as np

    from distil_jax.scaling.fitting.loss import FitLoss
    from distil_jax.scaling.fitting.reading import read_tables
    from distil_jax.scaling.fitting.runs import Runs
    from distil_jax.scaling.laws import CHINCHILLA, DISTILLATION
    from distil_jax.scaling.laws.published import BESIROGLU
    from tests.made_up_runs import distillation_runs, noisy, supervised_runs

    if work == "distillation":
        starts = DISTILLATION.starts(ALL[work])
        return DISTILLATION, distillation_runs()[0], FitLoss(delta=1e-4), starts
    if path is not None:
        table = read_tables([Path(path)], {})
        runs = Runs.of({name: table.numbers[name] for name in "ND"}, table.numbers["loss"])
    else:
        columns = supervised_runs()[0].columns
        runs = Runs.of(columns, noisy(CHINCHILLA.predict(BESIROGLU, **columns), 0))
    order = np.random.default_rng(0).permutation(ALL["grid"])
    return CHINCHILLA, runs, FitLoss(), CHINCHILLA.starts()[order]


def ours(work: str, path: str | None) -> Run:
    from distil_jax.scaling.fitting.bootstrap import bootstrap
    from distil_jax.scaling.fitting.fit import fit

    law, runs, loss, starts = problem(work, path)
    fitted = fit(law, runs, loss, most_starts=ALL["distillation"])
    if work == "bootstrap":
        return lambda: float(bootstrap(fitted, ALL[work]).coefficient("alpha").std())
    return lambda: fit(law, runs, loss, most_starts=len(starts)).objective


def scipy(work: str, path: str | None, count: int, differences: bool) -> Run:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from scipy.optimize import minimize

    from distil_jax.scaling.fitting.bootstrap import rivals
    from distil_jax.scaling.fitting.fit import fit

    jax.config.update("jax_enable_x64", True)
    law, runs, loss, starts = problem(work, path)
    columns = {name: jnp.asarray(runs.columns[name]) for name in law.inputs}
    observed, low, high = jnp.log(jnp.asarray(runs.loss)), *law.bounds()

    @jax.jit
    def total(point: Any, weights: Any) -> Any:
        residuals = law.log_loss(law.values(point), columns) - observed
        return jnp.sum(weights * loss.scaled(residuals)[0]) / loss.width

    total_and_gradient = jax.jit(jax.value_and_grad(total))

    def search(start: Any, weights: Any) -> Any:
        def value(point: Any) -> Any:
            if differences:
                return float(total(point, weights))
            found, slope = total_and_gradient(point, weights)
            return float(found), np.asarray(slope)

        bounds = list(zip(low, high, strict=True))
        begin = np.clip(start, low, high)
        # Of the distillation law its usual patience ends far above the least objective.
        patience = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 100_000, "maxfun": 1_000_000}
        options = patience if work == "distillation" else {}
        given = not differences
        return minimize(value, begin, jac=given, method="L-BFGS-B", bounds=bounds, options=options)

    ones = jnp.ones(len(runs.loss))
    if work == "bootstrap":
        optima = rivals(fit(law, runs, loss, most_starts=ALL["distillation"]))
        weights = runs.resampled_weights(count, np.random.default_rng(0))
        alpha = law.names.index("alpha")

        def best(draw: Any) -> Any:
            return min((search(each, draw) for each in optima), key=lambda found: found.fun)

        return lambda: float(np.std([best(jnp.asarray(w)).x[alpha] for w in weights]))
    return lambda: min(search(start, ones).fun for start in starts[:count]) * loss.width**2


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--work", choices=ALL, default="grid")
    parser.add_argument("--runs", help="a table of N, D, loss; without it, made-up runs")
    parser.add_argument("--peer-starts", type=int, default=32, help="that SciPy searches")
    options = parser.parse_args()
    machine = figures.machine(options.cores)
    count = min(options.peer_starts, ALL[options.work])
    contenders = [
        Contender(OURS, ours, (options.work, options.runs)),
        Contender(SCIPY, scipy, (options.work, options.runs, count, False)),
        Contender(DIFFERENCES, scipy, (options.work, options.runs, count, True)),
    ]
    timings = harness.measure(contenders, options.rounds, options.cores)
    found = {name: timing.warm_up[0] for name, timing in timings.items()}
    for peer in (SCIPY, DIFFERENCES):
        counted_up = [each * ALL[options.work] / count for each in timings[peer].seconds]
        timings[peer].seconds = counted_up
    what = "alpha's standard error" if options.work == "bootstrap" else "least objective"
    facts = {f"{what}: {name}": value for name, value in found.items()}
    facts["SciPy's time counted up from"] = f"{count} of {ALL[options.work]}"
    pairs = [(OURS, SCIPY), (OURS, DIFFERENCES)]
    figures.report(timings, pairs, machine, vars(options) | facts, options.json)


if __name__ == "__main__":
    main()

"""Laws of a user's own, and laws beside each other, as a user calls them."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from distil_jax.cli import app
from distil_jax.scaling.compared import compared
from distil_jax.scaling.fitted import FittedLaw, read_fitted
from distil_jax.scaling.fitting.bootstrap import bootstrap
from distil_jax.scaling.fitting.fit import fit
from distil_jax.scaling.fitting.held_out import HeldOut
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.laws import CHINCHILLA, GAMMA, Coefficient, Law
from distil_jax.scaling.laws.check import check
from distil_jax.scaling.laws.published import BESIROGLU
from tests.made_up_runs import distillation_runs, noisy, supervised_runs
from tests.scaling.test_fit_verb import call, write

_NUMBERS = itertools.count()
REPEATED = """
import jax.numpy as jnp
from distil_jax.scaling.laws import Coefficient, Law, register

register(
    Law(
        name="NAME",
        inputs=("N", "D", "epochs"),
        coefficients=(
            Coefficient("A", (1.0, 100.0), 1e-6, 1e9, log=True),
            Coefficient("alpha", (0.1, 0.5), 0.0, 2.0),
            Coefficient("tired", (0.0,), -2.0, 2.0),
        ),
        log_loss=lambda c, x: (
            jnp.log(c["A"])
            - c["alpha"] * jnp.log(x["N"] * x["D"])
            + c["tired"] * jnp.log(x["epochs"])
        ),
    )
)
"""
FALLING = """
import jax.numpy as jnp
from distil_jax.scaling.laws import Coefficient, Law, register

register(
    Law(
        name="NAME",
        inputs=("N", "D"),
        coefficients=(
            Coefficient("A", (10.0,), 1e-3, 1e6, log=True),
            Coefficient("alpha", (0.05,), 0.0, 2.0),
            Coefficient("beta", (0.05,), 0.0, 2.0),
        ),
        log_loss=lambda c, x: (
            jnp.log(c["A"]) - c["alpha"] * jnp.log(x["N"]) - c["beta"] * jnp.log(x["D"])
        ),
    )
)
"""


@pytest.fixture
def own(tmp_path) -> tuple[str, Path]:
    """The name of a law and its file. Laws stay registered: each test has its own."""
    name = f"repeated {next(_NUMBERS)}"
    path = tmp_path / "mine.py"
    path.write_text(REPEATED.replace("NAME", name))
    return name, path


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 1
    return " ".join(result.stderr.split())


def test_a_law_of_ones_own_with_a_column_of_its_own(own, tmp_path):
    name, path = own
    rng = np.random.default_rng(0)
    columns = {
        "N": 10 ** rng.uniform(8, 10, 40),
        "D": 10 ** rng.uniform(9, 11, 40),
        "epochs": rng.integers(1, 16, 40).astype(float),
    }
    loss = 500 * (columns["N"] * columns["D"]) ** -0.12 * columns["epochs"] ** 0.05
    table, law = tmp_path / "runs.csv", tmp_path / "law.json"
    write(table, Runs.of(columns, loss), epochs="passes")
    asked = ("fit", table, "--laws", path, "--law", name, "--draws", 8, "--output", law)
    asked = (*asked, "--plots", tmp_path / "plots")
    found = call(*asked, "--column", "epochs=passes")
    values = {each["name"]: each["value"] for each in found["coefficients"]}
    assert values == pytest.approx({"A": 500, "alpha": 0.12, "tired": 0.05}, rel=1e-4)
    drawn = sorted(path.stem for path in (tmp_path / "plots").iterdir())
    assert drawn == ["fit", "held_out", "pairs", "profiles"]
    told = CliRunner().invoke(app, ["report", str(law)])
    assert told.exit_code == 0, told.output
    # By now the law is known without its file.
    assert "got no column epochs" in refused("fit", table, "--law", name)


def test_files_that_are_no_laws(tmp_path):
    path, table = tmp_path / "mine.py", tmp_path / "runs.csv"
    write(table, supervised_runs()[0])
    asked = ("fit", table, "--laws", path, "--law", "mine")
    assert "mine.py: expected Python that registers laws; running it ended with File" in refused(
        *asked
    )
    path.write_text("1 / 0")
    assert "running it ended with ZeroDivisionError: division by zero" in refused(*asked)
    path.write_text("x = 1")
    assert "it registers no law; expected `register(Law(...))`" in refused(*asked)
    law = tmp_path / "law.json"
    sampled = bootstrap(fit(GAMMA, supervised_runs()[0], most_starts=8), 0)
    written = FittedLaw.of(sampled).model_dump_json().replace('"law":"gamma"', '"law":"mine"')
    law.write_text(written)
    assert "or one that a file of --laws registers" in refused("report", law)


def test_laws_beside_each_other(tmp_path):
    """The one that predicts best what it did not see is kept; all are told."""
    size, tokens = (
        x.ravel() for x in np.meshgrid(np.geomspace(1e8, 1e10, 6), np.geomspace(1e9, 1e12, 6))
    )
    columns = {"N": size, "D": tokens}
    table, law = tmp_path / "runs.csv", tmp_path / "law.json"
    write(table, Runs.of(columns, noisy(CHINCHILLA.predict(BESIROGLU, **columns), 0)))
    how = ("--starts", 16, "--draws", 8, "--output", law)
    found = call("fit", table, "--law", "gamma", "--law", "chinchilla", "--law", "gamma", *how)
    first, second = found["compared"]
    assert {first["law"], second["law"]} == {"gamma", "chinchilla"}
    assert first["held_out_error"] <= second["held_out_error"]
    assert first["splits"] == second["splits"] > 5
    assert found["law"] == first["law"] == read_fitted(law).law
    assert "compared" not in call("fit", table, "--law", "gamma", "--no-held-out", *how)
    both = refused("fit", table, "--law", "gamma", "--law", "distillation", *how)
    assert "compares with no other law" in both


def test_what_is_compared():
    runs, _ = supervised_runs()
    exact = FittedLaw.of(bootstrap(fit(GAMMA, runs, FitLoss(delta=1e-2), most_starts=8), 0))
    other = FittedLaw.of(bootstrap(fit(CHINCHILLA, runs, FitLoss(delta=1e-2), most_starts=8), 0))
    assert exact.criteria.likelihood == "normal"
    by_criterion = compared([other, exact])
    assert [each.law for each in by_criterion] == ["gamma", "chinchilla"]
    assert by_criterion[0].held_out_error is None
    # Of what was held out from one of them alone nothing is said.
    seen = HeldOut("a", 60, 4, 0.02, 0.03, 0.0, 1.0), HeldOut("b", 60, 2, 0.9, 0.9, 0.0, 0.0)
    exact = exact.model_copy(update={"held_out": [seen[0], seen[1]]})
    other = other.model_copy(update={"held_out": [replace(seen[0], mean_error=0.01)]})
    first, second = compared([exact, other])
    assert (first.law, first.held_out_error, first.splits) == ("chinchilla", 0.01, 1)
    assert (second.held_out_error, second.coverage) == (0.02, 1.0)
    lone = other.criteria.__class__(1.0, 2.0, "laplace")
    assert compared([exact, other.model_copy(update={"criteria": lone})])[0].aicc is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"inputs": ("N",)}, "expected N and D among them"),
        ({"inputs": ("N", "D", "N")}, "got N more than once"),
        ({"coefficients": (Coefficient("A", (1.0,), 0.1, 9.0),) * 2}, "got A more than once"),
        ({"coefficients": (Coefficient("A", (), 0.1, 9.0),)}, "expected some from the lower"),
        ({"coefficients": (Coefficient("A", (10.0,), 0.1, 9.0),)}, "got starts (10.0,) within 0.1"),
        ({"coefficients": (Coefficient("A", (1.0,), -1.0, 9.0, log=True),)}, "all above 0"),
        ({"log_loss": lambda c, x: c["aa"]}, "cannot be evaluated: KeyError: 'aa'; expected a"),
        ({"log_loss": lambda c, x: c["A"]}, "gave an array of shape (), expected (3,)"),
    ],
)
def test_laws_that_cannot_be_fitted_are_refused(change, told):
    law = Law(
        "plain", ("N", "D"), (Coefficient("A", (1.0,), 0.1, 9.0),), lambda c, x: c["A"] * x["N"]
    )
    check(law)
    with pytest.raises(ValueError, match=re.escape(told)):
        check(replace(law, **change))


def test_laws_are_compared_on_the_same_runs(own, tmp_path):
    """Runs that lack what one law needs are left out for all, and that is told."""
    name, path = own
    runs, _ = supervised_runs()
    table = tmp_path / "runs.csv"
    rows = zip(runs.columns["N"], runs.columns["D"], runs.loss, strict=True)
    lines = [f"{n},{d},{loss},{'' if i % 2 else 1 + i % 3}" for i, (n, d, loss) in enumerate(rows)]
    table.write_text("\n".join(["N,D,loss,epochs", *lines]))
    asked = ("fit", table, "--laws", path, "--law", name, "--law", "chinchilla", "--starts", 16)
    found = call(*asked, "--draws", 0, "--no-held-out", "--output", tmp_path / "law.json")
    assert found["runs"] == 37
    assert any("36 runs left out" in note for note in found["notes"])
    assert [each.law for each in read_fitted(tmp_path / "law.json").compared] == [
        each["law"] for each in found["compared"]
    ]


def test_a_law_without_a_limit_below_plans_and_is_drawn(tmp_path):
    """A supervised law of one's own need not have E."""
    own = f"falling {next(_NUMBERS)}"
    (tmp_path / "mine.py").write_text(FALLING.replace("NAME", own))
    alone, students = supervised_runs()[0], distillation_runs(count=60)[0]
    names = "N", "D", "teacher_loss"
    columns = {name: alone.columns.get(name, np.full(len(alone.loss), np.nan)) for name in names}
    both = {name: np.concatenate([columns[name], students.columns[name]]) for name in names}
    write(tmp_path / "runs.csv", Runs.of(both, np.concatenate([alone.loss, students.loss])))
    law = tmp_path / "law.json"
    asked = ("fit", tmp_path / "runs.csv", "--law", "distillation", "--supervised", own)
    asked = (*asked, "--starts", 16)
    call(*asked, "--laws", tmp_path / "mine.py", "--draws", 4, "--no-held-out", "--output", law)
    plan = ("plan", "--law", law, "--size", 1e9, "--compute", 3e20, "--plots", tmp_path / "plots")
    assert call(*plan)["plans"][0]["scenario"] == "supervised"
    call("report", law)


def test_results_that_cannot_be_written_are_told_first(tmp_path):
    table = tmp_path / "runs.csv"
    write(table, supervised_runs()[0])
    assert "got a folder, expected the name of a file" in refused(
        "fit", table, "--output", tmp_path
    )
    (tmp_path / "file").write_text("")
    beneath = tmp_path / "file" / "law.json"
    assert "law.json cannot be written: File exists" in refused("fit", table, "--output", beneath)

"""Laws of a user's own, and laws beside each other, as a user calls them."""

import itertools
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
from distil_jax.scaling.laws import CHINCHILLA, GAMMA
from distil_jax.scaling.laws.published import BESIROGLU
from tests.made_up_runs import noisy, supervised_runs
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
    how = ("--starts", 64, "--draws", 8, "--output", law)
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

"""`distil-jax fit` from a table to a law on disk, as a user calls it."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from distil_jax.cli import app
from distil_jax.errors import UserError
from distil_jax.scaling.fitted import read_fitted
from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.laws import DISTILLATION, GAMMA
from tests.made_up_runs import distillation_runs, supervised_runs


def write(path: Path, runs: Runs, **columns: str) -> None:
    """With other names for the columns, as other people's tables have them."""
    given = {**runs.columns, "loss": runs.loss}
    names = [columns.get(name) or name for name in given]
    rows = np.column_stack(list(given.values()))
    lines = [",".join(names), *(",".join(map(repr, row)) for row in rows.tolist())]
    path.write_text("\n".join(lines) + "\n")


def call(*arguments: object) -> dict:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def test_a_law_of_a_table(tmp_path):
    runs, true = supervised_runs()
    write(tmp_path / "runs.csv", runs, N="params", D="tokens")
    found = call(
        *("fit", tmp_path / "runs.csv", "--law", "gamma", "--delta", "1e-4"),
        *("--column", "N=params", "--column", "D=tokens"),
        *("--starts", 64, "--draws", 64, "--no-held-out", "--output", tmp_path / "law.json"),
        *("--plots", tmp_path / "plots"),
    )
    assert found["runs"] == 73
    assert [each["name"] for each in found["coefficients"]] == list(GAMMA.names)
    assert found["held_out"] == []
    drawn = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert drawn == ["fit.png", "iso_flops.png", "pairs.png", "profiles.png"]
    law = read_fitted(tmp_path / "law.json")
    predicted = GAMMA.predict(law.values, **runs.columns)
    assert np.mean(np.abs(predicted / true - 1)) < 2e-3
    assert len(law.draws) == 64
    assert law.domain.told(N=1e9, D=1e13)
    told = {each["name"] for each in found["coefficients"] if not each["told"]}
    assert (law.notes == found["notes"]) == (not told)


def test_few_runs_and_no_draws(tmp_path):
    """What is not defined is none, and comes back from the file as it was."""
    runs = supervised_runs()[0].where(np.arange(73) < 9)
    write(tmp_path / "runs.csv", runs)
    found = call(
        *("fit", tmp_path / "runs.csv", "--law", "gamma", "--starts", 64, "--draws", 0),
        *("--no-held-out", "--output", tmp_path / "law.json"),
    )
    law = read_fitted(tmp_path / "law.json")
    assert law.draws == []
    assert all(each["low"] is None for each in found["coefficients"])
    assert law.model_dump()["search"] == found["search"]


@pytest.mark.slow
def test_runs_are_held_out(tmp_path):
    write(tmp_path / "runs.csv", supervised_runs()[0])
    found = call(
        *("fit", tmp_path / "runs.csv", "--law", "gamma", "--starts", 64, "--draws", 16),
        *("--output", tmp_path / "law.json"),
    )
    assert len(found["held_out"]) == 7
    for each in found["held_out"]:
        assert each["mean_error"] < 0.02
        assert each["coverage"] > 0.3


@pytest.mark.slow
def test_both_laws_of_one_table(tmp_path):
    alone, _ = supervised_runs()
    students, true = distillation_runs(count=150)
    columns = {name: students.columns[name] for name in ("N", "D", "teacher_loss")}
    shown = type(students)(columns, students.loss, students.weights, students.clusters)
    write(tmp_path / "alone.csv", alone)
    write(tmp_path / "taught.csv", shown)
    found = call(
        *("fit", tmp_path / "alone.csv", tmp_path / "taught.csv", "--law", "distillation"),
        *("--delta", "1e-4", "--starts", 64, "--draws", 16, "--no-held-out"),
        *("--output", tmp_path / "law.json"),
    )
    assert (found["runs"], found["supervised"]["runs"]) == (150, 73)
    law = read_fitted(tmp_path / "law.json")
    assert law.supervised is not None
    assert len(law.draws) == len(law.supervised.draws) == 16
    assert any("the runs do not tell" in note for note in found["notes"])
    said = GAMMA.predict(law.supervised.values, N=columns["N"], D=columns["D"])
    predicted = DISTILLATION.predict(law.values, **columns, supervised_loss=said)
    assert np.mean(np.abs(predicted / true - 1)) < 2e-3


def test_mistakes_are_told(tmp_path):
    runs, _ = supervised_runs()
    write(tmp_path / "runs.csv", runs)
    for arguments, code, told in (
        (("--law", "kaplan"), 1, "law 'kaplan': got a name that no law has"),
        (("--column", "N"), 2, "--column N: expected OURS=THEIRS"),
        (("--column", "N=a", "--column", "N=b"), 2, "--column N: got 2 of it, expected one"),
        (("--law", "distillation"), 1, "got no run with a teacher_loss"),
        (
            ("--law", "distillation", "--supervised", "none"),
            1,
            "law 'none': got a name that no law",
        ),
        (("--law", "distillation", "--supervised", "distillation"), 1, "expected one of N, D"),
    ):
        result = CliRunner().invoke(app, ["fit", str(tmp_path / "runs.csv"), *arguments])
        assert result.exit_code == code
        assert told in result.stderr.replace("\n", " ")
    (tmp_path / "law.json").write_text('{"law": "gamma"}')
    with pytest.raises(UserError, match="got something else than a law that `distil-jax fit` wr"):
        read_fitted(tmp_path / "law.json")
    with pytest.raises(UserError, match="there is no such file"):
        read_fitted(tmp_path / "gone.json")

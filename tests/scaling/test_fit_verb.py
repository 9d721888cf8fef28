"""`distil-jax fit` from a table to a law on disk, as a user calls it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from distil_jax.cli import app
from distil_jax.errors import UserError
from distil_jax.pipeline.fit_told import notes_on
from distil_jax.scaling.fitted import read_fitted
from distil_jax.scaling.fitting.fit import fit
from distil_jax.scaling.fitting.reading import read_tables
from distil_jax.scaling.fitting.runs import Runs
from distil_jax.scaling.fitting.splits import usual_splits
from distil_jax.scaling.laws import CHINCHILLA, DISTILLATION, GAMMA
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


def test_what_the_models_are_is_kept(tmp_path):
    runs, _ = supervised_runs()
    shape = {"context": 256.0, "vocabulary": 900.0, "layers": 4.0, "width": 64.0}
    shape = {name: np.full(len(runs.loss), each) for name, each in shape.items()}
    write(tmp_path / "runs.csv", replace(runs, columns={**runs.columns, **shape}))
    how = ("--law", "gamma", "--starts", 16, "--draws", 0, "--no-held-out")
    call("fit", tmp_path / "runs.csv", *how, "--output", tmp_path / "law.json")
    kept = read_fitted(tmp_path / "law.json").shape
    assert kept is not None
    assert (kept.context, kept.vocabulary, kept.aspect) == (256, 900, 16)


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
    assert len(found["held_out"]) == 8
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
        *("--output", tmp_path / "law.json", "--plots", tmp_path / "plots"),
    )
    for folder in ("plots", "plots/supervised"):
        assert (tmp_path / folder / "profiles.png").exists()
    assert (found["runs"], found["supervised"]["runs"]) == (150, 73)
    law = read_fitted(tmp_path / "law.json")
    assert law.supervised is not None
    assert len(law.draws) == len(law.supervised.draws) == 16
    assert any("the runs do not tell" in note for note in found["notes"])
    said = GAMMA.predict(law.supervised.values, N=columns["N"], D=columns["D"])
    predicted = DISTILLATION.predict(law.values, **columns, supervised_loss=said)
    assert np.mean(np.abs(predicted / true - 1)) < 2e-3


def test_coefficients_that_the_runs_do_not_tell(tmp_path):
    """Of runs of one size, what comes of it: their bootstrap's intervals would mislead."""
    size, tokens = np.full(24, 1e8), np.geomspace(1e9, 1e11, 24)
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(24))
    write(tmp_path / "runs.csv", Runs.of({"N": size, "D": tokens}, (2 + 4e3 / tokens**0.4) * noise))
    found = call(
        *("fit", tmp_path / "runs.csv", "--starts", 64, "--draws", 16, "--no-held-out"),
        *("--output", tmp_path / "law.json"),
    )
    untold = [each for each in found["coefficients"] if not each["told"]]
    assert "alpha" in [each["name"] for each in untold]
    for each in found["coefficients"]:
        assert (each["low"] is not None) == (each["high"] is not None) == each["told"]


def test_a_coefficient_at_the_end_of_its_search_is_told(tmp_path):
    columns = {"N": np.geomspace(1e8, 1e10, 12), "D": np.geomspace(1e12, 1e9, 12)}
    values = {"A": 1e3, "B": 1e3, "E": 1.5, "alpha": 0.3, "beta": 0.4}
    runs = Runs.of(columns, CHINCHILLA.predict(values, **columns))
    write(tmp_path / "runs.csv", runs)
    table = read_tables([tmp_path / "runs.csv"], {})
    found = fit(CHINCHILLA, runs, most_starts=32)
    assert not any("bound" in note for note in notes_on(found, table))
    at_ends = CHINCHILLA.point({**values, "alpha": 5.0, "beta": 0.0})
    assert [note for note in notes_on(replace(found, point=at_ends), table) if "bound" in note] == [
        "alpha ended at the bound 5 of the search: the runs do not tell it",
        "beta ended at the bound 0 of the search: the runs do not tell it",
    ]


def test_what_is_held_out():
    columns = {"N": np.arange(1.0, 21), "D": np.arange(20.0, 0, -1)}
    names = [name for name, _ in usual_splits(columns, np.arange(20.0), np.full(20, ""))]
    for held_out in ("compute above its 0.8", "size above its 0.8", "data above its 0.8"):
        assert sum(name.startswith(held_out) for name in names) == 1
    assert sum("by loss" in name for name in names) == 2


def test_what_was_left_out_comes_first_where_nothing_is_left(tmp_path):
    table = tmp_path / "runs.csv"
    table.write_text("N,D,loss,status\n1e8,2e9,3.1,failed\n")
    result = CliRunner().invoke(app, ["fit", str(table)])
    assert result.exit_code == 1
    told = " ".join(result.stderr.split())
    assert (
        "got no run without a teacher, which this law is fitted to: 1 run left out: the status "
        "says that it did not finish (" in told
    )


def test_help_tells_all_columns():
    told = " ".join(CliRunner().invoke(app, ["fit", "--help"]).stdout.replace("│", " ").split())
    assert "loss, run (its name), teacher (the name of the run that taught)" in told


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

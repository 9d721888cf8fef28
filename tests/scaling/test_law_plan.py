"""`distil-jax plan --law`, as a user calls it."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from distil_jax.cli import app
from distil_jax.errors import UserError
from distil_jax.pipeline.law_teachers import read_teachers
from distil_jax.report import write_law_report
from distil_jax.scaling.believed import Believed
from distil_jax.scaling.fitted import FittedLaw
from distil_jax.scaling.fitting.bootstrap import bootstrap_both
from distil_jax.scaling.fitting.fit import fit
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.laws import DISTILLATION, GAMMA
from distil_jax.scaling.laws.published import APPLE_DISTILLATION, APPLE_SUPERVISED
from distil_jax.scaling.planner import Choice, Planner
from tests.made_up_runs import distillation_runs, supervised_runs
from tests.test_report import assert_self_contained, text_of


def call(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["plan", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def refused(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["plan", *map(str, arguments)])
    return result.exit_code, result.stderr.replace("\n", " ")


def test_scenarios_side_by_side(tmp_path):
    asked = ("--law", "apple", "--size", 1e9, "--compute", 1e21, "--students", 4)
    found = call(*asked, "--plots", tmp_path)
    names = ["allocation.png", "gain.png", "optima.png", "scenarios.png", "teachers.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    rows = {row["scenario"]: row for row in found["plans"]}
    assert list(rows) == [
        "supervised",
        "best case",
        "inference",
        "pretraining",
        "pretraining + inference",
        "shared by 4",
    ]
    assert rows["supervised"]["loss"] == pytest.approx(2.22151, abs=1e-4)
    assert rows["best case"]["loss"] == pytest.approx(2.19247, abs=1e-4)
    # Kept to 512e9 tokens, which the published teachers had at most.
    assert rows["inference"]["teacher_tokens"] <= 512e9 * (1 + 1e-9)
    assert rows["shared by 4"]["loss"] < rows["pretraining + inference"]["loss"]
    assert all(row["outside"] is None for row in rows.values())
    assert found["pays_from_students"] > 4


def test_least_compute_for_a_loss_with_its_bill():
    found = call(
        *("--law", "apple", "--size", 5e8, "--loss", 2.4, "--extrapolate"),
        *("--chips", "v5e:256", "--utilization", 0.5, "--price", 2),
    )
    rows = {row["scenario"]: row for row in found["plans"]}
    assert rows["supervised"]["compute"] == pytest.approx(1.537e20, rel=2e-3)
    hours = 1.537e20 / (197e12 * 0.5) / 3600
    assert rows["supervised"]["chip_hours"] == pytest.approx(hours, rel=2e-3)
    assert rows["supervised"]["hours"] == pytest.approx(hours / 256, rel=2e-3)
    assert rows["supervised"]["cost"] == pytest.approx(2 * hours, rel=2e-3)


def test_a_loss_that_only_a_student_reaches():
    """In the tokens that were measured."""
    rows = call("--law", "apple", "--size", 1e9, "--loss", 2.158)["plans"]
    found = {row["scenario"]: row for row in rows}
    assert found["supervised"]["loss"] is None
    assert (
        "2.1626 is the lowest within the limits, by 5.12e+11 tokens"
        in found["supervised"]["outside"]
    )
    assert found["best case"]["loss"] == pytest.approx(2.158, abs=1e-3)


def test_operations_are_counted_as_asked():
    asked = ("--law", "apple", "--size", 1e9, "--compute", 1e21)
    tokens = [
        call(*asked, *more)["plans"][0]["tokens"]
        for more in (("--flops", "2n"), (), ("--context", 512, "--vocabulary", 8192))
    ]
    assert tokens[0] == pytest.approx(1e21 / 6e9)
    assert tokens[1] < tokens[2] < tokens[0]
    assert "context 4096" in call(*asked)["operations"]
    assert "context 512" in call(*asked, "--context", 512)["operations"]


def test_help_shows_brackets():
    """Which rich would read as markup."""
    told = CliRunner().invoke(app, ["ladder", "--help"]).stdout
    assert "'text=[books, wiki.txt]'" in " ".join(told.split())


def test_a_teacher_has_tokens_a_parameter_as_the_law_has_seen():
    """Whose training is not paid for would be as small as may be, and learn for ever."""
    for size in (3e8, 1e9):
        rows = call("--law", "apple", "--size", size, "--compute", 1e20)["plans"]
        for row in rows:
            if row["scenario"] == "inference":
                assert row["teacher_tokens"] / row["teacher_size"] <= 1100 * (1 + 1e-9)


def test_charts_beyond_the_runs(tmp_path):
    asked = ("--law", "apple", "--size", 1e9, "--compute", 1e21, "--extrapolate")
    turns = {row["scenario"]: row for row in call(*asked, "--plots", tmp_path)["break_even"]}
    assert turns["best case"]["pays"].startswith("up to 2.")
    assert turns["best case"]["ranges"][0][1] > 1e22
    assert turns["pretraining"]["ranges"][0][1] < turns["inference"]["ranges"][0][1]
    assert len(list(tmp_path.glob("*.png"))) == 5


def test_storage_is_a_limit():
    free = call("--law", "apple", "--size", 1e9, "--compute", 1e21)["plans"][1]
    alone, kept, *_ = call(
        *("--law", "apple", "--size", 1e9, "--compute", 1e21),
        *("--storage", 1e13, "--token-bytes", 200),
    )["plans"]
    assert alone["tokens"] > 1e11  # without a teacher there is nothing to keep
    assert kept["tokens"] == pytest.approx(5e10)
    assert kept["compute"] < free["compute"]
    assert kept["loss"] > free["loss"]


def test_teachers_of_ones_own(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("name,N,loss\nsmall,546e6,2.5149\nmiddle,2.72e9,2.1754\n")
    asked = ("--law", "apple", "--size", 5e8, "--compute", 1e21, "--teachers", path)
    assert [row["teacher"] for row in call(*asked)["teachers"]] == ["middle", "small"]
    path.write_text("name,N\nsmall,546e6\n")
    code, told = refused(*asked)
    assert code == 1
    assert "got no column loss; it has name, N; expected the columns name, N (parameters)" in told


@pytest.mark.parametrize(
    "text,told",
    [
        ("name,N,loss\na,1e9,2.2\nb,inf,2.2\n", "line 3: N: got 'inf', expected a number above 0"),
        ("name,N,loss\na,nan,2.2\n", "line 2: N: got nothing, expected a number above 0"),
        ("name,N,loss\na,1e9,\n", "line 2: loss: got nothing, expected a number above 0, as 2.5"),
        ("name,N,loss\na,big,2.2\n", "line 2: N: got 'big', expected a number above 0"),
        ("name,N,loss\na,1e9,-1\n", "line 2: loss: got '-1', expected a number above 0"),
        ("name,N,loss\n,1e9,2.2\n", "line 2: got no name, expected what the teacher is called"),
        ("name,N,loss\n", "got no rows, expected one of each teacher"),
        ("name;N;loss\na;1e9;2.2\n", "it has name;N;loss; expected the columns name, N"),
        ("name;N;loss\na;1e9;2.2\n", "columns must be divided by commas"),
        ("name,N,N,loss\na,1e9,1e9,2.2\n", "got 2 columns N, expected one"),
        ("", "got an empty file, expected names of columns"),
        (None, "there is no such file"),
    ],
)
def test_tables_of_teachers_that_are_wrong(tmp_path, text, told):
    path = tmp_path / "mine.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.csv") as error:
        read_teachers(path)
    assert told in str(error.value)


@pytest.mark.parametrize(
    "arguments,code,told",
    [
        (("--law", "apple"), 2, "expected CONFIG, or else --law with --size"),
        (("--law", "apple", "--size", 1e9), 1, "got neither --compute nor --loss, expected one"),
        (
            ("--law", "apple", "--size", 1e9, "--compute", 1e21, "--loss", 2),
            1,
            "got both --compute and --loss, expected one",
        ),
        (("--law", "apple", "--size", 1e9, "--table"), 2, "--table: asked of a CONFIG, got --law"),
        (("config.yaml", "--size", 1e9), 2, "--size: asked of a --law, got CONFIG"),
        (
            ("config.yaml", *("--students", 1), *("--flops", "paper"), "--extrapolate"),
            2,
            "--students, --extrapolate, --flops: asked of a --law, got CONFIG",
        ),
        (
            ("config.yaml", *("--context", 5), *("--vocabulary", 5), *("--laws", "my.py")),
            2,
            "--context, --vocabulary, --laws: asked of a --law, got CONFIG",
        ),
        (
            ("--law", "apple", "--size", 1e9, "--compute", 1e21, "--storage", -1),
            1,
            "--storage: got -1, expected a number above 0",
        ),
        (
            ("--law", "apple", "--size", 1e9, "--compute", 1e21, "--next-runs", -1),
            1,
            "--next-runs: got -1, expected a number above 0",
        ),
        (
            ("--law", "apple", "--size", 1e9, "--compute", 1e21, "--flops", "2n", "--context", 9),
            1,
            "got --context and --flops 2n, which counts by size alone: leave out one of them",
        ),
        (
            # Before the law is read, or searched.
            ("--law", "none.json", "--size", 1e9, "--compute", 1e21, "--chips", "v5e:0"),
            1,
            "--chips v5e:0: expected a kind and a number, as v5e:256",
        ),
        (
            ("--law", "apple", "--size", 1e9, "--compute", 1e21, "--price", 2),
            1,
            "--price is of a chip's hour: expected --chips too",
        ),
        (
            ("--law", "apple", "--size", 1e9, "--compute", 1e21, "--utilization", 40),
            1,
            "--utilization: got 40, expected a share, as 0.4",
        ),
        (
            ("--law", "apple", "--size", 1e10, "--compute", 1e20),
            1,
            "no plan lies where the law was measured. D 1.533e+09: the runs have 2.8e+09",
        ),
        (
            ("--law", "apple", "--size", 1e9, "--compute", 1e21, "--chips", "h100"),
            1,
            "--chips h100: expected a kind and a number, as v5e:256",
        ),
        (
            ("--law", "apple", "--size", 1e9, "--compute", 1e21, "--storage", 1e12),
            1,
            "--storage and --token-bytes go together",
        ),
        (
            ("--law", "apple", "--size", 1e9, "--compute", 1e21, "--next-runs", 1e21),
            1,
            "the next runs are chosen by the draws of a fit's bootstrap",
        ),
        (
            ("--law", "apple", "--size", 1e9, "--compute", 1e21, "--utilization", 0),
            1,
            "--utilization: got 0, expected a number above 0",
        ),
        (("--law", "apple", "--size", 0, "--compute", 1e21), 1, "--size: got 0"),
        (
            ("--law", "apple", "--size", 1e9, "--loss", 2.2, "--teachers", "mine.csv"),
            1,
            "--teachers are ranked for a budget",
        ),
        (("--law", ".", "--size", 1e9, "--compute", 1e21), 1, "cannot be read"),
        (("--law", "none.json", "--size", 1e9, "--compute", 1e21), 1, "there is no such file"),
    ],
)
def test_mistakes_are_told(arguments, code, told):
    assert refused(*arguments)[0] == code
    assert told in refused(*arguments)[1]


def assert_page(html: str) -> None:
    """Of a law of teachers: both laws, and plans in the middle of its runs."""
    assert_self_contained(html)
    text = text_of(html)
    assert "distillation 200 runs" in text
    assert "gamma 73 runs, without a teacher" in text
    assert "Plans around a student of" in text
    assert html.count("data:image/png;base64,") == 4 + 4 + 5


@pytest.mark.slow
def test_intervals_of_a_fitted_law(tmp_path):
    """They hold what the law, of which the runs were drawn, says of the same plan."""
    alone, _ = supervised_runs()
    students, _ = distillation_runs(count=200)
    loss = FitLoss(delta=1e-4)
    supervised = fit(GAMMA, alone, loss, most_starts=48)
    found = fit(DISTILLATION, students, loss, most_starts=32)
    first, second = bootstrap_both(supervised, found, 40)
    law = FittedLaw.of(second, supervised=FittedLaw.of(first))
    law.write(tmp_path / "law.json")
    assert_page(write_law_report(tmp_path / "law.json").read_text(encoding="utf-8"))
    asked = ("--law", tmp_path / "law.json", "--size", 1e9, "--compute", 3e20)
    plan = call(*asked, "--next-runs", 1e22)
    rows = plan["plans"]
    spreads = [run["spread_after"] for run in plan["next_runs"]]
    assert spreads == sorted(spreads, reverse=True)
    assert sum(run["compute"] for run in plan["next_runs"]) <= 1e22
    assert refused(*asked, "--next-runs", 1e10)[0] == 1
    true = Planner(APPLE_SUPERVISED, APPLE_DISTILLATION)
    believed = Believed.of(law)
    held = 0
    for row in rows:
        if row["loss"] is None:
            continue
        assert row["low"] <= row["loss"] <= row["high"]
        exact = float(true.supervised_loss(1e9, row["tokens"]))
        if row["teacher_loss"] is not None:
            exact = float(true.student_loss(1e9, row["tokens"], row["teacher_loss"]))
        assert row["low"] < row["high"] < 1.1 * row["low"]
        held += row["low"] <= exact <= row["high"]
    assert held >= 3
    # Of hardly any compute a teacher takes it all.
    assert refused("--law", tmp_path / "law.json", "--size", 1e9, "--compute", 1e16)[0] == 1
    some = Choice("supervised", 1e20, 1e9, 2e10, 0.0)
    narrow, wide = believed.interval(some, 0.5), believed.interval(some, 0.95)
    assert narrow is not None
    assert wide is not None
    assert wide[0] <= narrow[0] <= narrow[1] <= wide[1]

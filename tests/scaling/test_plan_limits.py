"""`distil-jax plan --law` within what a law's runs had: the best there, and what it says of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import INFERENCE, PRETRAINING
from distil_jax.scaling.break_even import break_evens
from distil_jax.scaling.domain import Domain
from distil_jax.scaling.fitted import FittedCoefficient, FittedLaw, Searched, read_fitted
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.selection import Criteria
from distil_jax.scaling.language_models import Shape
from distil_jax.scaling.laws import law_named
from distil_jax.scaling.laws.distillation import SUPERVISED_LOSS, TEACHER_LOSS
from distil_jax.scaling.laws.published import APPLE_DISTILLATION, APPLE_SUPERVISED
from distil_jax.scaling.planner import Planner
from tests.made_up_runs import supervised_loss
from tests.scaling.test_law_plan import call, refused

TRUE = Planner(APPLE_SUPERVISED, APPLE_DISTILLATION)


def fitted(law: str, values: dict[str, float], columns: dict[str, np.ndarray], **more) -> FittedLaw:
    """A law of those coefficients and runs, with draws of 0.5 % around them."""
    rng = np.random.default_rng(0)
    best = np.array([values[name] for name in law_named(law).names])
    draws = best * np.exp(0.005 * rng.standard_normal((30, len(values))))
    return FittedLaw(
        law=law,
        loss=FitLoss(),
        runs=len(columns["N"]),
        coefficients={
            name: FittedCoefficient(value=value, interval=None, profile=(None, None), told=True)
            for name, value in values.items()
        },
        search=Searched(starts=1, reached=1, optima=1, objective=0.0, slope=0.0, condition=None),
        criteria=Criteria(aicc=0.0, bic=0.0),
        domain=Domain.of(columns),
        residuals=np.resize([0.003, -0.003], len(columns["N"])).tolist(),
        draws=draws.tolist(),
        **more,
    )


@pytest.fixture(scope="module")
def law(tmp_path_factory) -> Path:
    """The published coefficients, of runs of 1.5e8 to 1e9 parameters and 20 to 200 tokens each."""
    size, ratio = map(np.ravel, np.meshgrid([1.5e8, 5e8, 1e9, 5e9], [10, 20, 200]))
    alone = fitted("gamma", APPLE_SUPERVISED, {"N": size, "D": size * ratio})
    grid = np.meshgrid([1.5e8, 5e8, 1e9], [20, 60, 200], [2.078, 2.4, 2.859])
    size, ratio, heard = map(np.ravel, grid)
    columns = {
        "N": size,
        "D": size * ratio,
        TEACHER_LOSS: heard,
        SUPERVISED_LOSS: supervised_loss(size, size * ratio),
    }
    path = tmp_path_factory.mktemp("law") / "law.json"
    fitted("distillation", APPLE_DISTILLATION, columns, supervised=alone).write(path)
    return path


def plans(*asked: object) -> dict:
    return {row["scenario"]: row for row in call(*asked)["plans"]}


def test_the_best_plan_with_tokens_a_parameter_as_the_runs_had(law):
    """The best of all has 19.4 for each: it is not blanked, the best of 20 and more is given."""
    found = plans("--law", law, "--size", 5e8, "--compute", 1e20)["pretraining"]
    assert TRUE.best(1e20, 5e8, PRETRAINING).tokens / 5e8 < 19.6
    assert found["tokens"] / 5e8 == pytest.approx(20, rel=1e-4)
    near = TRUE.limited(student_tokens=(1e10, 1e11))
    size, ratio = np.meshgrid(np.geomspace(1.5e8, 5e9, 1000), np.geomspace(10, 200, 400))
    learnt = size * ratio
    tokens = near.tokens_left(1e20, 5e8, PRETRAINING, size, learnt)
    every = TRUE.student_loss(5e8, tokens, TRUE.supervised_loss(size, learnt))
    assert found["loss"] == pytest.approx(every[tokens >= 1e10].min(), abs=1e-4)
    assert found["at_limit"] == "tokens at its lowest"


def test_the_cheapest_plan_for_a_loss_is_within_the_runs(law):
    """With fewer tokens than the runs had, a teacher would be cheaper still."""
    rows = plans("--law", law, "--size", 5e8, "--loss", 2.41)
    assert all(row["loss"] <= 2.41 and row["outside"] is None for row in rows.values())
    assert rows["inference"]["tokens"] / 5e8 == pytest.approx(20, rel=1e-4)
    assert rows["best case"]["compute"] == pytest.approx(3 * TRUE.flops(5e8) * 1e10, rel=1e-4)
    order = sorted(rows, key=lambda name: rows[name]["compute"])
    assert order[:3] == ["best case", "inference", "supervised"]
    assert rows["supervised"]["at_limit"] is None
    teacher = rows["inference"]["teacher_size"], rows["inference"]["teacher_tokens"]
    assert teacher[1] / teacher[0] == pytest.approx(200, rel=1e-4)
    assert rows["inference"]["at_limit"].endswith("teacher's D/N at its highest")


def test_beyond_the_runs_nothing_is_limited(law):
    asked = ("--law", law, "--size", 5e8, "--compute", 1e20, "--extrapolate")
    assert plans(*asked)["inference"]["loss"] == pytest.approx(
        TRUE.best(1e20, 5e8, INFERENCE).loss, abs=1e-6
    )


def test_teachers_outside_of_the_runs_come_last(law, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("name,N,loss\nhuge,70e9,1.7\nbig,5e9,2.05\nsmall,546e6,2.51\nless,5e8,2.6\n")
    asked = ("--law", law, "--size", 5e8, "--compute", 1e20, "--teachers", path)
    rows = call(*asked)["teachers"]
    assert [row["teacher"] for row in rows][:2] == ["small", "less"]
    assert [row["loss"] is None for row in rows] == [False, False, True, True]


def test_a_free_teacher_that_always_pays(law):
    found = call("--law", law, "--size", 5e8, "--compute", 1e20)
    free = found["break_even"][0]
    assert (free["scenario"], free["pays"]) == ("best case", "always")
    low, high = (3 * TRUE.flops(5e8) * tokens for tokens in (1e10, 1e11))
    assert [free["lowest"], free["highest"]] == pytest.approx([low, high])
    assert free["ranges"] == [[free["lowest"], free["highest"]]]


def test_break_even_says_nothing_of_what_was_not_measured(law):
    """Of a student larger than any that the law saw, as the plans say nothing."""
    found = call("--law", law, "--size", 9e9, "--compute", 1e21, "--extrapolate")
    assert found["break_even"][0]["pays"] != "not measured"
    believed = Believed.of(read_fitted(law))
    turns = break_evens(believed, believed.planner, 9e9)
    assert {each.pays for each in turns} == {"not measured"}


def test_a_loss_out_of_reach(law):
    """What is the lowest, and where; and that can be reached."""
    code, told = refused("--law", law, "--size", 5e8, "--loss", 1.0)
    assert code == 1
    assert "loss 1: a model of 5e+08 parameters does not reach it (best case): 2.3" in told
    assert "is the lowest within the limits, by 1e+11 tokens and a teacher of loss" in told
    assert "Or take --extrapolate" in told
    lowest = float(told.partition(" is the lowest")[0].rpartition(" ")[2])
    assert plans("--law", law, "--size", 5e8, "--loss", lowest)["best case"]["loss"] <= lowest
    assert refused("--law", law, "--size", 5e8, "--loss", lowest - 2e-4)[0] == 1
    assert "no plan lies where the law" in refused("--law", law, "--size", 5e6, "--loss", 1.0)[1]


def test_next_runs_say_what_for(law):
    asked = ("--law", law, "--size", 5e8, "--loss", 2.4, "--next-runs", 1e20)
    found = call(*asked)
    assert "how sure is the loss" in found["next_runs_asked"]
    assert "of the plan 'best case'" in found["next_runs_asked"]
    assert found["next_runs_spread_before"] > 0
    befores = [run["spread_before"] for run in found["next_runs"]]
    afters = [run["spread_after"] for run in found["next_runs"]]
    assert befores == [found["next_runs_spread_before"], *afters[:-1]]
    assert afters[0] < befores[0]
    assert all(a <= 0.99 * b for a, b in zip(afters, befores, strict=True))


def test_teachers_of_next_runs_are_runs_of_the_law(law):
    """What they took is spent; the budget pays for all the rest."""
    believed = Believed.of(read_fitted(law))
    trained = [tuple(each) for each in believed.trained]
    assert len(trained) == 12
    asked = ("--law", law, "--size", 5e8, "--compute", 1e20, "--next-runs", 3e21)
    found = call(*asked)
    taught = [run for run in found["next_runs"] if run["teacher_size"]]
    assert taught
    for run in taught:
        names = "teacher_size", "teacher_tokens", "teacher_loss"
        assert tuple(run[name] for name in names) in trained
        a_token = 3 * TRUE.flops(run["size"]) + TRUE.flops(run["teacher_size"])
        assert run["compute"] == pytest.approx(a_token * run["tokens"])
    assert sum(run["compute"] for run in found["next_runs"]) <= 3e21
    assert "Teachers are runs of this law, trained already" in found["next_runs_asked"]


def test_runs_that_taught_are_known_by_their_loss(law):
    """Where a student's teacher_loss is that of a run without a teacher."""
    fit = read_fitted(law)
    assert fit.supervised is not None
    heard = fit.supervised.observed[[3, 5]]
    corners = {
        **fit.domain.corners,
        TEACHER_LOSS: np.log10(np.resize(heard, fit.runs)).tolist(),
    }
    domain = fit.domain.model_copy(update={"corners": corners})
    trained = Believed.of(fit.model_copy(update={"domain": domain})).trained
    np.testing.assert_allclose(trained[:, 2], heard)
    np.testing.assert_allclose(trained[:, 0], fit.supervised.columns["N"][[3, 5]])


def test_operations_are_those_of_the_runs_models(law, tmp_path):
    """Where their table says what they are, as if it were asked for."""
    shape = Shape(512, 8192)
    read_fitted(law).model_copy(update={"shape": shape}).write(tmp_path / "law.json")
    asked = ("--size", 5e8, "--compute", 1e20)
    said = call("--law", tmp_path / "law.json", *asked)
    assert said == call("--law", law, *asked, "--context", 512, "--vocabulary", 8192)
    assert said["operations"] == shape.told
    assert said["plans"] != call("--law", law, *asked)["plans"]


def test_what_is_not_asked_for_is_as_the_runs_models(law, tmp_path):
    shape = Shape(512, 65536, aspect=64.0, layer=10.0)
    read_fitted(law).model_copy(update={"shape": shape}).write(tmp_path / "law.json")
    asked = ("--law", tmp_path / "law.json", "--size", 5e8, "--compute", 1e20)
    for option, value in (("context", 1024), ("vocabulary", 8192)):
        told = call(*asked, f"--{option}", value)["operations"]
        assert told == replace(shape, **{option: value}).told

"""Plans by the published coefficients: the spec's golden values, found there by another solver."""

from dataclasses import replace

import numpy as np
import pytest

from distil_jax.errors import UserError
from distil_jax.scaling.believed import Believed
from distil_jax.scaling.bill import (
    BEST_CASE,
    BOTH,
    INFERENCE,
    PRETRAINING,
    SCENARIOS,
    Scenario,
    shared_by,
)
from distil_jax.scaling.charts.teachers import write_gain
from distil_jax.scaling.domain import APPLE_DOMAIN, Domain
from distil_jax.scaling.laws.published import APPLE_DISTILLATION, APPLE_SUPERVISED
from distil_jax.scaling.planner import Choice, Planner
from distil_jax.scaling.questions import (
    Teacher,
    Unreachable,
    compute_for,
    pays_from,
    ranked,
)

PLANNER = Planner(APPLE_SUPERVISED, APPLE_DISTILLATION)
# Student's size, budget; loss without a teacher; for each scenario the loss and what else is known:
# the teacher's loss, or its size, or the student's tokens with the teacher's size and tokens.
GOLDEN = (
    (
        (3e8, 1e21, 2.36480),
        (2.34858, {"teacher_loss": 2.1624}),
        (2.35921, {"teacher_size": 5.25e8}),
        (2.37096, {"tokens": 2.20e11, "teacher_size": 2.01e9, "teacher_tokens": 3.18e10}),
        (2.39293, {"tokens": 1.24e11, "teacher_size": 9.71e8, "teacher_tokens": 5.51e10}),
    ),
    (
        (1e9, 1e21, 2.22151),
        (2.19247, {"teacher_loss": 1.9869}),
        (2.20839, {"teacher_size": 1.32e9}),
        (2.28098, {"tokens": 5.58e10, "teacher_size": 2.32e9, "teacher_tokens": 3.66e10}),
        (2.29792, {"tokens": 4.19e10, "teacher_size": 1.61e9, "teacher_tokens": 4.66e10}),
    ),
    (
        (3e9, 1e23, 1.96278),
        (1.96311, {"teacher_loss": 1.8301}),
        (1.97015, {"teacher_size": 5.49e9}),
        (1.97577, {"tokens": 2.75e12, "teacher_size": 2.11e10, "teacher_tokens": 3.22e11}),
        (1.98999, {"tokens": 1.50e12, "teacher_size": 9.60e9, "teacher_tokens": 6.05e11}),
    ),
)


def bill(choice: Choice, scenario: Scenario) -> float:
    """Operations, added up the plain way."""
    flops = PLANNER.flops
    assert choice.teacher_size is not None
    assert choice.teacher_tokens is not None
    paid = 3 * flops(choice.size) * choice.tokens
    paid += scenario.logits * flops(choice.teacher_size) * choice.tokens
    return paid + scenario.pretraining * 3 * flops(choice.teacher_size) * choice.teacher_tokens


@pytest.mark.parametrize("asked,best,inference,pretraining,both", GOLDEN)
def test_golden_plans(asked, best, inference, pretraining, both):
    """A10: losses to 1e-4, and what is chosen to 5 %: the optimum is flat."""
    size, compute, alone = asked
    assert PLANNER.without_teacher(compute, size).loss == pytest.approx(alone, abs=1e-4)
    losses = {}
    for scenario, (loss, rest) in zip(SCENARIOS, (best, inference, pretraining, both), strict=True):
        found = PLANNER.best(compute, size, scenario)
        assert found.loss == pytest.approx(loss, abs=1e-4)
        for name, value in rest.items():
            close = 1e-3 if name == "teacher_loss" else 0.05
            assert getattr(found, name) == pytest.approx(value, rel=close), (scenario, name)
        assert bill(found, scenario) == pytest.approx(compute, rel=1e-6)
        losses[scenario] = found.loss
        told = f"loss {found.loss:.5f} ({loss}), {found.tokens:.4g} tokens"
        print(f"\nA10: {size:.3g} for {compute:.3g}, {scenario.name}: {told}", end="")
    assert losses[BEST_CASE] <= losses[INFERENCE]
    assert losses[BEST_CASE] <= losses[PRETRAINING] <= losses[BOTH]
    without = PLANNER.without_teacher(compute, size)
    assert PLANNER.best(compute, size, BEST_CASE).tokens == pytest.approx(without.tokens)


@pytest.mark.parametrize("scenario", [PRETRAINING, BOTH])
def test_no_step_to_any_side_is_better(scenario):
    found = PLANNER.best(1e21, 1e9, scenario)
    assert found.teacher_size is not None
    assert found.teacher_tokens is not None
    for times in (0.9, 1.1):
        for size, tokens in ((times, 1.0), (1.0, times), (times, times), (times, 1 / times)):
            teacher, learnt = found.teacher_size * size, found.teacher_tokens * tokens
            heard = PLANNER.supervised_loss(teacher, learnt)
            left = scenario.tokens(PLANNER.flops, 1e21, 1e9, np.array(teacher), np.array(learnt))
            assert PLANNER.student_loss(1e9, left, heard) >= found.loss


def test_supervised_optimum():
    golden = (
        (3e19, 5.028e8, 15.1, 2.5717),
        (1e20, 9.319e8, 15.5, 2.4190),
        (1e21, 3.038e9, 15.8, 2.1766),
        (1e23, 3.240e10, 15.0, 1.8337),
    )
    for compute, size, ratio, loss in golden:
        found = PLANNER.without_teacher(compute)
        assert found.size == pytest.approx(size, rel=0.02)
        assert found.tokens / found.size == pytest.approx(ratio, rel=0.02)
        assert found.loss == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize(
    "size,tokens,teacher,student,alone",
    [
        (1e9, 2.5e11, 1.9909, 2.1715, 2.1908),
        (1e9, 1e12, 1.9827, 2.1366, 2.1424),
        (1e10, 1e12, 1.6973, 1.8614, 1.8820),
        (3e9, 1e12, 1.8416, 1.9915, 2.0008),
    ],
)
def test_capacity_gap(size, tokens, teacher, student, alone):
    """A11: there is a best teacher, and a better one than that gives a worse student."""
    loss, heard = PLANNER.best_teacher(size, tokens)
    print(f"\nA11: {size:.3g} of {tokens:.3g} tokens: {loss:.4f} of a teacher of {heard:.4f}")
    assert heard == pytest.approx(teacher, abs=1e-3)
    assert loss == pytest.approx(student, abs=1e-4)
    assert PLANNER.supervised_loss(size, tokens) == pytest.approx(alone, abs=1e-4)
    for worse in (heard - 0.2, heard + 0.2):
        assert PLANNER.student_loss(size, tokens, worse) > loss + 0.01


def test_with_endless_tokens_the_best_teacher_gives_what_supervision_gives():
    """A12: within 1 %."""
    for size in (1e8, 1e9, 1e10, 1e11):
        c = APPLE_SUPERVISED
        alone = c["E"] + (c["A"] / size ** c["alpha"]) ** c["gamma"]
        taught = PLANNER.best_teacher(size, 1e30)[0]
        print(
            f"\nA12: {size:.0e} of endless tokens: taught {taught:.4f}, alone {alone:.4f}", end=""
        )
        assert taught == pytest.approx(alone, rel=0.01)


def test_compute_for_a_loss():
    """Relative to supervised training, of two sizes and losses."""
    for size, loss, alone, pretraining, both in (
        (5e8, 2.4, 1.537e20, 2.24, 2.85),
        (1e10, 2.2, 1.232e21, 1.75, 1.83),
    ):
        needed = compute_for(PLANNER, loss, size, None).compute
        assert needed == pytest.approx(alone, rel=2e-3)
        for scenario, times in ((PRETRAINING, pretraining), (BOTH, both)):
            found = compute_for(PLANNER, loss, size, scenario).compute
            assert found / needed == pytest.approx(times, rel=5e-3)
    with pytest.raises(
        Unreachable, match=r"loss 1: a model of 1e\+08 parameters does not reach it"
    ) as told:
        compute_for(PLANNER.limited(tokens=(1e9, 1e11)), 1.0, 1e8, None)
    lowest = float(PLANNER.supervised_loss(1e8, 1e11))
    assert told.value.nearest.loss == pytest.approx(lowest)
    said = np.ceil(lowest * 1e4) / 1e4  # rounded up, so that it can be asked for
    assert f"{said:g} is the lowest within the limits, by 1e+11 tokens;" in str(told.value)
    compute_for(PLANNER.limited(tokens=(1e9, 1e11)), said, 1e8, None)


def test_many_students_pay_little_for_one_teacher():
    """A10: of so many that nobody pays, it is the best case; and from some number on, it pays."""
    best = PLANNER.best(1e21, 1e9, BEST_CASE).loss
    losses = [PLANNER.best(1e21, 1e9, shared_by(k)).loss for k in (1, 4, 64, 1e5)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(best, abs=1e-3)
    students = pays_from(PLANNER, 1e21, 1e9)
    assert students is not None
    alone = PLANNER.without_teacher(1e21, 1e9).loss
    assert PLANNER.best(1e21, 1e9, shared_by(students)).loss < alone
    assert PLANNER.best(1e21, 1e9, shared_by(students - 1)).loss >= alone


def test_a_law_without_an_entropy(tmp_path):
    """As few and short runs give one: E is 0."""
    planner = replace(PLANNER, supervised={**PLANNER.supervised, "E": 0.0})
    choice = planner.best(1e21, 1e9, BEST_CASE)
    assert choice.teacher_loss is not None
    assert choice.teacher_loss > 0
    write_gain(Believed.published(), planner, choice.size, choice.tokens, tmp_path / "gain.png")
    assert (tmp_path / "gain.png").exists()


def test_a_teacher_that_none_within_the_limits_is_has_no_size():
    near = PLANNER.limited(size=(1e8, 1e9), tokens=(1e9, 1e10))
    found = near.best(1e21, 1e9, BEST_CASE)
    assert found.teacher_loss is not None
    assert (found.teacher_size, found.teacher_tokens) == (None, None)
    assert PLANNER.best(1e21, 1e9, BEST_CASE).teacher_size is not None


def test_teachers_that_exist_are_ranked():
    """Not by their own loss: the best of them is beyond the gap, and dear to ask."""
    teachers = [
        Teacher("small", 546e6, 2.5149),
        Teacher("middle", 2.72e9, 2.1754),
        Teacher("large", 7.75e9, 2.0036),
        Teacher("huge", 300e9, 1.6),
    ]
    for scenario, best in ((INFERENCE, "middle"), (BEST_CASE, "large")):
        found = ranked(PLANNER, teachers, 1e21, 5e8, scenario)
        assert found[0][0].name == best
        assert [choice.loss for _, choice in found] == sorted(choice.loss for _, choice in found)
        for teacher, choice in found:
            tokens = 1e21 / (3 * PLANNER.flops(5e8) + scenario.logits * PLANNER.flops(teacher.size))
            assert choice.tokens == pytest.approx(tokens)
            assert choice.compute == pytest.approx(1e21)
            assert choice.loss == PLANNER.student_loss(5e8, choice.tokens, teacher.loss)


def test_limits_are_kept():
    narrow = PLANNER.limited(teacher_loss=2.2, student_tokens=(1e6, 1e11))
    assert narrow.best(1e21, 1e9, BEST_CASE).teacher_loss == pytest.approx(2.2, rel=1e-6)
    assert narrow.best(1e21, 3e8, BOTH).tokens <= 1e11 * (1 + 1e-9)


def test_tokens_a_parameter_are_limited_without_a_teacher_too():
    near = PLANNER.limited(per_parameter=(20, 200))
    assert np.isinf(near.without_teacher(1e20, 1e9).loss)  # 13.6 of them
    assert near.without_teacher(1e23, 1e9).tokens == pytest.approx(2e11)
    best = near.without_teacher(1e21)  # the best of all has 15.8 of them
    assert best.tokens / best.size == pytest.approx(20, rel=1e-2)


def test_a_teacher_beyond_the_limits_is_no_plan():
    """Where each that is within them takes the whole budget, and a smaller one would not."""
    near = PLANNER.limited(size=(1e8, 1e9), tokens=(1e11, 1e12), per_parameter=(10, 1000))
    assert np.isinf(near.best(1e19, 1e8, PRETRAINING).loss)


def test_a_share_beyond_one_is_told():
    with pytest.raises(UserError, match=r"scenario 'odd': got logits 1\.5, expected 0 to 1"):
        Scenario("odd", logits=1.5, pretraining=0)


def test_outside_of_what_was_measured():
    """A13: a law that nobody tested there says 1.95 of 0.15 tokens a parameter."""
    found = PLANNER.best(1e20, 1e10, BEST_CASE)
    outside = APPLE_DOMAIN.beyond(N=found.size, D=found.tokens)
    assert found.tokens / found.size == pytest.approx(0.15, abs=0.01)
    assert outside["D/N"] == pytest.approx(10 / 0.15, rel=0.1)
    said = APPLE_DOMAIN.told(N=found.size, D=found.tokens)
    print(f"\nA13: {said}")
    assert "D/N 0.1" in said
    assert "the runs have 10 to 1100" in said
    assert not APPLE_DOMAIN.told(N=1e9, D=2e10, teacher_loss=2.2)


def test_hull_of_runs():
    """Inside of all ranges, and yet where no run is."""
    size = np.array([1e8, 1e9, 1e10, 1e9])
    runs = Domain.of({"N": size, "D": size * np.array([20, 20, 20, 200])})
    assert runs.distance(N=1e9, D=5e10) == 0
    assert runs.distance(N=1e9, D=2e12) == pytest.approx(1.0, abs=1e-3)
    assert 0 < runs.distance(N=2e8, D=1e11) < 1
    assert not runs.beyond(N=4e8, D=7e10)
    assert "outside the hull" in runs.told(N=4e8, D=7e10)
    assert not runs.told(N=1e9, D=5e10)

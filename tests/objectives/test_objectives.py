"""Recipes of objectives: their settings, and their share of the loss."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from distil_jax.objectives import (
    AnyObjective,
    CrossEntropy,
    KLDivergence,
    Objective,
    Signals,
    Targets,
    TokenObjective,
    weighted_losses,
)

RECIPE = TypeAdapter(tuple[AnyObjective, ...])
TIME = 3


class HiddenDistance(Objective):
    """An objective that is not by tokens: the squared distance of hidden states, over clips."""

    name: Literal["hidden_distance"] = "hidden_distance"

    def count(self, targets: Targets) -> jax.Array:
        return targets.mask.any(axis=1).sum()

    def sum(self, student: Signals, teacher: Signals, targets: Targets) -> jax.Array:
        return jnp.square(student.hidden - teacher.hidden).sum()


def signals(seed: int) -> Signals:
    rng = np.random.default_rng(seed)
    hidden, head = rng.normal(size=(2, TIME, 4)), rng.normal(size=(11, 4))
    return Signals(jnp.asarray(hidden, jnp.float32), jnp.asarray(head, jnp.float32))


def targets(*lengths: int) -> Targets:
    labels = jnp.asarray([[1, 5, 2], [10, 0, 3]])
    return Targets(labels, jnp.arange(TIME) < jnp.asarray(lengths)[:, None])


def one(recipe: tuple, student: Signals, teacher: Signals, targets: Targets, counts: dict) -> tuple:
    return weighted_losses(recipe, {"one": student}, teacher, targets, counts, chunk=2)["one"]


def loss(recipe: tuple, targets: Targets) -> tuple[float, dict[str, float]]:
    counts = {o.name: jnp.maximum(o.count(targets), 1) for o in recipe}
    value, sums = one(recipe, signals(0), signals(1), targets, counts)
    return float(value), {name: float(each) for name, each in sums.items()}


def test_a_config_names_objectives_with_their_weights():
    got = RECIPE.validate_python(
        [{"name": "cross_entropy", "weight": 0.8}, {"name": "kl", "temperature": 3}]
    )
    assert got == (CrossEntropy(weight=0.8), KLDivergence(weight=1.0, temperature=3.0))


@pytest.mark.parametrize(
    "value,word",
    [
        ({"name": "kl", "temperature": 0}, "temperature"),
        ({"name": "kl", "temperature": -1}, "temperature"),
        ({"name": "cross_entropy", "temperature": 2}, "temperature"),
        ({"name": "mse"}, "cross_entropy"),
        ({"weight": 1}, "name"),
        ({"name": "kl", "weight": "much"}, "weight"),
    ],
)
def test_what_is_no_objective_is_refused(value, word):
    with pytest.raises(ValidationError, match=word):
        RECIPE.validate_python([value])


@pytest.mark.parametrize("lengths,count", [((3, 1), 4), ((0, 2), 2), ((0, 0), 0)])
def test_tokens_are_counted_where_the_mask_is_true(lengths, count):
    assert int(CrossEntropy().count(targets(*lengths))) == count
    assert int(KLDivergence().count(targets(*lengths))) == count


def test_each_term_is_divided_by_its_own_count():
    recipe = (CrossEntropy(weight=0.5), HiddenDistance(weight=3.0), KLDivergence(weight=2.0))
    value, sums = loss(recipe, targets(3, 1))
    assert list(sums) == ["cross_entropy", "kl", "hidden_distance"]
    means = sums["cross_entropy"] / 4, sums["kl"] / 4, sums["hidden_distance"] / 2
    assert value == pytest.approx(0.5 * means[0] + 2 * means[1] + 3 * means[2], rel=1e-5)


def test_a_recipe_may_lack_token_objectives():
    value, sums = loss((HiddenDistance(),), targets(3, 1))
    assert value == pytest.approx(sums["hidden_distance"] / 2)


def test_nothing_counted_is_no_loss():
    value, sums = loss((CrossEntropy(), KLDivergence()), targets(0, 0))
    assert (value, *sums.values()) == (0, 0, 0)


def test_shares_add_up_to_the_loss_of_the_batch():
    recipe = (CrossEntropy(weight=0.8), KLDivergence())
    whole = targets(3, 1)
    counts = {o.name: o.count(whole) for o in recipe}

    def share(rows: slice) -> float:
        student, teacher = (Signals(s.hidden[rows], s.head) for s in (signals(0), signals(1)))
        part = Targets(whole.labels[rows], whole.mask[rows])
        return float(one(recipe, student, teacher, part, counts)[0])

    assert share(slice(1)) + share(slice(1, 2)) == pytest.approx(loss(recipe, whole)[0], rel=1e-6)


def test_every_student_has_a_loss_of_its_own():
    recipe = (CrossEntropy(weight=0.8), HiddenDistance(weight=3.0))
    whole, students = targets(3, 1), {"first": signals(0), "second": signals(2)}
    counts = {o.name: o.count(whole) for o in recipe}
    got = weighted_losses(recipe, students, signals(1), whole, counts, chunk=2)
    assert list(got) == list(students)
    for name, student in students.items():
        alone, sums = one(recipe, student, signals(1), whole, counts)
        assert float(got[name][0]) == pytest.approx(float(alone), rel=1e-6)
        assert {n: float(a) for n, a in got[name][1].items()} == pytest.approx(
            {n: float(a) for n, a in sums.items()}, rel=1e-6
        )


@pytest.mark.parametrize("kind", [Objective, TokenObjective])
def test_an_objective_without_its_loss_cannot_be_made(kind):
    class Unfinished(kind):
        name: Literal["unfinished"] = "unfinished"

    with pytest.raises(TypeError, match="abstract method"):
        Unfinished()

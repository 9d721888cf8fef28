"""The laws at the values that the published coefficients give, and where they lead in the end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distil_jax.errors import UserError
from distil_jax.scaling.language_models import APPLE, Shape, twice_size
from distil_jax.scaling.laws import (
    CHINCHILLA,
    DISTILLATION,
    GAMMA,
    Coefficient,
    Law,
    law_named,
    register,
)
from distil_jax.scaling.laws.law import log_add
from distil_jax.scaling.laws.published import APPLE_DISTILLATION, APPLE_SUPERVISED

# Student's size and tokens, teacher's loss; supervised loss, student's loss.
GOLDEN = (
    (143e6, 4e9, 2.6, 2.838299, 2.737659),
    (546e6, 10.92e9, 2.4, 2.514941, 2.475441),
    (1.82e9, 36.4e9, 2.2, 2.250885, 2.247273),
    (7.75e9, 512e9, 2.0, 1.932888, 2.009796),
)
TEACHERS = (
    (198e6, 2.7894),
    (546e6, 2.5149),
    (975e6, 2.3802),
    (1.82e9, 2.2509),
    (2.72e9, 2.1754),
    (4.82e9, 2.0773),
    (7.75e9, 2.0036),
)


def student_loss(size, tokens, teacher_loss):
    alone = GAMMA.predict(APPLE_SUPERVISED, N=size, D=tokens)
    return DISTILLATION.predict(
        APPLE_DISTILLATION, N=size, D=tokens, teacher_loss=teacher_loss, supervised_loss=alone
    )


def test_flops_of_a_token_are_those_of_the_paper():
    """The spec's A1: two values by the formula, and table 13's column, rounded there."""
    assert APPLE.forward_flops(1e9) == pytest.approx(2454385317, rel=1e-6)
    assert APPLE.forward_flops(546e6) == pytest.approx(1.417081e9, rel=1e-6)
    for size, billions in ((546e6, 1.415), (1.82e9, 4.280), (7.75e9, 16.99), (12.6e9, 27.23)):
        found = APPLE.forward_flops(size)
        print(f"\nA1: F({size:.4g}) = {found / 1e9:.4f}e9, of the table {billions}e9", end="")
        assert found == pytest.approx(billions * 1e9, rel=5e-3)
    assert twice_size(12.6e9) / APPLE.forward_flops(12.6e9) == pytest.approx(1 - 0.074, abs=1e-3)
    assert Shape(context=1, vocabulary=1).forward_flops(1e9) == pytest.approx(2e9, rel=1e-2)


@pytest.mark.parametrize("size,tokens,teacher_loss,alone,taught", GOLDEN)
def test_published_coefficients(size, tokens, teacher_loss, alone, taught):
    """A2."""
    found = GAMMA.predict(APPLE_SUPERVISED, N=size, D=tokens)
    learnt = student_loss(size, tokens, teacher_loss)
    print(f"\nA2: {size:.3g} of {tokens:.3g} tokens: alone {found:.7f}, taught {learnt:.7f}")
    assert found == pytest.approx(alone, abs=1e-6)
    assert learnt == pytest.approx(taught, abs=1e-6)


def test_teachers_of_twenty_tokens_a_parameter():
    size, losses = np.array(TEACHERS).T
    np.testing.assert_allclose(
        GAMMA.predict(APPLE_SUPERVISED, N=size, D=20 * size), losses, atol=5e-5
    )


@pytest.mark.parametrize("size,tokens,teacher_loss,alone,taught", GOLDEN)
def test_formulas_as_printed(size, tokens, teacher_loss, alone, taught):
    """Plain powers, as the papers have them, against the logarithms that are computed with."""
    c = APPLE_SUPERVISED
    plain = c["E"] + (c["A"] / size ** c["alpha"] + c["B"] / tokens ** c["beta"]) ** c["gamma"]
    assert GAMMA.predict(c, N=size, D=tokens) == pytest.approx(plain, rel=1e-12)
    p = APPLE_DISTILLATION
    gap = (1 + (teacher_loss / (plain * p["d1"])) ** (1 / p["f1"])) ** (-p["c1"] * p["f1"])
    rest = (p["A"] / size ** p["alpha"] + p["B"] / tokens ** p["beta"]) ** p["gamma"]
    expected = teacher_loss + teacher_loss ** -p["c0"] * gap * rest
    assert student_loss(size, tokens, teacher_loss) == pytest.approx(expected, rel=1e-12)
    e = {"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28}
    plain = e["E"] + e["A"] / size ** e["alpha"] + e["B"] / tokens ** e["beta"]
    assert CHINCHILLA.predict(e, N=size, D=tokens) == pytest.approx(plain, rel=1e-12)


def test_limits():
    """A12: an endless student is its teacher; a teacher that knows nothing teaches nothing."""
    endless, untaught = student_loss(1e40, 1e40, 2.0), student_loss(1e9, 2e10, 1e6) / 1e6
    print(f"\nA12: {endless:.6f} of a teacher of 2; {untaught:.6f} times one that knows nothing")
    assert endless == pytest.approx(2.0, rel=1e-4)
    assert untaught == pytest.approx(1.0, rel=1e-4)


def test_search_and_values_are_two_names_of_one_place():
    point = GAMMA.point(APPLE_SUPERVISED)
    assert GAMMA.named(point) == pytest.approx(APPLE_SUPERVISED, rel=1e-12)
    assert [len(law.starts()) for law in (CHINCHILLA, GAMMA, DISTILLATION)] == [4500, 9600, 216000]


def test_some_starts_are_drawn_from_the_grid():
    grid, some = CHINCHILLA.starts(), CHINCHILLA.starts(most=100, seed=3)
    assert len(np.unique(some, axis=0)) == 100
    assert {tuple(start) for start in some} <= {tuple(start) for start in grid}
    assert np.array_equal(CHINCHILLA.starts(most=10_000), grid)


@pytest.mark.parametrize("a", [-750.0, -3.0, 0.4, 0.4 + 1e-9, 2.0, 750.0])
def test_logarithms_of_sums_and_their_derivatives(a):
    """Also where both terms are one, at which a search may begin."""
    with jax.enable_x64(True):
        point, plain = jnp.array([a, 0.4]), lambda x: jnp.logaddexp(x[0], x[1])
        ours = lambda x: log_add(x[0], x[1])  # noqa: E731
        for each in (lambda f: f, jax.grad, jax.hessian):
            np.testing.assert_allclose(each(ours)(point), each(plain)(point), rtol=1e-13)
        half = jax.hessian(ours)(jnp.array([0.4, 0.4]))
        np.testing.assert_allclose(half, [[0.25, -0.25], [-0.25, 0.25]], rtol=1e-13)


def test_a_law_of_ones_own_has_a_name_like_any_other():
    own = Law(
        name="of a test",
        inputs=("N", "D"),
        coefficients=(Coefficient("A", (1.0,), 0.1, 10.0, log=True),),
        log_loss=lambda c, x: jnp.log(c["A"]) - jnp.log(x["N"]),
    )
    assert law_named(register(own).name) is own
    with pytest.raises(ValueError, match="there is a law named 'of a test' already"):
        register(own)
    with pytest.raises(UserError, match="law 'kaplan': got a name that no law has; expected chin"):
        law_named("kaplan")

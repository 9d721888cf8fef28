"""The fused loss, its gradient taken chunk by chunk, against the same over full logits."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distil_jax.objectives import CrossEntropy, KLDivergence, Signals, Targets
from distil_jax.objectives.chunks import even_chunk
from distil_jax.objectives.fused import token_sums

BATCH, TIME, VOCABULARY = 5, 12, 37
LENGTHS = [12, 5, 0, 1, 9]  # the third row is padding altogether
RECIPE = (CrossEntropy(weight=0.8), KLDivergence(weight=1.5, temperature=2.0))
RECIPES = {
    "cross_entropy": (CrossEntropy(),),
    "kl": (KLDivergence(temperature=1.0),),
    "soft kl": (KLDivergence(temperature=3.0),),
    "both": RECIPE,
}


def signals(width: int, seed: int) -> Signals:
    """Logits of order one to ten: softmax is neither flat nor a single token."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(BATCH, TIME, width))
    head = rng.normal(size=(VOCABULARY, width)) * 2 / width**0.5
    return Signals(jnp.asarray(hidden, jnp.float32), jnp.asarray(head, jnp.float32))


STUDENT, TEACHER = signals(8, 0), signals(16, 1)
TARGETS = Targets(
    jnp.asarray(np.random.default_rng(2).integers(0, VOCABULARY, (BATCH, TIME))),
    jnp.arange(TIME) < jnp.asarray(LENGTHS)[:, None],
)


def plain_sums(recipe, student: Signals, teacher: Signals, targets: Targets):
    """(weighted sum, own sums) in the dtype of what comes in; float64 here."""
    given, wanted = (s.hidden @ s.head.T for s in (student, teacher))
    own = []
    for objective in recipe:
        if isinstance(objective, CrossEntropy):
            log_p = jax.nn.log_softmax(given)
            losses = -(log_p * jax.nn.one_hot(targets.labels, VOCABULARY)).sum(-1)
        else:
            log_p = jax.nn.log_softmax(given / objective.temperature)
            log_q = jax.nn.log_softmax(wanted / objective.temperature)
            losses = objective.temperature**2 * (jnp.exp(log_q) * (log_q - log_p)).sum(-1)
        own.append((losses * targets.mask).sum())
    weights = jnp.asarray([objective.weight for objective in recipe])
    return weights @ jnp.stack(own), jnp.stack(own)


plain_gradient = jax.jit(jax.value_and_grad(plain_sums, argnums=1, has_aux=True), static_argnums=0)


def plain(recipe, student=STUDENT, teacher=TEACHER, targets=TARGETS) -> tuple:
    """((weighted sum, own sums), gradient by the student's signals), in float64."""
    with jax.enable_x64(True):
        student, teacher = (
            jax.tree.map(lambda a: jnp.asarray(np.asarray(a, np.float64)), s)
            for s in (student, teacher)
        )
        return jax.tree.map(np.asarray, plain_gradient(recipe, student, teacher, targets))


def one(
    recipe, student: Signals, teacher: Signals, targets: Targets, chunk: int, skip_padding=False
) -> tuple:
    """`token_sums` of a single student."""
    return token_sums(recipe, {"one": student}, teacher, targets, chunk, skip_padding)["one"]


fused_gradient = jax.jit(jax.value_and_grad(one, argnums=1, has_aux=True), static_argnums=(0, 4, 5))


def fused(
    recipe, chunk: int, student=STUDENT, teacher=TEACHER, targets=TARGETS, skip_padding=False
) -> tuple:
    return fused_gradient(recipe, student, teacher, targets, chunk, skip_padding)


def assert_near(got: tuple, wanted: tuple, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), got, wanted)


@pytest.mark.parametrize(
    "name,chunk", [(name, 5) for name in RECIPES] + [("both", chunk) for chunk in (1, 4, 12, 64)]
)
def test_sums_and_gradients_are_those_over_full_logits(name, chunk):
    assert_near(fused(RECIPES[name], chunk), plain(RECIPES[name]))


@pytest.mark.parametrize("skip_padding", [False, True])
def test_without_a_gradient_the_sums_are_the_same(skip_padding):
    got = jax.jit(lambda: one(RECIPE, STUDENT, TEACHER, TARGETS, 5, skip_padding))()
    assert_near(got, plain(RECIPE)[0])


@pytest.mark.parametrize("chunk", [1, 4, 5, 12, 64])
def test_padding_may_be_skipped(chunk):
    """LENGTHS leave 27 of 60 tokens: of chunks of 5 of them (one of each clip) 6 in 12 are run."""
    assert_near(fused(RECIPE, chunk, skip_padding=True), plain(RECIPE))


@pytest.mark.parametrize("mask", ["nothing", "everything", "holes"])
def test_any_mask_may_be_skipped(mask):
    holes = np.random.default_rng(5).random((BATCH, TIME)) < 0.5
    masks = {"nothing": holes & False, "everything": holes | True, "holes": holes}
    targets = replace(TARGETS, mask=jnp.asarray(masks[mask]))
    got = fused(RECIPE, 2, targets=targets, skip_padding=True)
    assert_near(got, plain(RECIPE, targets=targets))


def test_what_is_skipped_is_not_computed():
    """25 tokens are 5 whole chunks; what is no number in the 7 others would spoil the gradient."""
    mask = jnp.arange(TIME) < jnp.asarray([12, 5, 0, 1, 7])[:, None]
    student = Signals(jnp.where(mask[..., None], STUDENT.hidden, jnp.nan), STUDENT.head)
    targets = replace(TARGETS, mask=mask)
    got = fused(RECIPE, 1, student, targets=targets, skip_padding=True)
    assert_near(got, plain(RECIPE, targets=targets))
    assert np.isnan(fused(RECIPE, 1, student, targets=targets)[1].head).any()


SEVERAL = {"first": STUDENT, "second": signals(8, 3), "wider": signals(12, 4)}


def several(students: dict[str, Signals]) -> tuple:
    """((sum of the losses, values by student), gradients by student)."""

    def loss(students: dict[str, Signals]) -> tuple:
        values = token_sums(RECIPE, students, TEACHER, TARGETS, 5)
        return sum(value for value, _ in values.values()), values

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(students)


def test_each_of_several_students_gets_what_it_gets_alone():
    (_, values), gradients = several(SEVERAL)
    for name, student in SEVERAL.items():
        assert_near((values[name], gradients[name]), plain(RECIPE, student))
        alone = fused(RECIPE, 5, student)
        assert_near((values[name], gradients[name]), alone, rtol=1e-6, atol=1e-6)
    without = jax.jit(lambda: token_sums(RECIPE, SEVERAL, TEACHER, TARGETS, 5))()
    assert_near(without, values)


def test_the_losses_of_several_students_scale_their_own_gradients():
    def loss(students: dict[str, Signals]) -> jax.Array:
        values = token_sums(RECIPE, students, TEACHER, TARGETS, 5)
        return values["first"][0] / 2 - 3 * values["wider"][0]

    got = jax.jit(jax.grad(loss))(SEVERAL)
    for name, scale in (("first", 0.5), ("second", 0), ("wider", -3)):
        wanted = jax.tree.map(lambda a, by=scale: by * a, plain(RECIPE, SEVERAL[name])[1])
        assert_near(got[name], wanted)


def test_the_teacher_s_part_is_computed_once_for_all_students():
    """Its product with the head is one, a student's are three; of exponentials it has its own."""

    def cost(count: int) -> dict[str, float]:
        def loss(students: dict[str, Signals]) -> jax.Array:
            values = token_sums(RECIPE, students, teacher, targets, 4)
            return sum((value for value, _ in values.values()), jnp.zeros(()))

        students = {
            str(n): Signals(jnp.ones((2, 4, 32)), jnp.ones((500, 32))) for n in range(count)
        }
        found = jax.jit(jax.grad(loss)).lower(students).compile().cost_analysis()
        assert found
        return found

    teacher = Signals(jnp.ones((2, 4, 32)), jnp.ones((500, 32)))
    targets = Targets(jnp.zeros((2, 4), jnp.int32), jnp.ones((2, 4), bool))
    found = {count: cost(count) for count in (1, 2, 3)}
    for kind, shared in (("flops", 0.2), ("transcendentals", 0.2)):
        first, second, third = (found[count][kind] for count in (1, 2, 3))
        assert third - second == pytest.approx(second - first, rel=0.02)
        assert first - (second - first) > shared * first


def test_padding_has_no_part_in_anything():
    """Neither labels out of range nor enormous hidden states where the mask is False."""
    hidden = jnp.where(TARGETS.mask[..., None], STUDENT.hidden, 1e4)
    labels = jnp.where(TARGETS.mask, TARGETS.labels, -100)
    got = fused(RECIPE, 5, replace(STUDENT, hidden=hidden), targets=replace(TARGETS, labels=labels))
    wanted = plain(RECIPE)
    assert_near(got, wanted)
    assert not got[1].hidden[~np.asarray(TARGETS.mask)].any()


def test_an_empty_mask_gives_zeros():
    nothing = replace(TARGETS, mask=jnp.zeros_like(TARGETS.mask))
    for array in jax.tree.leaves(fused(RECIPE, 5, targets=nothing)):
        assert not np.asarray(array).any()


def test_a_student_that_is_its_teacher_has_no_divergence():
    (loss, _), gradient = fused(RECIPES["soft kl"], 5, teacher=STUDENT)
    assert abs(float(loss)) < 1e-4
    assert np.abs(gradient.hidden).max() < 1e-5


def test_the_teacher_gets_no_gradient():
    def loss(teacher: Signals) -> jax.Array:
        return one(RECIPE, STUDENT, teacher, TARGETS, 5)[0]

    for array in jax.tree.leaves(jax.jit(jax.grad(loss))(TEACHER)):
        assert not array.any()


def test_weights_scale_sums_and_gradients():
    def weighted(by: float) -> tuple:
        return fused(tuple(o.model_copy(update={"weight": by * o.weight}) for o in RECIPE), 5)

    (loss, own), gradient = weighted(1.0)
    (other_loss, other_own), other = weighted(3.0)
    assert_near((other_loss, other), jax.tree.map(lambda a: 3 * a, (loss, gradient)))
    np.testing.assert_allclose(other_own, own, rtol=1e-6)
    assert float(loss) == pytest.approx(0.8 * float(own[0]) + 1.5 * float(own[1]), rel=1e-6)


def test_what_stands_around_the_loss_scales_its_gradient():
    def loss(student: Signals) -> jax.Array:
        return one(RECIPE, student, TEACHER, TARGETS, 5)[0] / 27

    wanted = jax.tree.map(lambda a: a / 27, plain(RECIPE)[1])
    assert_near(jax.jit(jax.grad(loss))(STUDENT), wanted)


def test_micro_batches_add_up_to_the_batch():
    """Though one of them is padding altogether, and the others have unequal counts."""
    pieces = []
    for rows in ([0, 1], [2], [3, 4]):
        cut = partial(jax.tree.map, lambda a, rows=rows: a[np.asarray(rows)])
        student, teacher = (replace(s, hidden=cut(s.hidden)) for s in (STUDENT, TEACHER))
        pieces.append(fused(RECIPE, 5, student, teacher, cut(TARGETS)))
    sums = jax.tree.map(lambda *a: sum(a), *(sums for sums, _ in pieces))
    to_hidden = jnp.concatenate([gradient.hidden for _, gradient in pieces])
    to_head = jnp.stack([gradient.head for _, gradient in pieces]).sum(0)
    assert_near((sums, Signals(to_hidden, to_head)), plain(RECIPE))


def in_bfloat16(signals: Signals) -> Signals:
    return jax.tree.map(lambda a: a.astype(jnp.bfloat16), signals)


def in_float32(signals: Signals) -> Signals:
    return jax.tree.map(lambda a: a.astype(jnp.float32), signals)


def test_bfloat16_is_rounded_where_it_comes_in_and_not_in_the_softmax():
    """Sums differ from float64 over the same rounded inputs by float32's error, not bfloat16's."""
    student, teacher = in_bfloat16(STUDENT), in_bfloat16(TEACHER)
    sums, gradient = fused(RECIPE, 5, student, teacher)
    wanted_sums, wanted = plain(RECIPE, in_float32(student), in_float32(teacher))
    assert {a.dtype.name for a in sums} == {"float32"}
    assert_near(sums, wanted_sums)
    for got, far in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted), strict=True):
        assert got.dtype == jnp.bfloat16
        error = np.abs(np.asarray(got, np.float64) - far)
        assert error.max() < 0.01 * np.abs(far).max()


def test_dividing_by_a_count_rounds_bfloat16_once():
    """1/27 rounded to bfloat16 first would shift the whole gradient by 0.2 %."""
    student = replace(STUDENT, hidden=STUDENT.hidden.astype(jnp.bfloat16))

    def loss(student: Signals, count: float) -> jax.Array:
        return one(RECIPE, student, TEACHER, TARGETS, 5)[0] / count

    gradient = jax.jit(jax.grad(loss))
    whole, divided = (np.asarray(gradient(student, n).hidden, np.float64) for n in (1.0, 27.0))
    seen = whole != 0
    assert np.mean(divided[seen] * 27 / whole[seen]) == pytest.approx(1, abs=5e-4)


def test_a_float32_head_gets_a_float32_gradient_from_bfloat16_states():
    student = replace(STUDENT, hidden=STUDENT.hidden.astype(jnp.bfloat16))
    _, gradient = fused(RECIPE, 5, student)
    assert (gradient.hidden.dtype, gradient.head.dtype) == (jnp.bfloat16, jnp.float32)


def test_full_logits_are_never_in_memory():
    """What the compiled gradient needs beside its inputs and outputs grows with the chunk."""

    def temporary(chunk: int) -> int:
        def loss(student: Signals):
            return one(RECIPE, student, teacher, targets, chunk)[0]

        memory = jax.jit(jax.grad(loss)).lower(student).compile().memory_analysis()
        assert memory
        return memory.temp_size_in_bytes

    rng = np.random.default_rng(0)
    student = teacher = Signals(jnp.zeros((2, 128, 4)), jnp.zeros((1000, 4)))
    targets = Targets(jnp.asarray(rng.integers(0, 1000, (2, 128))), jnp.ones((2, 128), bool))
    full = 2 * 128 * 1000 * 4
    assert temporary(8) < full < temporary(128)


@pytest.mark.parametrize(
    "time,most,expected", [(448, 3, 2), (448, 8, 8), (7, 3, 3), (7, 7, 7), (5, 9, 5), (9, 4, 3)]
)
def test_chunks_are_equal_where_that_costs_little(time, most, expected):
    assert even_chunk(time, most) == expected

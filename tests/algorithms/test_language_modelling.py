"""Language models side by side: against plain sums, one device and eight, and muP's rates."""

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distil_jax.algorithms.language_modelling import LanguageModelling, LearningModel, TeacherModel
from distil_jax.mesh import MeshConfig, compiling_for, make_mesh, split_batch
from distil_jax.models.language_model import (
    LanguageModelConfig,
    bind,
    flops,
    init,
    learning_rate_scales,
    sizes,
)
from distil_jax.models.layers import Compute
from distil_jax.objectives import CrossEntropy, KLDivergence, ZLoss
from distil_jax.objectives.calibration import BINS, expected_calibration_error
from distil_jax.training.settings import OptimizerConfig, TrainConfig

pytestmark = pytest.mark.xdist_group("language models")
SHAPE = LanguageModelConfig(vocab_size=40, layers=2, width=16, heads=2, mlp_width=24, context=12)
LARGER = SHAPE.model_copy(update={"layers": 3, "width": 32})
BATCH, SEQUENCES = 8, np.random.default_rng(0).integers(0, 40, (3, 8, 13)).astype(np.int32)


def shaken(config: LanguageModelConfig, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: np.asarray(a) + rng.normal(0, 0.1, a.shape).astype(np.float32), init(config)
    )


TEACHERS = {
    "one": TeacherModel(LARGER, shaken(LARGER, 7)),
    "two": TeacherModel(SHAPE, shaken(SHAPE, 8)),
}
STUDENTS = {
    "alone": LearningModel(shaken(SHAPE, 1)),
    "of one": LearningModel(shaken(SHAPE, 2), "one"),
    "of two": LearningModel(shaken(SHAPE, 3), "two"),
    "also of two": LearningModel(shaken(SHAPE, 4), "two"),
}


def made(students=STUDENTS, devices: int = 1, strategy: Any = "dp", shape=(-1, 1, 1), **train):
    mesh = MeshConfig(strategy=strategy, shape=shape)
    optimizer = OptimizerConfig(
        learning_rate=1e-2, warmup_steps=1, schedule="cosine", final_share=0.1
    )
    values = {"steps": 3, "batch_size": BATCH, "freeze": (), "loss_chunk": 32, **train}
    needed = {student.teacher for student in students.values()}
    return LanguageModelling(
        model=SHAPE,
        students=students,
        teachers={name: each for name, each in TEACHERS.items() if name in needed},
        alone=(CrossEntropy(), ZLoss()),
        taught=(KLDivergence(temperature=1.0), ZLoss()),
        config=TrainConfig(optimizer=optimizer, **values),
        compute=Compute(),
        mesh=make_mesh(mesh, jax.devices()[:devices]),
        rules=mesh.rules,
        base_width=32,
    )


def trained(algorithm: LanguageModelling) -> tuple[list[dict], dict]:
    state, seen = algorithm.init(), []
    sharding = split_batch(algorithm.mesh, algorithm.rules)
    for tokens in SEQUENCES:
        state, metrics = algorithm.step(state, jax.device_put(tokens, sharding))
        seen.append(jax.device_get(metrics))
    return seen, jax.device_get(state.params)


@pytest.fixture(scope="module")
def together() -> tuple[list[dict], dict]:
    return trained(made())


def log_probabilities(config: LanguageModelConfig, params: dict, tokens: np.ndarray) -> np.ndarray:
    signals = bind(config, Compute(), params).signals(jnp.asarray(tokens))
    return np.asarray(jax.nn.log_softmax(signals.hidden @ signals.head.T), np.float64)


def test_losses_are_plain_means(together):
    """Of the first step, before anything has changed."""
    tokens, labels = SEQUENCES[0][:, :-1], SEQUENCES[0][:, 1:]
    for name, student in STUDENTS.items():
        found = together[0][0][name]
        signals = bind(SHAPE, Compute(), student.params).signals(jnp.asarray(tokens))
        logits = np.asarray(signals.hidden @ signals.head.T, np.float64)
        total = np.log(np.exp(logits).sum(-1))
        own = logits - total[..., None]
        if student.teacher is None:
            main = -np.take_along_axis(own, labels[..., None], axis=-1).mean()
        else:
            teacher = TEACHERS[student.teacher]
            theirs = log_probabilities(teacher.config, teacher.params, tokens)
            main = (np.exp(theirs) * (theirs - own)).sum(-1).mean()
        assert found["z_loss"] == pytest.approx((total**2).mean(), rel=1e-5)
        assert found["loss"] == pytest.approx(main + 1e-4 * (total**2).mean(), rel=1e-5)


@pytest.mark.slow
def test_a_student_learns_beside_others_what_it_learns_alone(together):
    for name, student in STUDENTS.items():
        seen, params = trained(made({name: student}))
        for ours, theirs in zip(together[0], seen, strict=True):
            assert ours[name]["loss"] == pytest.approx(float(theirs[name]["loss"]), rel=1e-5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
            together[1][name],
            params[name],
        )


@pytest.mark.parametrize(
    "strategy,shape",
    [
        ("dp", (8, 1, 1)),
        pytest.param("fsdp", (2, 4, 1), marks=pytest.mark.slow),
        ("fsdp+tensor", (2, 2, 2)),
    ],
)
def test_eight_devices_learn_what_one_does(together, strategy, shape):
    seen, params = trained(made(devices=8, strategy=strategy, shape=shape))
    for ours, theirs in zip(together[0], seen, strict=True):
        for name in STUDENTS:
            assert ours[name]["loss"] == pytest.approx(float(theirs[name]["loss"]), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), together[1], params)


@pytest.mark.parametrize("devices,shape", [(1, (1, 1, 1)), (8, (2, 2, 2))])
def test_accelerators_learn_side_by_side_what_a_cpu_does_one_by_one(together, devices, shape):
    with compiling_for("gpu"):
        seen, params = trained(made(devices=devices, strategy="fsdp+tensor", shape=shape))
    for ours, theirs in zip(together[0], seen, strict=True):
        for name in STUDENTS:
            assert ours[name]["loss"] == pytest.approx(float(theirs[name]["loss"]), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), together[1], params)


def test_micro_batches_learn_what_whole_ones_do(together):
    seen, _ = trained(made(accumulation=4))
    for ours, theirs in zip(together[0], seen, strict=True):
        for name in STUDENTS:
            assert ours[name]["loss"] == pytest.approx(float(theirs[name]["loss"]), rel=1e-5)


def test_what_is_measured_is_a_sum_over_tokens():
    algorithm = made()
    state = algorithm.init()
    found = jax.device_get(algorithm.measure(state, jnp.asarray(SEQUENCES[0])))
    tokens, labels = SEQUENCES[0][:, :-1], SEQUENCES[0][:, 1:]
    own = log_probabilities(SHAPE, STUDENTS["of one"].params, tokens)
    theirs = log_probabilities(LARGER, TEACHERS["one"].params, tokens)
    plain = -np.take_along_axis(own, labels[..., None], axis=-1).sum()
    assert found["of one"]["cross_entropy"] == pytest.approx(plain, rel=1e-5)
    divergence = (np.exp(theirs) * (theirs - own)).sum()
    assert found["of one"]["kl"] == pytest.approx(divergence, rel=1e-4)
    assert "kl" not in found["alone"]


def calibration_error(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Bin by bin, as it is defined."""
    tops = np.exp(log_probabilities).max(-1)
    right = log_probabilities.argmax(-1) == labels
    error = 0.0
    for number in range(BINS):
        inside = (tops > number / BINS) & (tops <= (number + 1) / BINS)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - tops[inside].mean())
    return error


def half_guessed(params: dict) -> np.ndarray:
    """[24, 13] tokens, of which about every other is what the model before it thinks likeliest."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 40, (24, 13)).astype(np.int32)
    for place in range(12):
        guess = log_probabilities(SHAPE, params, tokens[:, :-1])[:, place].argmax(-1)
        tokens[:, place + 1] = np.where(rng.random(24) < 0.5, guess, tokens[:, place + 1])
    return tokens


@pytest.mark.parametrize(
    "devices,sequences,train",
    [(1, 24, {}), (1, 2, {"loss_chunk": 10}), (8, 8, {})],
    ids=["whole", "parts", "eight devices"],
)
def test_the_calibration_error_is_that_of_all_tokens(devices, sequences, train):
    """However they are cut into batches, chunks and devices."""
    params = shaken(SHAPE, 1)
    params["head"] *= 8  # sure of some tokens
    text = half_guessed(params)
    students = {"alone": LearningModel(params), "of one": LearningModel(params, "one")}
    algorithm = made(students, devices=devices, **train)
    state, means = algorithm.init(), {name: Counter() for name in students}
    sharding = split_batch(algorithm.mesh, algorithm.rules)
    for batch in np.split(text, len(text) // sequences):
        found = jax.device_get(algorithm.measure(state, jax.device_put(batch, sharding)))
        for name, each in found.items():
            means[name].update({what: total / (24 * 12) for what, total in each.items()})
    plain, labels = log_probabilities(SHAPE, params, text[:, :-1]), text[:, 1:]
    error = calibration_error(plain, labels)
    right, tops = plain.argmax(-1) == labels, np.exp(plain.max(-1))
    assert abs((right - tops).mean()) < error - 0.1  # too sure here, not sure enough there
    for name in students:
        assert expected_calibration_error(means[name]) == pytest.approx(error, abs=1e-5)


def test_matrices_of_wide_models_learn_slower():
    """Adam's first update is the learning rate, whatever the gradient."""
    narrow, wide = (learning_rate_scales(init(c), c.width, 16) for c in (SHAPE, LARGER))
    assert set(jax.tree.leaves(narrow)) == {1.0}
    assert wide["embedding"] == wide["norm"]["scale"] == 1.0
    assert wide["head"] == wide["blocks"]["mlp"]["down"]["kernel"] == 0.5
    algorithm = made({"alone": STUDENTS["alone"]})
    state = algorithm.init()
    for tokens in SEQUENCES[:2]:  # the first has a learning rate of 0
        before = jax.device_get(state.params["alone"])
        state, _ = algorithm.step(state, jnp.asarray(tokens))
    moved = jax.tree.map(
        lambda a, b: np.abs(a - b).max(), before, jax.device_get(state.params["alone"])
    )
    assert moved["embedding"] == pytest.approx(1e-2, rel=0.5)
    assert moved["head"] == pytest.approx(2 * moved["embedding"], rel=0.5)


def test_a_fresh_model_knows_nothing():
    signals = bind(SHAPE, Compute(), init(SHAPE)).signals(jnp.asarray(SEQUENCES[0]))
    assert not np.asarray(signals.hidden @ signals.head.T).any()


def test_sizes_leave_out_embedding_and_head():
    size, total = sizes(SHAPE)
    assert total - size == 2 * 40 * 16
    assert size == 2 * (4 * 16 * 16 + 3 * 16 * 24 + 2 * 16 + 2 * 8) + 16


def test_operations_are_those_that_the_compiler_counts():
    config = SHAPE.model_copy(update={"width": 256, "mlp_width": 688, "vocab_size": 1000})
    shapes = jax.eval_shape(lambda: init(config))
    tokens = jax.ShapeDtypeStruct((2, 128), jnp.int32)

    def logits(params: dict, tokens: jax.Array) -> jax.Array:
        signals = bind(config, Compute(), params).signals(tokens)
        return signals.shown(signals.hidden)

    analysis = jax.jit(logits).lower(shapes, tokens).compile().cost_analysis()
    assert analysis
    ours = 2 * flops(config, 128).forward
    assert ours <= analysis["flops"] <= 1.035 * ours

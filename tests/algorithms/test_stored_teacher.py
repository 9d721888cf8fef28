"""Training on a teacher's stored signals: the same losses and students as with the teacher."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import numpy as np
import pytest

from distil_jax.algorithms.sequence_distillation import SequenceDistillation, Student
from distil_jax.data.batch import SpeechBatch, StoredSignals, make_batch
from distil_jax.data.targets import Target
from distil_jax.errors import ConfigError
from distil_jax.labelling.settings import SignalsConfig
from distil_jax.labelling.teacher_signals import TeacherSignals
from distil_jax.mesh import MeshConfig, split_batch
from distil_jax.models.layers import Compute
from distil_jax.models.whisper import WhisperConfig, bind, init
from distil_jax.run import ONLY_STUDENT
from tests.made_up_training import TOKENS, TRAIN, VOCABULARY, batch, distillation, teacher

TEMPERATURE = 2.0  # of the recipe's kl
STEPS = 2
EXACT = SignalsConfig(top_k="all", dtype="float32")
EXACT_STATES = SignalsConfig(top_k="all", dtype="float32", encoder_states=True)
SMALL = SignalsConfig(top_k=8, encoder_states=True)


@cache
def _maker(settings: str) -> tuple[TeacherSignals, dict]:
    config = SignalsConfig.model_validate_json(settings)
    plain = distillation()
    made = TeacherSignals(
        plain.teacher_config, config, TEMPERATURE, 3, plain.mesh, plain.rules, Compute()
    )
    return made, made.place(plain.teacher_params)


def maker(config: SignalsConfig) -> tuple[TeacherSignals, dict]:
    """(what makes the cache, the teacher's parameters on the device)."""
    return _maker(config.model_dump_json())


@cache
def _stored(settings: str, seed: int) -> list[StoredSignals]:
    made, params = _maker(settings)
    return made(params, batch(seed), [TOKENS] * len(batch().inputs))


def stored(config: SignalsConfig, seed: int) -> list[StoredSignals]:
    """What the cache has of the clips of a batch."""
    return _stored(config.model_dump_json(), seed)


def cached_batch(config: SignalsConfig, seed: int) -> SpeechBatch:
    """The batch of that seed as the loader makes it of a cache."""
    plain = batch(seed)
    targets = [Target(*row) for row in zip(plain.inputs, plain.labels, plain.mask, strict=True)]
    clips: Sequence[np.ndarray] = [] if config.encoder_states else list(plain.samples)
    sizes = [TOKENS], plain.samples.shape[1]
    return make_batch(clips, list(plain.seconds), targets, *sizes, stored(config, seed))


def train(
    algorithm: SequenceDistillation, config: SignalsConfig | None
) -> tuple[list[dict], dict, SequenceDistillation]:
    algorithm = replace(algorithm, signals=config)
    state, seen = algorithm.init(), []
    where = split_batch(algorithm.mesh, algorithm.rules)
    for step in range(STEPS):
        made = batch(step) if config is None else cached_batch(config, step)
        state, metrics = algorithm.step(state, jax.device_put(made, where))
        seen.append({name: float(value) for name, value in metrics[ONLY_STUDENT].items()})
    return seen, algorithm.student(jax.device_get(state.params)), algorithm


@cache
def live() -> tuple[list[dict], dict]:
    return train(distillation(), None)[:2]


def assert_live(metrics: list[dict], params: dict) -> None:
    for ours, theirs in zip(metrics, live()[0], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, live()[1])


@pytest.mark.parametrize(
    "config,strategy,shape",
    [
        pytest.param(EXACT, "dp", (1, 1, 1), marks=pytest.mark.slow),
        pytest.param(EXACT_STATES, "dp", (1, 1, 1), marks=pytest.mark.slow),
        pytest.param(EXACT_STATES, "fsdp", (2, 4, 1), marks=pytest.mark.slow),
    ],
    ids=["distributions", "states too", "on eight devices"],
)
def test_whole_distributions_train_the_same_student(config, strategy, shape):
    mesh = MeshConfig.model_validate({"strategy": strategy, "shape": shape})
    assert_live(*train(distillation(mesh=mesh), config)[:2])


@pytest.mark.slow
def test_micro_batches_train_the_same_student():
    halves = TRAIN.model_copy(update={"accumulation": 2})
    assert_live(*train(distillation(halves), EXACT_STATES)[:2])


@pytest.mark.slow
def test_most_tokens_in_float16_stay_near():
    """Of 90 of 96, because this teacher is sure of nothing."""
    metrics, _, _ = train(distillation(), SignalsConfig(top_k=90, encoder_states=True))
    for ours, theirs in zip(metrics, live()[0], strict=True):
        assert ours["good"]
        assert ours["cross_entropy"] == pytest.approx(theirs["cross_entropy"], rel=2e-3)
        assert 0.9 * theirs["kl"] < ours["kl"] < 1.002 * theirs["kl"]  # merging only loses


@pytest.mark.slow
def test_an_encoder_of_its_own_learns_with_stored_distributions():
    own = TRAIN.model_copy(update={"freeze": ("decoder.positions",)})
    metrics, _, _ = train(distillation(own), EXACT)
    wanted, _, _ = train(distillation(own), None)
    for ours, theirs in zip(metrics, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    with pytest.raises(ConfigError, match=r"encoder_states: the student's encoder is not the"):
        replace(distillation(own), signals=EXACT_STATES)


SEVERAL = {"small": 1, "large": 2}  # fewer than the teacher, of which they then differ


def first_losses(config: SignalsConfig | None) -> dict[str, dict[str, float]]:
    """Of several students, by name."""
    algorithm = replace(distillation(students=SEVERAL), signals=config)
    made = batch(0) if config is None else cached_batch(config, 0)
    _, metrics = algorithm.step(algorithm.init(), made)
    return {name: {k: float(v) for k, v in each.items()} for name, each in metrics.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [pytest.param(EXACT, id="distributions"), pytest.param(EXACT_STATES, id="states too")],
)
def test_several_students_learn_of_one_cache(config):
    found, expected = first_losses(config), first_losses(None)
    assert set(found) == set(SEVERAL)
    for name, each in expected.items():
        assert found[name] == pytest.approx(each, rel=1e-5)


@pytest.mark.slow
def test_an_encoder_of_its_own_beside_one_that_is_shared():
    """The teacher's to the last bit but one, so that the losses are the same."""
    plain = distillation()
    student = plain.students[ONLY_STUDENT]
    own = jax.tree.map(np.copy, student.params)
    own["encoder"]["norm"]["scale"] = own["encoder"]["norm"]["scale"] * (1 + 1e-7)
    students = {"sharing": student, "apart": Student(student.config, own)}
    both = replace(plain, students=students, signals=EXACT)
    assert set(both.abstract_constants()["teacher"]) == {"encoder"}
    _, metrics = both.step(both.init(), cached_batch(EXACT, 0))
    for name in students:
        assert float(metrics[name]["loss"]) == pytest.approx(live()[0][0]["loss"], rel=1e-5)
    with pytest.raises(ConfigError, match=r"encoder_states: the student apart's encoder is not"):
        replace(both, signals=EXACT_STATES)


def test_what_is_stored_needs_no_place_on_a_device():
    plain = distillation()
    whole, exact, states = (
        replace(plain, signals=config).abstract_constants()
        for config in (None, EXACT, EXACT_STATES)
    )
    assert set(whole["teacher"]) == {"encoder", "decoder"}
    assert set(exact["teacher"]) == {"encoder"}  # it runs for the students who share it
    assert states["teacher"] == {}
    for each in (whole, exact, states):
        assert "encoder" not in each["frozen"][ONLY_STUDENT]
    own = distillation(TRAIN.model_copy(update={"freeze": ("decoder.positions",)}))
    assert replace(own, signals=EXACT).abstract_constants()["teacher"] == {}


def test_what_is_stored_costs_nothing():
    plain, made = distillation(), batch()
    whole, exact, states = (
        replace(plain, signals=config).flops(made) for config in (None, EXACT, EXACT_STATES)
    )
    assert exact == {**whole, "teacher_forward": 0}
    assert states == {**exact, "encoder_forward": 0}
    own = distillation(TRAIN.model_copy(update={"freeze": ("decoder.positions",)}))
    cheap = replace(own, signals=EXACT).flops(made)
    assert cheap == {**own.flops(made), "teacher_forward": 0, "encoder_forward": 0}


def test_bfloat16_products_of_stored_states():
    config = SignalsConfig(top_k=8, encoder_states=True)
    metrics, _, algorithm = train(distillation(compute=Compute(dtype="bfloat16")), config)
    assert metrics[0]["cross_entropy"] == pytest.approx(live()[0][0]["cross_entropy"], rel=2e-2)
    assert all(each["good"] for each in metrics)
    assert {a.dtype.name for a in jax.tree.leaves(algorithm.init().params)} == {"float32"}


def test_a_batch_of_shapes_lowers_to_the_same_step():
    """As planning does, where there is no cache yet."""
    algorithm = replace(distillation(), signals=SMALL)
    made = cached_batch(SMALL, 0)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), made)
    told = maker(SMALL)[0].shapes(algorithm.teacher_params, len(made.inputs), TOKENS)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), told) == jax.tree.map(
        lambda a: (a.shape, a.dtype), (shapes.teacher, shapes.encoded)
    )
    assert algorithm.lower(shapes).in_tree


def plain_distributions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities [b, t, v], encoder states) of the teacher, written out in numpy float64."""
    config, params = teacher()
    model: Any = bind(config, Compute(), params)
    encoded = model.encode(batch(seed).samples)
    signals = model.signals(batch(seed).inputs, encoded)
    logits = np.asarray(signals.hidden, np.float64) @ np.asarray(signals.head, np.float64).T
    powers = np.exp(logits / TEMPERATURE)
    return powers / powers.sum(-1, keepdims=True), np.asarray(encoded)


def test_the_cache_has_what_the_teacher_shows():
    probabilities, encoded = plain_distributions(0)
    rows = stored(SMALL, 0)
    for row, wanted, states in zip(rows, probabilities, encoded, strict=True):
        assert row.tokens is not None
        assert row.encoded is not None
        assert (row.log_probs.dtype, row.tokens.dtype) == (np.float16, np.uint16)
        of_tokens = np.take_along_axis(wanted, row.tokens.astype(int), axis=-1)
        assert of_tokens.min() >= np.sort(wanted, axis=-1)[:, -8].min() * (1 - 1e-4)
        np.testing.assert_allclose(
            np.exp(row.log_probs[:, :-1].astype(float)), of_tokens, rtol=5e-3
        )
        rest = 1 - of_tokens.sum(-1)
        np.testing.assert_allclose(np.exp(row.log_probs[:, -1].astype(float)), rest, rtol=5e-3)
        np.testing.assert_allclose(row.encoded, states, rtol=1e-3, atol=1e-3)
        assert row.temperature == TEMPERATURE


@pytest.mark.parametrize("config", [EXACT, EXACT_STATES, SMALL, SignalsConfig(top_k=3)])
def test_its_bytes_are_told_beforehand(config):
    of_position, of_clip = maker(config)[0].bytes_of(teacher()[1])
    row = stored(config, 0)[0]
    arrays = [a for a in (row.log_probs, row.tokens, row.encoded) if a is not None]
    assert of_clip + TOKENS * of_position == sum(a.nbytes for a in arrays)


def test_padding_is_not_stored():
    made, params = maker(SMALL)
    lengths = [7, 2, 1]
    rows = made(params, batch(), lengths)
    assert [len(row.log_probs) for row in rows] == lengths
    for row, whole in zip(rows, stored(SMALL, 0), strict=False):
        np.testing.assert_array_equal(row.log_probs, whole.log_probs[: len(row.log_probs)])


def test_ids_take_four_bytes_only_where_two_are_too_few():
    config, _ = teacher()
    large = WhisperConfig(**{**config.model_dump(), "vocab_size": 2**16 + 1})
    assert config.vocab_size == VOCABULARY
    made = replace(maker(SMALL)[0], model=large)
    params = jax.eval_shape(lambda: init(large))
    shown: Any = made.shapes(params, 1, 1)[0]
    assert shown.tokens.dtype == np.int32

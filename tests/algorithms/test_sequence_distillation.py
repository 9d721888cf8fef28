"""One training step: on any mesh, in any micro-batches, and against the same written in PyTorch."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from distil_jax.algorithms.sequence_distillation import SequenceDistillation, Student
from distil_jax.mesh import MeshConfig, split_batch
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.layers import Compute
from distil_jax.models.pretrained import to_state_dict
from distil_jax.run import ONLY_STUDENT
from distil_jax.training.state import TrainState
from tests.made_up_training import TRAIN, VOCABULARY, batch, distillation

MESHES = [
    ("dp", (1, 1, 1)),
    ("dp", (8, 1, 1)),
    ("fsdp", (2, 4, 1)),
    ("fsdp+tensor", (2, 2, 2)),
    pytest.param("fsdp", (1, 8, 1), marks=pytest.mark.slow),
    pytest.param("fsdp+tensor", (1, 4, 2), marks=pytest.mark.slow),
]


def train(algorithm: SequenceDistillation, steps: int = 5) -> tuple[list[dict], dict]:
    """(metrics of each step, the student's parameters after them)."""
    state, seen = algorithm.init(), []
    where = split_batch(algorithm.mesh, algorithm.rules)
    for step in range(steps):
        state, metrics = algorithm.step(state, jax.device_put(batch(step), where))
        seen.append({name: float(value) for name, value in metrics[ONLY_STUDENT].items()})
    return seen, algorithm.student(jax.device_get(state.params))


@cache
def expected() -> tuple[list[dict], dict]:
    return train(distillation())


def assert_same(got: tuple[list[dict], dict], wanted: tuple[list[dict], dict]) -> None:
    for ours, theirs in zip(got[0], wanted[0], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got[1], wanted[1])


def test_five_steps_learn_something():
    metrics, params = expected()
    assert all(m["good"] for m in metrics)
    assert metrics[0]["grad_norm"] > TRAIN.optimizer.clip_norm, "clipping is not put to the test"
    moved = jax.tree.map(
        lambda a, b: np.abs(a - b).max(), params, distillation().students[ONLY_STUDENT].params
    )
    assert min(jax.tree.leaves(moved["decoder"])) > 1e-4
    assert max(jax.tree.leaves(moved["encoder"])) == 0


@pytest.mark.parametrize("strategy,shape", MESHES)
def test_every_mesh_gives_the_same(strategy, shape):
    mesh = MeshConfig.model_validate({"strategy": strategy, "shape": shape})
    assert_same(train(distillation(mesh=mesh)), expected())


@pytest.mark.slow
def test_teacher_and_student_may_be_laid_out_differently():
    mesh = MeshConfig(strategy="dp", teacher_strategy="fsdp+tensor", shape=(2, 2, 2))
    algorithm = distillation(mesh=mesh)
    assert_same(train(algorithm), expected())
    constants = algorithm.abstract_constants()["teacher"]["decoder"]["embedding"]
    assert constants.sharding.spec == PartitionSpec(None, "fsdp")


@pytest.mark.parametrize("shape", [pytest.param((1, 1, 1), marks=pytest.mark.slow), (4, 1, 1)])
def test_micro_batches_give_the_same(shape):
    """Though their rows have unequal numbers of tokens: sums are divided once, by all of them."""
    config = TRAIN.model_copy(update={"accumulation": 2})
    assert_same(train(distillation(config, MeshConfig(shape=shape))), expected())


@pytest.mark.slow
def test_a_remembered_encoder_and_one_of_its_own_give_the_same():
    own = jax.tree.map(np.copy, distillation().students[ONLY_STUDENT].params)
    assert distillation(params=own).sharing_encoder == {ONLY_STUDENT}
    own["encoder"]["norm"]["scale"] = own["encoder"]["norm"]["scale"] * (1 + 1e-7)
    apart = distillation(params=own)
    assert not apart.sharing_encoder
    metrics, params = train(apart)
    wanted = expected()
    assert_same(
        (metrics, {"decoder": params["decoder"]}), (wanted[0], {"decoder": wanted[1]["decoder"]})
    )


@pytest.mark.slow
def test_an_encoder_that_is_not_frozen_learns():
    algorithm = distillation(TRAIN.model_copy(update={"freeze": ("decoder.positions",)}))
    assert not algorithm.sharing_encoder
    metrics, params = train(algorithm, 2)
    assert metrics[0]["loss"] == pytest.approx(expected()[0][0]["loss"], rel=1e-5)
    before = jax.tree.map(np.copy, algorithm.students[ONLY_STUDENT].params)
    for side in ("encoder", "decoder"):  # sinusoids never learn, the others were frozen
        fixed = before[side].pop("positions")
        np.testing.assert_array_equal(params[side].pop("positions"), fixed)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), params["encoder"], before["encoder"])
    assert min(jax.tree.leaves(moved)) > 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_unsound_step_is_not_applied(value):
    algorithm = distillation()
    state = algorithm.init()
    before = jax.device_get(state)
    spoilt = batch()
    spoilt.samples[0, :100] = value
    state, metrics = algorithm.step(state, spoilt)
    assert not metrics[ONLY_STUDENT]["good"]
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), before)


def test_an_exploded_gradient_is_not_applied():
    algorithm = distillation(TRAIN.model_copy(update={"exploded_norm": 1e-3}))
    state, metrics = algorithm.step(algorithm.init(), batch())
    assert not metrics[ONLY_STUDENT]["good"]
    assert int(state.step) == 0


def test_bfloat16_stays_near_and_keeps_float32_masters():
    algorithm = distillation(compute=Compute(dtype="bfloat16"))
    metrics, _ = train(algorithm, 2)
    assert metrics[0]["loss"] == pytest.approx(expected()[0][0]["loss"], rel=2e-2)
    assert {a.dtype.name for a in jax.tree.leaves(algorithm.init().params)} == {"float32"}


def test_the_state_is_restored_into_what_it_was():
    for strategy, shape in (("dp", (8, 1, 1)), ("fsdp", (2, 4, 1)), ("fsdp+tensor", (1, 4, 2))):
        mesh = MeshConfig.model_validate({"strategy": strategy, "shape": shape})
        algorithm = distillation(mesh=mesh)
        state, abstract = algorithm.init(), algorithm.abstract_state()
        for made, told in zip(jax.tree.leaves(state), jax.tree.leaves(abstract), strict=True):
            assert (made.shape, made.dtype) == (told.shape, told.dtype)
            assert made.sharding.is_equivalent_to(told.sharding, made.ndim)


SEVERAL = {"small": 1, "large": 3}
SETTINGS = {
    "one device": (TRAIN, MeshConfig(shape=(1, 1, 1))),
    "eight devices": (TRAIN, MeshConfig(strategy="fsdp+tensor", shape=(2, 2, 2))),
    "micro-batches": (TRAIN.model_copy(update={"accumulation": 2}), MeshConfig(shape=(1, 1, 1))),
}


def learned(settings: str, students: dict[str, int], steps: int = 3) -> dict[str, tuple]:
    """By student: (metrics of each step, its gradients of the first step, what it became)."""
    algorithm = distillation(*SETTINGS[settings], students=students)
    state, seen, gradients = algorithm.init(), {name: [] for name in students}, {}
    where = split_batch(algorithm.mesh, algorithm.rules)
    for step in range(steps):
        state, metrics = algorithm.step(state, jax.device_put(batch(step), where))
        for name, own in metrics.items():
            seen[name].append({k: float(v) for k, v in own.items()})
        if step == 0:  # Adam's first moment is then the clipped gradient's tenth
            moments = {n: optax.tree.get(state.opt_state[n], "mu") for n in students}
            gradients = jax.device_get(moments)
    params = jax.device_get(state.params)
    return {n: (seen[n], gradients[n], algorithm.student(params, n)) for n in students}


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_several_students_learn_what_each_learns_alone(settings):
    together = learned(settings, SEVERAL)
    for name, layers in SEVERAL.items():
        metrics, gradients, params = together[name]
        alone = learned(settings, {ONLY_STUDENT: layers})[ONLY_STUDENT]
        for ours, theirs in zip(metrics, alone[0], strict=True):
            assert ours["good"]
            assert ours == pytest.approx(theirs, rel=1e-6)
        near = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
        jax.tree.map(near, gradients, alone[1])
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), params, alone[2])


def test_of_several_students_each_counts_its_own_work():
    whole = distillation(students=SEVERAL).flops(batch())
    for name, layers in SEVERAL.items():
        alone = distillation(students={ONLY_STUDENT: layers}).flops(batch())
        for shared in ("encoder_forward", "teacher_forward"):
            assert whole[shared] == alone[shared]
        for own in ("student_forward", "student_backward"):
            assert whole[f"{own}.{name}"] == alone[own]
    assert len(whole) == 2 + 2 * len(SEVERAL)


@pytest.mark.slow
def test_a_student_with_an_encoder_of_its_own_learns_beside_one_that_shares():
    """The teacher's encoder to the last bit but one, so that the losses are the same."""
    sharing = distillation()
    own = jax.tree.map(np.copy, sharing.students[ONLY_STUDENT].params)
    own["encoder"]["norm"]["scale"] = own["encoder"]["norm"]["scale"] * (1 + 1e-7)
    student = sharing.students[ONLY_STUDENT]
    both = replace(sharing, students={"sharing": student, "apart": Student(student.config, own)})
    assert both.sharing_encoder == {"sharing"}
    flops = both.flops(batch())
    more = flops["student_forward.apart"] - flops["student_forward.sharing"]
    assert more == pytest.approx(flops["encoder_forward"])
    _, metrics = both.step(both.init(), batch())
    for name in both.students:
        assert float(metrics[name]["loss"]) == pytest.approx(expected()[0][0]["loss"], rel=1e-5)


@pytest.mark.slow
def test_one_unsound_student_leaves_all_as_they_are():
    norms = {
        name: float(each["grad_norm"])
        for name, each in step_once(distillation(students=SEVERAL))[1].items()
    }
    limit = {"exploded_norm": (norms["small"] * norms["large"]) ** 0.5}
    algorithm = distillation(TRAIN.model_copy(update=limit), students=SEVERAL)
    before = jax.device_get(algorithm.init())
    state, metrics = step_once(algorithm)
    good = {name: bool(each["good"]) for name, each in metrics.items()}
    assert good == {name: norm <= limit["exploded_norm"] for name, norm in norms.items()}
    assert sorted(good.values()) == [False, True]
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), before)


def step_once(algorithm: SequenceDistillation) -> tuple[TrainState, dict]:
    return algorithm.step(algorithm.init(), batch())


def in_torch(config: ModelConfig, params: dict) -> Any:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    # A token that no batch has: PyTorch gives the row of the padding token no gradient.
    names = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
    values = {**config.to_hf(), **dict.fromkeys(names, VOCABULARY - 1)}
    model = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(**values, attn_implementation="eager")
    )
    state = {name: torch.from_numpy(a.copy()) for name, a in to_state_dict(config, params).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert missing == ["proj_out.weight"]
    return model


def train_in_torch(algorithm: SequenceDistillation, steps: int = 5) -> tuple[list[dict], dict]:
    """The recipe as a page of PyTorch: full logits, plain means, clip, AdamW, linear schedule."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    taught = in_torch(algorithm.teacher_config, algorithm.teacher_params).eval()
    ours = algorithm.students[ONLY_STUDENT]
    student = in_torch(ours.config, ours.params).train()
    student.model.encoder.requires_grad_(False)
    settings = TRAIN.optimizer
    trained = [p for p in student.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(
        trained, settings.learning_rate, eps=settings.epsilon, weight_decay=settings.weight_decay
    )
    seen = []
    for step in range(steps):
        up = step / settings.warmup_steps
        down = (TRAIN.steps - step) / (TRAIN.steps - settings.warmup_steps)
        adam.param_groups[0]["lr"] = settings.learning_rate * min(up, down)
        work = batch(step)
        features = extractor(list(work.samples), sampling_rate=16_000, return_tensors="pt")
        inputs = torch.tensor(work.inputs, dtype=torch.long)
        mask = torch.tensor(work.mask)
        labels = torch.tensor(work.labels, dtype=torch.long)[mask]
        with torch.no_grad():
            wanted = taught(features.input_features, decoder_input_ids=inputs).logits[mask]
        got = student(features.input_features, decoder_input_ids=inputs).logits[mask]
        cross_entropy = torch.nn.functional.cross_entropy(got, labels)
        p, q = (torch.log_softmax(logits / 2.0, dim=-1) for logits in (wanted, got))
        kl = 4.0 * (p.exp() * (p - q)).sum(dim=-1).mean()
        loss = 0.8 * cross_entropy + kl
        adam.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, settings.clip_norm)
        adam.step()
        values = {"loss": loss, "cross_entropy": cross_entropy, "kl": kl, "grad_norm": norm}
        seen.append({name: float(value.detach()) for name, value in values.items()})
    return seen, {name: a.detach().numpy() for name, a in student.state_dict().items()}


def test_five_steps_are_those_of_pytorch():
    algorithm = distillation()
    metrics, params = expected()
    theirs, weights = train_in_torch(algorithm)
    for ours, other in zip(metrics, theirs, strict=True):
        assert {name: ours[name] for name in other} == pytest.approx(other, rel=1e-4)
    for name, array in to_state_dict(algorithm.students[ONLY_STUDENT].config, params).items():
        np.testing.assert_allclose(array, weights[name], atol=1e-4, err_msg=name)

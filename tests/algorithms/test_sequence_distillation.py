"""One training step: on any mesh, in any micro-batches, and against the same written in PyTorch."""

from functools import cache
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from distil_jax.algorithms.sequence_distillation import SequenceDistillation
from distil_jax.mesh import MeshConfig, split_batch
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.layers import Compute
from distil_jax.models.pretrained import to_state_dict
from tests.made_up_training import TRAIN, VOCABULARY, batch, distillation

SHAPES = {
    "dp": [(1, 1, 1), (8, 1, 1)],
    "fsdp": [(1, 8, 1), (2, 4, 1)],
    "fsdp+tensor": [(2, 2, 2), (1, 4, 2)],
}


def train(algorithm: SequenceDistillation, steps: int = 5) -> tuple[list[dict], dict]:
    """(metrics of each step, the student's parameters after them)."""
    state, seen = algorithm.init(), []
    where = split_batch(algorithm.mesh, algorithm.rules)
    for step in range(steps):
        state, metrics = algorithm.step(state, jax.device_put(batch(step), where))
        seen.append({name: float(value) for name, value in metrics.items()})
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
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), params, distillation().student_params)
    assert min(jax.tree.leaves(moved["decoder"])) > 1e-4
    assert max(jax.tree.leaves(moved["encoder"])) == 0


@pytest.mark.parametrize(
    "strategy,shape", [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]
)
def test_every_mesh_gives_the_same(strategy, shape):
    mesh = MeshConfig.model_validate({"strategy": strategy, "shape": shape})
    assert_same(train(distillation(mesh=mesh)), expected())


def test_teacher_and_student_may_be_laid_out_differently():
    mesh = MeshConfig(strategy="dp", teacher_strategy="fsdp+tensor", shape=(2, 2, 2))
    algorithm = distillation(mesh=mesh)
    assert_same(train(algorithm), expected())
    constants = algorithm.abstract_constants()["teacher"]["decoder"]["embedding"]
    assert constants.sharding.spec == PartitionSpec(None, "fsdp")


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 1, 1)])
def test_micro_batches_give_the_same(shape):
    """Though their rows have unequal numbers of tokens: sums are divided once, by all of them."""
    config = TRAIN.model_copy(update={"accumulation": 2})
    assert_same(train(distillation(config, MeshConfig(shape=shape))), expected())


def test_a_remembered_encoder_and_one_of_its_own_give_the_same():
    own = jax.tree.map(np.copy, distillation().student_params)
    assert distillation(params=own).shares_encoder
    own["encoder"]["norm"]["scale"] = own["encoder"]["norm"]["scale"] * (1 + 1e-7)
    apart = distillation(params=own)
    assert not apart.shares_encoder
    metrics, params = train(apart)
    wanted = expected()
    assert_same(
        (metrics, {"decoder": params["decoder"]}), (wanted[0], {"decoder": wanted[1]["decoder"]})
    )


def test_an_encoder_that_is_not_frozen_learns():
    algorithm = distillation(TRAIN.model_copy(update={"freeze": ("decoder.positions",)}))
    assert not algorithm.shares_encoder
    metrics, params = train(algorithm, 2)
    assert metrics[0]["loss"] == pytest.approx(expected()[0][0]["loss"], rel=1e-5)
    before = jax.tree.map(np.copy, algorithm.student_params)
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
    assert not metrics["good"]
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), before)


def test_an_exploded_gradient_is_not_applied():
    algorithm = distillation(TRAIN.model_copy(update={"exploded_norm": 1e-3}))
    state, metrics = algorithm.step(algorithm.init(), batch())
    assert not metrics["good"]
    assert int(state.step) == 0


def test_bfloat16_stays_near_and_keeps_float32_masters():
    algorithm = distillation(compute=Compute(dtype="bfloat16"))
    metrics, _ = train(algorithm, 2)
    assert metrics[0]["loss"] == pytest.approx(expected()[0][0]["loss"], rel=2e-2)
    assert {a.dtype.name for a in jax.tree.leaves(algorithm.init().params)} == {"float32"}


def test_the_state_is_restored_into_what_it_was():
    for strategy, shapes in SHAPES.items():
        mesh = MeshConfig.model_validate({"strategy": strategy, "shape": shapes[1]})
        algorithm = distillation(mesh=mesh)
        state, abstract = algorithm.init(), algorithm.abstract_state()
        for made, told in zip(jax.tree.leaves(state), jax.tree.leaves(abstract), strict=True):
            assert (made.shape, made.dtype) == (told.shape, told.dtype)
            assert made.sharding.is_equivalent_to(told.sharding, made.ndim)


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
    student = in_torch(algorithm.student_config, algorithm.student_params).train()
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
    for name, array in to_state_dict(algorithm.student_config, params).items():
        np.testing.assert_allclose(array, weights[name], atol=1e-4, err_msg=name)

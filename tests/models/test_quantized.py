"""Weights of 8 bits: what they lose, what they take, where they lie, and what they leave alone."""

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import PartitionSpec as P
from qwix import QArray

from distil_jax.algorithms.sequence_distillation import SequenceDistillation
from distil_jax.mesh import MeshConfig, make_mesh, split_batch
from distil_jax.models.placing import placements, shardings
from distil_jax.models.quantized import WeightDtype, dense, quantize, storage, store
from distil_jax.models.whisper import NAME_TABLE
from distil_jax.run import ONLY_STUDENT
from tests.made_up_training import batch, distillation, teacher


def stored(dtype, compute="float32") -> dict:
    _, params = teacher()
    return jax.tree.map(store, params, storage(NAME_TABLE, params, dtype, compute))


def flat(params: dict) -> dict[tuple[str, ...], Any]:
    return flatten_dict(params)  # pyright: ignore[reportReturnType]


def restored(params: dict) -> dict:
    """int8 kernels as float32 matrices."""
    made = {path: dense(a, jnp.dtype("float32")) for path, a in flat(params).items()}
    return unflatten_dict(jax.tree.map(np.asarray, made))


def distilling(weights, strategy="dp", shape=(1, 1, 1), **others) -> SequenceDistillation:
    mesh = MeshConfig.model_validate({"strategy": strategy, "shape": shape})
    return replace(distillation(mesh=mesh, **others), teacher_weights=weights)


def first_metrics(algorithm: SequenceDistillation) -> dict:
    where = split_batch(algorithm.mesh, algorithm.rules)
    _, metrics = algorithm.step(algorithm.init(), jax.device_put(batch(), where))
    return {name: float(value) for name, value in metrics[ONLY_STUDENT].items()}


@cache
def on_one_device(weights: WeightDtype) -> dict:
    return first_metrics(distilling(weights))


def test_a_weight_moves_by_half_a_step_at_most():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 40, 20)).astype(np.float32) * rng.uniform(0.01, 9, (3, 1, 20))
    kernel[1, :, 4] = 0
    made = quantize(jnp.asarray(kernel))
    assert (made.qvalue.dtype, made.qvalue.shape) == (jnp.int8, kernel.shape)
    assert (made.scale.dtype, made.scale.shape) == (jnp.float32, (3, 1, 20))
    np.testing.assert_allclose(
        made.scale[0], np.abs(kernel[0]).max(axis=0)[None] / 127.5, rtol=1e-6
    )
    error = np.abs(dense(made, jnp.dtype("float32")) - kernel)
    assert (error <= np.asarray(made.scale) * 0.5001).all()
    assert error[1, :, 4].max() == 0


def test_a_float_kernel_is_left_as_it_is():
    kernel = jnp.ones((2, 3))
    assert dense(kernel, jnp.dtype("bfloat16")) is kernel


def test_linear_kernels_and_nothing_else_become_int8():
    arrays = flat(stored("int8", compute="bfloat16"))
    quantized = {path for path, a in arrays.items() if isinstance(a, QArray)}
    # Of each block: query, key, value, out, up, down; the decoder's read the encoder as well.
    assert len(quantized) == 6 + 10
    assert {path[-1] for path in quantized} == {"kernel"}
    assert all("blocks" in path for path in quantized)
    assert {a.dtype.name for path, a in arrays.items() if path not in quantized} == {"bfloat16"}
    floats = flat(stored("float32"))
    int8, float32 = (
        sum(leaf.nbytes for path in quantized for leaf in jax.tree.leaves(tree[path]))
        for tree in (arrays, floats)
    )
    scales = sum(arrays[path].scale.nbytes for path in quantized)
    assert int8 - scales == float32 / 4


@pytest.mark.parametrize(
    "dtype,compute,expected",
    [
        ("auto", "bfloat16", "bfloat16"),
        ("float32", "bfloat16", "float32"),
        ("bfloat16", "float32", "bfloat16"),
    ],
)
def test_a_float_type_is_that_of_the_products_or_the_one_asked_for(dtype, compute, expected):
    assert {a.dtype.name for a in jax.tree.leaves(stored(dtype, compute))} == {expected}


@pytest.mark.parametrize(
    "strategy,axes,kernel,scale",
    [
        ("dp", "up", P(None, None, None), P(None, None, None)),
        ("fsdp", "up", P(None, "fsdp", None), P(None, None, None)),
        ("fsdp", "down", P(None, None, "fsdp"), P(None, None, "fsdp")),
        ("fsdp+tensor", "up", P(None, "fsdp", "tensor"), P(None, None, "tensor")),
        ("fsdp+tensor", "down", P(None, "tensor", "fsdp"), P(None, None, "fsdp")),
    ],
)
def test_the_scale_lies_as_the_output_channels_do(strategy, axes, kernel, scale):
    config = MeshConfig(strategy=strategy, shape=(2, 2, 2))
    shapes = storage(NAME_TABLE, teacher()[1], "int8", "float32")
    placed = shardings(NAME_TABLE, shapes, make_mesh(config), config.rules)
    found = placed["decoder"]["blocks"]["mlp"][axes]["kernel"]
    assert (found.qvalue.spec, found.scale.spec) == (kernel, scale)


@pytest.mark.slow
def test_a_step_is_that_of_a_teacher_rounded_by_hand():
    """And not that of the teacher as it was."""
    rounded, exact = restored(stored("int8")), teacher()[1]
    by_hand = {"encoder": exact["encoder"], "decoder": rounded["decoder"]}
    expected = first_metrics(replace(distilling("auto"), teacher_params=by_hand))
    found = on_one_device("int8")
    assert found == pytest.approx(expected, rel=1e-6)
    assert abs(found["kl"] / on_one_device("auto")["kl"] - 1) > 1e-4


@pytest.mark.slow
def test_a_mesh_that_splits_scales_gives_the_same():
    found = first_metrics(distilling("int8", "fsdp+tensor", (2, 2, 2)))
    assert found == pytest.approx(on_one_device("int8"), rel=1e-5)


def test_a_shared_encoder_stays_exact_and_the_student_is_born_of_exact_weights():
    algorithm, exact = distilling("int8"), teacher()[1]
    assert algorithm.sharing_encoder
    found = algorithm.abstract_constants()["teacher"]
    assert not any("qvalue" in row["parameter"] for row in placements(found["encoder"]))
    assert any("qvalue" in row["parameter"] for row in placements(found["decoder"]))
    student = algorithm.student(jax.device_get(algorithm.init().params))
    jax.tree.map(np.testing.assert_array_equal, student["encoder"], exact["encoder"])
    kept = student["decoder"]["blocks"]["mlp"]["up"]["kernel"]
    np.testing.assert_array_equal(kept, exact["decoder"]["blocks"]["mlp"]["up"]["kernel"][::2])


def test_one_student_that_shares_the_encoder_keeps_it_exact():
    plain = distillation().students[ONLY_STUDENT]
    own = jax.tree.map(np.copy, plain.params)
    own["encoder"]["norm"]["scale"] = own["encoder"]["norm"]["scale"] * (1 + 1e-7)
    students = {"sharing": plain, "apart": replace(plain, params=own)}
    found = replace(distilling("int8"), students=students).abstract_constants()
    assert not any("qvalue" in row["parameter"] for row in placements(found["teacher"]["encoder"]))
    assert "encoder" not in found["frozen"]["sharing"]
    assert "encoder" in found["frozen"]["apart"]


def test_an_encoder_that_is_not_shared_is_rounded_with_the_rest():
    own = jax.tree.map(np.copy, distillation().students[ONLY_STUDENT].params)
    own["encoder"]["norm"]["scale"] = own["encoder"]["norm"]["scale"] * (1 + 1e-7)
    algorithm = distilling("int8", params=own)
    found = algorithm.abstract_constants()
    assert any("qvalue" in row["parameter"] for row in placements(found["teacher"]["encoder"]))
    assert not any("qvalue" in row["parameter"] for row in placements(found["frozen"]))

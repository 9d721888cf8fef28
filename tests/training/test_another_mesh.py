"""A run goes on under another mesh and another strategy than it began with."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from distil_jax.mesh import MeshConfig
from distil_jax.run import read_jsonl
from distil_jax.training.checkpoint import Checkpoints
from tests.made_up_training import ONE_DEVICE, distillation
from tests.training.test_loop import CONFIG, STEPS, Batches, run

pytestmark = pytest.mark.slow
EIGHT = MeshConfig(strategy="dp", shape=(8, 1, 1))
OTHERS = {
    "fsdp": MeshConfig(strategy="fsdp", shape=(1, 8, 1)),
    "fsdp and tensor": MeshConfig(strategy="fsdp+tensor", shape=(1, 4, 2)),
    "one device": ONE_DEVICE,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(folder, Batches(), EIGHT)
    return folder


@pytest.fixture(scope="module")
def cut(tmp_path_factory) -> Path:
    """Eight replicas, dead after step 5; the last checkpoint is of step 4."""
    folder = tmp_path_factory.mktemp("cut")
    with pytest.raises(KeyboardInterrupt):
        run(folder, Batches(dies_at=5), EIGHT)
    return folder


def restored(folder: Path, mesh: MeshConfig):
    like = distillation(CONFIG, mesh).abstract_state()
    with Checkpoints(folder / "checkpoints", "made up", 2, 1) as checkpoints:
        found = checkpoints.restore(like)
    assert found is not None
    assert found.step == 4
    same = jax.tree.map(
        lambda a, b: a.sharding.is_equivalent_to(b.sharding, a.ndim), found.state, like
    )
    assert all(jax.tree.leaves(same))
    return found.state


@pytest.mark.parametrize("mesh", OTHERS.values(), ids=OTHERS)
def test_the_state_is_the_same_bits_in_another_layout(cut, mesh):
    state, before = restored(cut, mesh), restored(cut, EIGHT)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), jax.device_get(before))
    split = [not a.sharding.is_fully_replicated for a in jax.tree.leaves(state)]
    assert any(split) == (mesh is not ONE_DEVICE)


@pytest.mark.parametrize("mesh", OTHERS.values(), ids=OTHERS)
def test_training_goes_on_as_if_nothing_had_happened(whole, cut, tmp_path, mesh):
    folder = shutil.copytree(cut, tmp_path / "run")
    run(folder, Batches(), mesh)
    rows, expected = (read_jsonl(path / "metrics.jsonl") for path in (folder, whole))
    assert [row["step"] for row in rows if row["kind"] == "train"] == [*range(1, STEPS + 1)]
    for row, other in zip(rows, expected, strict=True):
        assert row.pop("kind") == other.pop("kind")
        assert row == pytest.approx(other, rel=1e-5)

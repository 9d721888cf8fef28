"""Checkpoints: whole or absent, the best and the latest kept, damage told in a sentence."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distil_jax.errors import UserError
from distil_jax.training.checkpoint import Checkpoints
from distil_jax.training.optimizer import make_optimizer
from distil_jax.training.settings import OptimizerConfig
from distil_jax.training.state import TrainState

# Orbax leaves work behind where reading fails; Python tells of it whenever it collects it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine 'PyTreeHandler:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LOADER = {"row": 7, "epoch": {"number": 1, "order": [3, 1]}}


def state(step: int) -> TrainState:
    params = {"block": {"kernel": jnp.arange(60.0).reshape(20, 3) + step}}
    return TrainState(jnp.int32(step), params, make_optimizer(OptimizerConfig(), 10).init(params))


def opened(folder: Path, made_of: str = "this", latest: int = 2, best: int = 1) -> Checkpoints:
    return Checkpoints(folder, made_of, latest, best)


def saved(folder: Path, rates: dict[int, float | None], latest: int = 2, best: int = 1) -> None:
    with opened(folder, latest=latest, best=best) as checkpoints:
        for step, rate in rates.items():
            checkpoints.save(step, state(step), {**LOADER, "row": step}, rate)


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def restore_latest(folder: Path) -> int | None:
    """The step restored, having looked that all of it is what was saved at that step."""
    with opened(folder) as checkpoints:
        restored = checkpoints.restore(state(0), checkpoints.latest)
    if restored is None:
        return None
    jax.tree.map(np.testing.assert_array_equal, restored.state, state(restored.step))
    assert restored.loader == {**LOADER, "row": restored.step}
    return restored.step


def test_nothing_saved_is_nothing_restored(tmp_path):
    assert restore_latest(tmp_path / "checkpoints") is None


def test_state_and_loader_come_back_together(tmp_path):
    saved(tmp_path, {1: None, 2: None})
    assert restore_latest(tmp_path) == 2


def test_the_state_is_laid_out_as_asked(tmp_path):
    saved(tmp_path, {1: None})
    mesh = jax.make_mesh((4,), ("fsdp",), devices=jax.devices()[:4])
    rows = jax.NamedSharding(mesh, jax.P("fsdp"))
    everywhere = jax.NamedSharding(mesh, jax.P())
    like = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=rows if a.ndim else everywhere),
        state(0),
    )
    with opened(tmp_path) as checkpoints:
        restored = checkpoints.restore(like, 1)
    assert restored
    kernel = restored.state.params["block"]["kernel"]
    assert kernel.sharding.is_equivalent_to(rows, 2)
    np.testing.assert_array_equal(kernel, state(1).params["block"]["kernel"])


@pytest.mark.parametrize(
    "latest,best,kept", [(2, 1, [2, 4, 5]), (1, 1, [2, 5]), (1, 2, [2, 3, 5]), (3, 1, [2, 3, 4, 5])]
)
def test_the_best_and_the_latest_are_kept(tmp_path, latest, best, kept):
    rates = {1: 60.0, 2: 10.0, 3: 20.0, 4: 30.0, 5: None}
    saved(tmp_path, rates, latest, best)
    assert steps(tmp_path) == kept
    with opened(tmp_path, latest=latest, best=best) as checkpoints:
        assert (checkpoints.latest, checkpoints.best) == (5, 2)


@pytest.mark.parametrize(
    "rates,best",
    [
        ({1: 20.0, 2: 20.0}, 2),
        ({1: 20.0, 2: float("nan")}, 1),
        ({1: None, 2: None}, 2),
        ({1: float("inf"), 2: None}, 2),
    ],
    ids=["equals", "nan", "never validated", "never finite"],
)
def test_the_best_is_the_latest_of_the_lowest(tmp_path, rates, best):
    saved(tmp_path, rates)
    with opened(tmp_path) as checkpoints:
        assert checkpoints.best == best


def test_a_step_is_saved_once(tmp_path):
    saved(tmp_path, {1: 5.0})
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, state(9), LOADER, None)
    assert restore_latest(tmp_path) == 1


def test_another_training_is_refused(tmp_path):
    saved(tmp_path, {1: None})
    with (
        opened(tmp_path, made_of="that") as checkpoints,
        pytest.raises(UserError, match="other settings"),
    ):
        checkpoints.restore(state(0), 1)


DAMAGED = [
    "_CHECKPOINT_METADATA",
    "metrics/metrics",
    "state/_METADATA",
    "state/manifest.ocdbt",
    "state/d/*",
    "loader/_METADATA",
    "loader/d/*",
]


@pytest.mark.parametrize("how", ["emptied", "cut short"])
@pytest.mark.parametrize("file", DAMAGED)
def test_a_damaged_checkpoint_is_a_sentence_that_helps(tmp_path, file, how):
    saved(tmp_path, {1: 20.0, 2: 10.0})
    (path,) = (tmp_path / "2").glob(file)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 if how == "cut short" else 0])
    with pytest.raises(UserError, match="cannot be read") as error:
        restore_latest(tmp_path)
    text = str(error.value)
    assert "checkpoint before it" in text
    assert str(tmp_path) in text
    assert len(text) < 700, "whole states are printed"
    assert "handler" not in text, "Orbax's summary, not the cause"
    shutil.rmtree(tmp_path / "2")
    assert restore_latest(tmp_path) == 1


@pytest.mark.parametrize("part", ["", "state", "loader"])
def test_an_emptied_folder_is_a_sentence_too(tmp_path, part):
    saved(tmp_path, {1: 20.0, 2: 10.0})
    shutil.rmtree(tmp_path / "2" / part)
    (tmp_path / "2" / part).mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        restore_latest(tmp_path)


@pytest.mark.parametrize("content", ["nothing", "all", "half"])
def test_what_a_kill_left_of_a_save_breaks_nothing(tmp_path, content):
    """The next run restores the step before it and saves the same step again."""
    saved(tmp_path, {1: None})
    left = tmp_path / "2.orbax-checkpoint-tmp"
    if content == "nothing":
        left.mkdir()
    else:
        shutil.copytree(tmp_path / "1", left)
    if content == "half":
        shutil.rmtree(left / "state" / "d")
        (left / "commit_success.txt").unlink()
    assert restore_latest(tmp_path) == 1
    left.mkdir(exist_ok=True)
    saved(tmp_path, {2: None})
    assert restore_latest(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]

"""Checkpoints: whole or absent, the best and the latest kept, laid out as asked."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from distil_jax.errors import UserError
from distil_jax.run import ONLY_STUDENT
from distil_jax.training.checkpoint import Checkpoints
from tests.made_up_checkpoints import LOADER, opened, restore_latest, saved, state, steps


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
        restored = checkpoints.restore(like)
    assert restored
    kernel = restored.state.params[ONLY_STUDENT]["block"]["kernel"]
    assert kernel.sharding.is_equivalent_to(rows, 2)
    np.testing.assert_array_equal(kernel, state(1).params[ONLY_STUDENT]["block"]["kernel"])


@pytest.mark.parametrize(
    "latest,best,kept", [(2, 1, [2, 4, 5]), (1, 1, [2, 5]), (1, 2, [2, 3, 5]), (3, 1, [2, 3, 4, 5])]
)
def test_the_best_and_the_latest_are_kept(tmp_path, latest, best, kept):
    rates = {1: 60.0, 2: 10.0, 3: 20.0, 4: 30.0, 5: None}
    saved(tmp_path, rates, latest, best)
    assert steps(tmp_path) == kept
    with opened(tmp_path, latest=latest, best=best) as checkpoints:
        assert (checkpoints.latest, checkpoints.best()) == (5, 2)


SEVERAL = ["small", "large"]


def saved_of_several(folder: Path, rates: dict[int, tuple[float, float]]) -> None:
    with Checkpoints(folder, "this", 1, 1, SEVERAL) as checkpoints:
        for step, each in rates.items():
            of_each = dict(zip(SEVERAL, each, strict=True))
            checkpoints.save(step, state(step, SEVERAL), LOADER, of_each)


def test_the_best_of_each_student_is_kept(tmp_path):
    rates = {1: (60.0, 9.0), 2: (10.0, 30.0), 3: (20.0, 20.0), 4: (30.0, 20.0), 5: (40.0, 40.0)}
    saved_of_several(tmp_path, rates)
    assert steps(tmp_path) == [1, 2, 5]
    with Checkpoints(tmp_path, "this", 1, 1, SEVERAL) as checkpoints:
        assert (checkpoints.best("small"), checkpoints.best("large")) == (2, 1)


def test_of_a_student_s_best_its_own_parameters_are_read(tmp_path):
    saved_of_several(tmp_path, {1: (60.0, 9.0), 2: (10.0, 30.0)})
    with Checkpoints(tmp_path, "this", 1, 1, SEVERAL) as checkpoints:
        for name, best in (("small", 2), ("large", 1)):
            found = checkpoints.best_params(state(0, SEVERAL), name)
            assert found is not None
            assert (list(found[0]), found[1]) == ([name], best)
            wanted = {name: state(best, SEVERAL).params[name]}
            jax.tree.map(np.testing.assert_array_equal, found[0], wanted)


def test_a_rate_that_is_no_number_is_no_student_s_best(tmp_path):
    nan = float("nan")
    saved_of_several(tmp_path, {1: (60.0, nan), 2: (nan, 30.0), 3: (nan, nan)})
    assert steps(tmp_path) == [1, 2, 3]
    with Checkpoints(tmp_path, "this", 1, 1, SEVERAL) as checkpoints:
        assert (checkpoints.best("small"), checkpoints.best("large")) == (1, 2)


def test_other_students_make_another_training_no_damage(tmp_path):
    """Their metrics have other names; they stay where they are, and the message is the usual."""
    saved_of_several(tmp_path, {1: (60.0, 9.0)})
    with (
        opened(tmp_path, made_of="that") as checkpoints,
        pytest.raises(UserError, match="other settings"),
    ):
        checkpoints.claim()
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize(
    "rates,kept",
    [
        ({1: 20.0, 2: 20.0, 3: 20.0, 4: None}, [3, 4]),
        ({1: 30.0, 2: 20.0, 3: float("nan"), 4: 40.0, 5: None}, [2, 5]),
        ({1: float("nan"), 2: 50.0, 3: float("nan"), 4: None}, [2, 4]),
        ({1: float("inf"), 2: float("nan"), 3: None}, [2, 3]),
    ],
    ids=["of equals the latest", "nan among numbers", "nan first", "no number at all"],
)
def test_a_rate_that_is_no_number_never_takes_the_place_of_the_best(tmp_path, rates, kept):
    saved(tmp_path, rates, latest=1)
    assert steps(tmp_path) == kept
    with opened(tmp_path, latest=1) as checkpoints:
        assert checkpoints.best() == (kept[0] if np.isfinite(rates[kept[0]]) else kept[-1])


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
        assert checkpoints.best() == best


def test_of_the_best_the_parameters_alone_are_read(tmp_path, monkeypatch):
    """Neither the moments nor the loader's position."""
    saved(tmp_path, {1: 10.0, 2: 20.0})
    with opened(tmp_path) as checkpoints:
        asked = []
        load = checkpoints._checkpointer.load_checkpointables
        monkeypatch.setattr(
            checkpoints._checkpointer,
            "load_checkpointables",
            lambda step, wanted: asked.append((step, wanted)) or load(step, wanted),
        )
        found = checkpoints.best_params(state(0))
    assert found is not None
    params, step = found
    assert step == 1
    jax.tree.map(np.testing.assert_array_equal, params, state(1).params)
    [(step, wanted)] = asked
    assert list(wanted) == ["state"]
    assert set(jax.tree.leaves(wanted["state"].opt_state)) == {...}


def test_a_step_is_saved_once(tmp_path):
    saved(tmp_path, {1: 5.0})
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, state(9), LOADER, {})
    assert restore_latest(tmp_path) == 1


def test_another_training_is_refused(tmp_path):
    saved(tmp_path, {1: None})
    with (
        opened(tmp_path, made_of="that") as checkpoints,
        pytest.raises(UserError, match="other settings"),
    ):
        checkpoints.restore(state(0))


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

"""Damaged checkpoints: seen whatever was damaged, set aside, and the one before is taken."""

import json
import logging
import random
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distil_jax.errors import UserError
from distil_jax.run import RunFolder
from distil_jax.training.damage import Damaged
from distil_jax.training.seal import check_contents, check_seal, make_seal
from tests.made_up_checkpoints import change, flipped, opened, restore_latest, saved, state, steps

# Orbax leaves work behind where reading fails; Python tells of it whenever it collects it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine 'PyTreeHandler:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FILES = [
    "_CHECKPOINT_METADATA",
    "metrics/metrics",
    "state/_METADATA",
    "state/manifest.ocdbt",
    "state/d/*",
    "state/ocdbt.process_0/d/*",
    "loader/_METADATA",
    "loader/d/*",
]
WAYS = {
    "emptied": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "flipped": flipped,
    "removed": lambda content: None,
}


def damage(folder: Path, file: str, how: str) -> None:
    """The largest of the files of that name: data rather than their table."""
    change(max(folder.glob(file), key=lambda path: path.stat().st_size), WAYS[how])


# Of a flipped bit in Orbax's tables nothing may come: the next test.
@pytest.mark.parametrize(
    "file,how",
    [(f, how) for f in FILES for how in WAYS if how != "flipped" or "_METADATA" not in f],
)
def test_a_damaged_one_is_set_aside_and_the_one_before_taken(tmp_path, caplog, file, how):
    folder = tmp_path / "checkpoints"
    saved(folder, {1: 20.0, 2: 10.0})
    damage(folder / "2", file, how)
    with caplog.at_level(logging.WARNING, "distil_jax"):
        assert restore_latest(folder) == 1
    [record] = [r for r in caplog.records if r.name.startswith("distil_jax")]
    words = record.getMessage()
    assert f"checkpoint {folder / '2'} is damaged: " in words
    assert f"set aside as {folder / 'set_aside' / '2'}" in words
    assert len(words) < 700, "whole states are printed"
    assert "handler" not in words, "Orbax's summary, not the cause"
    assert (folder / "set_aside" / "2").is_dir()
    assert steps(folder) == [1]
    with opened(folder) as checkpoints:
        assert checkpoints.latest == 1


@pytest.mark.parametrize("seed", range(3))
def test_no_flipped_bit_comes_back_as_another_state(tmp_path, seed):
    """It is seen or does not matter: `restore_latest` looks at every number."""
    saved(tmp_path / "whole", {1: 20.0, 2: 10.0})
    rng, found = random.Random(seed), []
    for path in sorted(p for p in (tmp_path / "whole" / "2").rglob("*") if p.is_file()):
        copy = shutil.copytree(tmp_path / "whole", tmp_path / "copy")
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (copy / path.relative_to(tmp_path / "whole")).write_bytes(content)
        found.append(restore_latest(copy))
        shutil.rmtree(copy)
    assert set(found) == {1, 2}


@pytest.mark.parametrize("part", ["", "state", "loader", "metrics"])
def test_so_is_an_emptied_folder(tmp_path, part):
    saved(tmp_path, {1: 20.0, 2: 10.0})
    shutil.rmtree(tmp_path / "2" / part)
    (tmp_path / "2" / part).mkdir()
    assert restore_latest(tmp_path) == 1


def test_where_all_are_damaged_none_is_left(tmp_path):
    run = RunFolder(tmp_path)
    saved(run.checkpoints, {1: None, 2: None})
    assert run.trained
    for step in ("1", "2"):
        damage(run.checkpoints / step, "state/manifest.ocdbt", "cut short")
    with opened(run.checkpoints) as checkpoints:
        assert not checkpoints.all_lost
        assert checkpoints.restore(state(0)) is None
        assert checkpoints.all_lost
    assert not run.trained
    saved(run.checkpoints, {1: None, 2: None})
    assert restore_latest(run.checkpoints) == 2


def test_one_process_of_several_sets_aside_and_ends(tmp_path, monkeypatch):
    """The others wait in the middle of their reading: none can go on without it."""
    saved(tmp_path, {1: None, 2: None})
    damage(tmp_path / "2", "state/manifest.ocdbt", "cut short")
    with opened(tmp_path) as checkpoints:
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        with pytest.raises(UserError, match=r"aside as .*/set_aside/2\. All processes end"):
            checkpoints.restore(state(0))
        monkeypatch.undo()
    assert restore_latest(tmp_path) == 1


def test_what_was_set_aside_is_never_overwritten(tmp_path):
    for _ in range(3):
        saved(tmp_path, {1: None, 2: None})
        damage(tmp_path / "2", "state/d/*", "flipped")
        assert restore_latest(tmp_path) == 1
    there = sorted(path.name for path in (tmp_path / "set_aside").iterdir())
    assert there == ["2", "2.2", "2.3"]


def test_an_older_one_is_judged_when_it_is_asked_for(tmp_path):
    """The best, when the student is taken; until then it lies there."""
    saved(tmp_path, {1: 10.0, 2: 15.0, 3: 20.0})
    damage(tmp_path / "1", "state/ocdbt.process_0/d/*", "flipped")
    assert restore_latest(tmp_path) == 3
    assert steps(tmp_path) == [1, 2, 3]
    with opened(tmp_path) as checkpoints:
        found = checkpoints.best_params(state(0))
    assert found is not None
    assert found[1] == 2
    assert steps(tmp_path) == [2, 3]


def test_another_training_s_checkpoint_is_no_damage(tmp_path):
    saved(tmp_path, {1: None, 2: None})
    with opened(tmp_path, made_of="that") as checkpoints:
        for method in (checkpoints.claim, lambda: checkpoints.restore(state(0))):
            with pytest.raises(UserError, match="other settings"):
                method()
    assert steps(tmp_path) == [1, 2]


def test_another_shape_of_state_is_no_damage(tmp_path):
    saved(tmp_path, {1: None})
    other = jax.tree.map(lambda a: jnp.zeros((*a.shape, 2), a.dtype), state(0))
    with opened(tmp_path) as checkpoints, pytest.raises(UserError, match="another version"):
        checkpoints.restore(other)
    assert steps(tmp_path) == [1]


def test_a_layout_that_does_not_fit_is_no_damage(tmp_path):
    saved(tmp_path, {1: None})
    mesh = jax.make_mesh((7,), ("a",), devices=jax.devices()[:7])
    whole, over = jax.NamedSharding(mesh, jax.P()), jax.NamedSharding(mesh, jax.P("a"))
    like = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=over if a.ndim else whole),
        state(0),
    )
    with opened(tmp_path) as checkpoints:
        for read in (checkpoints.restore, checkpoints.best_params):
            with pytest.raises(ValueError, match="partition"):
                read(like)
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        MemoryError("16 GB"),
        ValueError("RESOURCE_EXHAUSTED: too many open files"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_trouble_of_the_machine_is_no_damage(tmp_path, monkeypatch, error):
    saved(tmp_path, {1: None, 2: None})

    def fail(*_: object) -> None:
        raise RuntimeError("Orbax's summary") from error

    with opened(tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoints._checkpointer, "load_checkpointables", fail)
        with pytest.raises(UserError, match=r"cannot be read.*\n.*stays where it is"):
            checkpoints.restore(state(0))
    assert steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint8", "bool", "float16"])
def test_each_single_changed_element_shows(dtype):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 2, (5, 3)).astype(jnp.dtype(dtype))
    seal = make_seal("this", {"a": array}, {}, None)
    check_contents(seal, {"a": array}, {})
    for place in np.ndindex(array.shape):
        changed = array.copy()
        changed[place] = 1 - changed[place].astype(np.int32)
        with pytest.raises(Damaged, match=r"the numbers of \['a'\]"):
            check_contents(seal, {"a": changed})


def test_elements_that_changed_places_show():
    seal = make_seal("this", {"a": jnp.arange(6.0)}, {}, None)
    with pytest.raises(Damaged):
        check_contents(seal, {"a": jnp.arange(6.0)[::-1]})


def test_the_seal_is_the_same_under_every_mesh():
    mesh = jax.make_mesh((2, 4), ("a", "b"))
    array = jnp.asarray(np.random.default_rng(0).normal(size=(8, 12)).astype(np.float32))
    specs = [jax.P(), jax.P("a"), jax.P("b", "a")]
    seals = [
        make_seal("this", jax.device_put(array, jax.NamedSharding(mesh, spec)), {}, None)
        for spec in specs
    ]
    assert seals == [make_seal("this", array, {}, None)] * len(specs)


def test_a_seal_watches_over_itself():
    seal = json.loads(json.dumps(make_seal("this", {"a": jnp.zeros(2)}, {}, {"error_rate": 5.0})))
    check_seal(seal, {"error_rate": 5.0})
    for broken in ({}, None, {**seal, "fingerprint": "that"}, {**seal, "seal": ""}):
        with pytest.raises(Damaged, match="says of itself"):
            check_seal(broken, {"error_rate": 5.0})
    with pytest.raises(Damaged, match="metrics"):
        check_seal(seal, {"error_rate": 4.0})

"""No room to write in: said in a sentence, what is good is kept, and the same command goes on."""

import errno
from pathlib import Path

import jax
import numpy as np
import pytest

from distil_jax.errors import UserError, disk_is_full
from distil_jax.run import append_jsonl, atomic_path
from tests.made_up_checkpoints import LOADER, opened, restore_latest, saved, state, steps
from tests.made_up_loop import finished
from tests.made_up_loop import state as state_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    code, words = finished(folder)
    assert code == 0, words
    return folder


@pytest.mark.parametrize(
    "since,last",
    [
        pytest.param(2, "There is none before it", id="the first checkpoint"),
        pytest.param(6, "The last good one is step 4", id="one among many", marks=pytest.mark.slow),
        pytest.param(12, "step 8", id="the last", marks=pytest.mark.slow),
    ],
)
def test_a_save_that_finds_no_room_ends_the_run(whole, tmp_path, since, last):
    """The system's limit on the size of a file stands for a full disk: the errors are alike."""
    folder = tmp_path / "run"
    code, words = finished(folder, "--files-of", "100000", "--from", str(since))
    assert code == 1, words
    assert "Error: disk full: the checkpoint of step " in words
    assert str(folder / "checkpoints") in words
    assert "It takes about 0.6 MB" in words
    assert last in words
    assert "Traceback" not in words
    assert len(words.splitlines()) < 8, words
    kept = [path.name for path in (folder / "checkpoints").iterdir()]
    assert all(name.isdigit() for name in kept), "something half-written is left"
    assert finished(folder)[0] == 0
    again, first = (path / "metrics.jsonl" for path in (folder, whole))
    assert again.read_bytes() == first.read_bytes()
    jax.tree.map(np.testing.assert_array_equal, state_of(folder), state_of(whole))


def full(*_: object, **__: object) -> None:
    raise OSError(errno.EDQUOT, "Disk quota exceeded")


def test_a_save_that_cannot_begin_is_told_at_once(tmp_path, monkeypatch):
    saved(tmp_path, {1: None})
    with opened(tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoints._checkpointer, "save_checkpointables_async", full)
        with pytest.raises(UserError, match=r"disk full: the checkpoint of step 2.*is step 1\."):
            checkpoints.save(2, state(2), {}, {})
    assert restore_latest(tmp_path) == 1


def test_another_failure_of_a_save_is_told_too(tmp_path, monkeypatch):
    saved(tmp_path, {1: None})
    with opened(tmp_path) as checkpoints:
        checkpoints.save(2, state(2), LOADER, {})
        checkpoints._checkpointer.wait()

        def fail() -> None:
            monkeypatch.undo()
            raise ValueError("INTERNAL: the network drive went away")

        monkeypatch.setattr(checkpoints._checkpointer, "wait", fail)
        with pytest.raises(UserError, match=r"step 2 could not be written.*network drive"):
            checkpoints.check()
    assert 1 in steps(tmp_path)


@pytest.mark.parametrize(
    "error,full",
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EFBIG, "File too large"), True),
        (ValueError("RESOURCE_EXHAUSTED: ... No space left on device [os_error_code='28']"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("RESOURCE_EXHAUSTED: out of memory"), False),
    ],
)
def test_what_a_full_disk_looks_like(error, full):
    assert disk_is_full(error) == full
    led_to = RuntimeError("a summary")
    led_to.__cause__ = error
    assert disk_is_full(led_to) == full


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_line_for_which_there_is_no_room_names_its_file():
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        append_jsonl(Path("/dev/full"), [{"step": 1}])


def test_a_file_for_which_there_is_no_room_leaves_the_old_one(tmp_path):
    path = tmp_path / "labels.parquet"
    path.write_text("old")
    with pytest.raises(OSError, match=r"labels\.parquet"), atomic_path(path) as temporary:
        full(temporary.write_text("ne"))
    assert [p.name for p in tmp_path.iterdir()] == ["labels.parquet"]
    assert path.read_text() == "old"

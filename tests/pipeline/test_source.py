"""Which commit a program is of."""

import subprocess
from pathlib import Path

import pytest

from distil_jax.pipeline.source import commit


@pytest.fixture
def checkout(tmp_path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "some.py").write_text("1\n")
    git(tmp_path, "add", "some.py")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "some")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def found(root: Path) -> str | None:
    return commit.__wrapped__(root)


def test_the_commit_of_a_checkout(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    git(checkout, "tag", "v1")
    (checkout / "new.py").write_text("untracked")
    assert found(checkout) == head
    (checkout / "some.py").write_text("2\n")
    assert found(checkout) == f"{head}-dirty"


def test_an_installed_package_is_of_no_commit(checkout):
    """Though its folder is within somebody's repository."""
    inside = checkout / "lib" / "site-packages"
    inside.mkdir(parents=True)
    assert found(inside) is None


def test_a_repository_without_commits_or_a_machine_without_git(checkout, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    assert found(empty) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found(checkout) is None

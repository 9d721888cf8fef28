"""Compiled programs on disk: where they are kept, and that a second process compiles nothing."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from distil_jax.compile_cache import cache_folder, keep_compiled_programs

# A session's start, a gradient, what became of it, and what JAX did about compiling.
PROGRAM = """
import collections, hashlib
import jax, jax.numpy as jnp, numpy as np
from distil_jax.config import load_config
from distil_jax.pipeline.session import Session

seen = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: seen.update([event.rpartition("/")[2]]))
Session(load_config("configs/quickstart.yaml"))
x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 64)), jnp.float32)
gradient = jax.jit(jax.grad(lambda w: jnp.tanh(jax.nn.softmax(w @ x) @ w).sum()))(x)
print(hashlib.sha256(np.asarray(gradient).tobytes()).hexdigest())
print(seen["cache_hits"], seen["cache_misses"])
"""


def told() -> str | None:
    return jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    """What JAX was told before is put back."""
    before = told()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def choose(folder: str | None) -> str | None:
        jax.config.update("jax_compilation_cache_dir", folder)
        keep_compiled_programs()
        return told()

    yield choose
    jax.config.update("jax_compilation_cache_dir", before)


def run(repository: Path, cache: Path, **environment: str) -> list[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    kept |= {"XDG_CACHE_HOME": str(cache), "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(repository)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**kept, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", **environment},
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.slow
def test_a_second_process_compiles_nothing_and_computes_the_same_bits(repository, tmp_path):
    bits, hits, misses = run(repository, tmp_path)
    assert (hits, misses != "0") == ("0", True)
    kept = {path.name for path in tmp_path.glob("distil_jax/compiled/cpu-*/*-cache")}
    assert run(repository, tmp_path) == [bits, misses, "0"]
    assert {path.name for path in tmp_path.glob("distil_jax/compiled/cpu-*/*-cache")} == kept


@pytest.mark.slow
def test_an_empty_folder_turns_it_off(repository, tmp_path):
    _, hits, misses = run(repository, tmp_path, JAX_COMPILATION_CACHE_DIR="")
    assert (hits, misses) == ("0", "0")
    assert not (tmp_path / "distil_jax").exists()


def test_a_folder_that_jax_was_told_of_is_respected(chosen, tmp_path):
    assert chosen(str(tmp_path / "mine")) == str(tmp_path / "mine")
    assert chosen("") == ""
    assert chosen(None) == str(cache_folder())
    assert str(cache_folder()).startswith(str(tmp_path / "distil_jax" / "compiled" / "cpu-"))


def test_a_home_that_cannot_be_written_to_is_no_failure(chosen, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert chosen(None) is None

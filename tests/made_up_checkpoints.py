"""Checkpoints of a small state: saved, damaged and read again."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from distil_jax.run import ONLY_STUDENT
from distil_jax.training.checkpoint import Checkpoints
from distil_jax.training.optimizer import make_optimizer
from distil_jax.training.settings import OptimizerConfig
from distil_jax.training.state import TrainState

LOADER = {"row": 7, "epoch": {"number": 1, "order": [3, 1]}}


@cache
def _noise() -> np.ndarray:
    """Large enough to stand in a data file of its own, where TensorStore checks nothing."""
    return np.random.default_rng(0).normal(size=(48, 40)).astype(np.float32)


def state(step: int, students: Sequence[str] = (ONLY_STUDENT,)) -> TrainState:
    params = {name: _params(step + 100 * number) for number, name in enumerate(students)}
    optimizer = make_optimizer(OptimizerConfig(), 10)
    moments = {name: optimizer.init(each) for name, each in params.items()}
    return TrainState(jnp.int32(step), params, moments)


def _params(number: int) -> dict:
    kernel = jnp.arange(60.0).reshape(20, 3) + number
    return {"block": {"kernel": kernel}, "noise": jnp.asarray(_noise()) * (number + 1)}


def opened(folder: Path, made_of: str = "this", latest: int = 2, best: int = 1) -> Checkpoints:
    return Checkpoints(folder, made_of, latest, best)


def saved(folder: Path, rates: dict[int, float | None], latest: int = 2, best: int = 1) -> None:
    with opened(folder, latest=latest, best=best) as checkpoints:
        for step, rate in rates.items():
            rates_of = {} if rate is None else {ONLY_STUDENT: rate}
            checkpoints.save(step, state(step), {**LOADER, "row": step}, rates_of)


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def restore_latest(folder: Path) -> int | None:
    """The step restored, having looked that all of it is what was saved at that step."""
    with opened(folder) as checkpoints:
        restored = checkpoints.restore(state(0))
    if restored is None:
        return None
    jax.tree.map(np.testing.assert_array_equal, restored.state, state(restored.step))
    assert restored.loader == {**LOADER, "row": restored.step}
    return restored.step


def change(path: Path, how: Callable[[bytes], bytes | None]) -> None:
    """Write what `how` makes of a file's bytes; None removes it."""
    content = how(path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def flipped(content: bytes) -> bytes:
    """One bit in the middle is another."""
    spoilt = bytearray(content)
    spoilt[len(spoilt) // 2] ^= 4
    return bytes(spoilt)

"""A training that takes no time, in a process of its own: to be stopped, killed and starved.

    python -m tests.made_up_loop FOLDER [--pause-at STEP] [--files-of BYTES --from STEP]

It ends as the command line does: one message on stderr and an exit code.
"""

import argparse
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer

from distil_jax.cli.work import finish
from distil_jax.run import ONLY_STUDENT
from distil_jax.training.checkpoint import Checkpoints
from distil_jax.training.loop import Training
from distil_jax.training.optimizer import make_optimizer
from distil_jax.training.settings import OptimizerConfig, TrainConfig
from distil_jax.training.state import TrainState
from distil_jax.training.telemetry import MetricsLog

PATIENCE = 120.0  # seconds, for a start on a busy machine
NUMBERS = 50_000  # parameters; with Adam's moments 0.6 MB that do not compress
CONFIG = TrainConfig(
    steps=12,
    batch_size=1,
    log_every=1,
    save_every=4,
    validate_every=4,
    optimizer=OptimizerConfig(learning_rate=0.1, warmup_steps=2),
)


class Line:
    """Keeps to training.state.Algorithm: a vector is pulled to each batch."""

    optimizer = make_optimizer(CONFIG.optimizer, CONFIG.steps)

    def init(self) -> TrainState:
        weights = np.random.default_rng(0).normal(size=NUMBERS).astype(np.float32)
        params = {"weights": jnp.asarray(weights)}
        moments = {ONLY_STUDENT: self.optimizer.init(params)}
        return TrainState(jnp.int32(0), {ONLY_STUDENT: params}, moments)

    def abstract_state(self) -> TrainState:
        where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where),
            jax.eval_shape(self.init),
        )

    @partial(jax.jit, static_argnums=0)
    def step(self, state: TrainState, batch: jax.Array) -> tuple[TrainState, dict]:
        params, moments = state.params[ONLY_STUDENT], state.opt_state[ONLY_STUDENT]
        loss, slope = jax.value_and_grad(lambda w: ((w - batch) ** 2).mean())(params["weights"])
        updates, moments = self.optimizer.update({"weights": slope}, moments, params)
        params: Any = optax.apply_updates(params, updates)
        metrics = {"loss": loss, "grad_norm": optax.tree.norm(slope), "good": jnp.bool(True)}
        new = TrainState(state.step + 1, {ONLY_STUDENT: params}, {ONLY_STUDENT: moments})
        return new, {ONLY_STUDENT: metrics}

    def flops(self, batch: Any) -> dict[str, float]:
        return {}


class Batches:
    """Batch number i is made of seed i."""

    def __init__(self, folder: Path, options: argparse.Namespace):
        self.next, self._folder, self._options = 0, folder, options

    def __next__(self) -> np.ndarray:
        self.next += 1
        if self.next == self._options.pause_at:
            (self._folder / "paused").touch()
            while not (self._folder / "go").exists():
                time.sleep(0.01)
        if self.next == self._options.since:
            while list(self._folder.glob("checkpoints/*tmp*")):  # the save before is still written
                time.sleep(0.01)
            limit = self._options.files_of
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return np.random.default_rng(self.next).normal(size=NUMBERS).astype(np.float32)

    def get_state(self) -> dict:
        return {"next": self.next}

    def set_state(self, state: dict) -> None:
        self.next = state["next"]


def opened(folder: Path) -> Checkpoints:
    return Checkpoints(folder / "checkpoints", "made up", 2, 1)


def train(folder: Path, options: argparse.Namespace) -> dict:
    folder.mkdir(exist_ok=True)
    with opened(folder) as checkpoints:
        Training(
            algorithm=Line(),
            batches=Batches(folder, options),
            config=CONFIG,
            checkpoints=checkpoints,
            metrics={ONLY_STUDENT: MetricsLog(folder / "metrics.jsonl")},
            compute_path=folder / "compute.jsonl",
            place=jnp.asarray,
            count=lambda batch: {"clips": 1},
            validate=lambda state: {ONLY_STUDENT: 40.0 - int(state.step)},
        ).run()
    return {"done": True}


def started(folder: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.made_up_loop", str(folder), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finished(folder: Path, *options: str) -> tuple[int, str]:
    """(exit code, what it said)."""
    process = started(folder, *options)
    _, words = process.communicate(timeout=PATIENCE)
    return process.returncode, words


def state(folder: Path) -> TrainState:
    """The latest, on the host."""
    with opened(folder) as checkpoints:
        restored = checkpoints.restore(Line().abstract_state())
    assert restored is not None
    return jax.device_get(restored.state)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pause-at", type=int)
    parser.add_argument("--files-of", type=int, help="no file may be larger, in bytes")
    parser.add_argument("--from", dest="since", type=int)
    options = parser.parse_args()
    try:
        finish(lambda: train(options.folder, options), as_json=True, debug=False)
    except typer.Exit as leaving:
        sys.exit(leaving.exit_code)


if __name__ == "__main__":
    main()

"""Five steps of a made-up distillation, under each strategy, on all devices of all processes.

    python -m tests.five_steps FILE

Each strategy's losses, gradient norms and states after the first and the last step go to FILE, by
process 0. The first state's Adam momentum is the clipped gradient times a constant.
"""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from distil_jax import processes
from distil_jax.data.batch import place_batch
from distil_jax.mesh import MeshConfig, own_rows, split_batch
from distil_jax.processes.ending import finish
from distil_jax.processes.start import start
from distil_jax.run import ONLY_STUDENT
from tests.made_up_training import BATCH, TRAIN, batch, distillation

STEPS = 5
MESHES = {
    "dp": MeshConfig(shape=(8, 1, 1)),
    "fsdp": MeshConfig(strategy="fsdp", shape=(1, 8, 1)),
    "fsdp+tensor": MeshConfig(strategy="fsdp+tensor", shape=(2, 2, 2)),
}


def five_steps(mesh: MeshConfig) -> dict[str, np.ndarray]:
    """By name. The tensor axis reaches over processes: of two, each works on every row."""
    algorithm = distillation(TRAIN, mesh, across=mesh.shape[2] > 1)
    sharding = split_batch(algorithm.mesh, algorithm.rules)
    rows = own_rows(BATCH, sharding)
    state, found = algorithm.init(), {}
    for number in range(STEPS):
        whole = batch(number)
        own = type(whole)(**{**vars(whole), "samples": whole.samples[rows]})
        state, metrics = algorithm.step(state, place_batch(own, rows, sharding))
        for name in ("loss", "grad_norm"):
            value = jax.device_get(metrics[ONLY_STUDENT][name])
            found[f"{name} {number}"] = np.asarray(value)
        if number in (0, STEPS - 1):
            found |= _leaves(f"state {number}", processes.on_host(state))
    return found


def _leaves(name: str, tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {name + jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def main(path: Path) -> None:
    start()
    found = {
        f"{name}: {key}": value
        for name, mesh in MESHES.items()
        for key, value in five_steps(mesh).items()
    }
    if processes.is_writer():
        np.savez(path, **found)  # pyright: ignore[reportArgumentType]
    finish()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

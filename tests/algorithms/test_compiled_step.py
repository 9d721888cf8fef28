"""What stands in the compiled step of eight devices: its memory and its traffic."""

import difflib
import importlib.metadata
import math
import os
from functools import cache
from pathlib import Path
from typing import Any

import jax
import pytest

from distil_jax.algorithms.sequence_distillation import SequenceDistillation
from distil_jax.mesh import MeshConfig, split_batch
from distil_jax.scaling.collectives import collectives
from tests.made_up_training import batch, distillation

MESHES = {"dp": (8, 1, 1), "fsdp": (2, 4, 1), "fsdp+tensor": (2, 2, 2)}
GOLDEN = Path(__file__).parent.parent / "golden"
JAXLIB = importlib.metadata.version("jaxlib")
_POINTER = 8  # bytes: a program's result begins with a table of where its arrays lie


def made(strategy: str) -> SequenceDistillation:
    mesh = MeshConfig.model_validate({"strategy": strategy, "shape": MESHES[strategy]})
    return distillation(mesh=mesh)


@cache
def compiled(strategy: str) -> Any:
    algorithm = made(strategy)
    where = split_batch(algorithm.mesh, algorithm.rules)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), batch())
    return algorithm.lower(shapes).compile()


def bytes_on_a_device(tree: Any) -> int:
    return sum(
        math.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize for a in jax.tree.leaves(tree)
    )


@pytest.mark.parametrize("strategy", MESHES)
def test_every_array_of_the_state_is_written_where_it_lay(strategy):
    """Of the results only the metrics take memory of their own, and the table of results."""
    state = made(strategy).abstract_state()
    memory, step = compiled(strategy).memory_analysis(), compiled(strategy)
    results = jax.tree.leaves(step.out_info)
    metrics = sum(a.dtype.itemsize * a.size for a in jax.tree.leaves(step.out_info[1]))
    assert memory.alias_size_in_bytes == bytes_on_a_device(state)
    table = _POINTER * len(results)
    assert memory.output_size_in_bytes == memory.alias_size_in_bytes + metrics + table


def traffic(strategy: str) -> str:
    """Each kind of collective on a line, the most bytes first."""
    mesh = made(strategy).mesh.shape
    sizes = ", ".join(f"{name} {size}" for name, size in mesh.items())
    lines = [
        f"{each.times:3} {each.kind:18} {each.axes:12} {each.arrays}"
        for each in collectives(compiled(strategy).as_text(), mesh)
    ]
    return "\n".join(
        [
            f"# Collectives of a training step of tests/made_up_training.py, mesh {sizes};",
            f"# jaxlib {JAXLIB} on CPU. Times, kind, axes it goes over, its results.",
            *lines,
            "",
        ]
    )


@pytest.mark.parametrize("strategy", MESHES)
def test_the_traffic_of_a_step_is_what_its_golden_file_says(strategy):
    """A new all-gather shows in review. UPDATE_GOLDEN=1 writes the files anew."""
    golden, found = GOLDEN / f"collectives_{strategy}.txt", traffic(strategy)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(found, encoding="utf-8")
    kept = golden.read_text(encoding="utf-8")
    if f"jaxlib {JAXLIB} " not in kept:
        pytest.skip(f"{golden.name} was made with another jaxlib, whose compiler may differ")
    changes = difflib.unified_diff(
        kept.splitlines(),
        found.splitlines(),
        golden.name,
        "the step as it is now",
        lineterm="",
        n=0,
    )
    if lines := list(changes):
        pytest.fail("\n".join([*lines, "UPDATE_GOLDEN=1 accepts it"]), pytrace=False)

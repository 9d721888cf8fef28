"""The device mesh, the table of sharding rules, and where arrays live.

Models name their axes (batch, embed, mlp, heads, vocab, layers); a strategy says which mesh axes
each name is split over. The mesh always has the axes data, fsdp and tensor.
"""

from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from distil_jax.errors import ConfigError
from distil_jax.settings import Settings

MESH_AXES = ("data", "fsdp", "tensor")


class Rules(Settings):
    """Which mesh axes each logical axis is split over; an empty tuple replicates it."""

    batch: tuple[str, ...] = ("data", "fsdp")
    embed: tuple[str, ...] = ()
    mlp: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    vocab: tuple[str, ...] = ()

    def spec(self, axes: Sequence[str | None]) -> PartitionSpec:
        """The mesh axes of an array whose logical axes are `axes`."""
        return PartitionSpec(*(getattr(self, axis) or None if axis else None for axis in axes))


STRATEGIES = {
    "dp": Rules(),
    "fsdp": Rules(embed=("fsdp",)),
    "fsdp+tensor": Rules(embed=("fsdp",), mlp=("tensor",), heads=("tensor",)),
}


class MeshConfig(Settings):
    # How parameters are laid out: replicated, sharded, or sharded and split inside layers.
    strategy: Literal["dp", "fsdp", "fsdp+tensor"] = "dp"
    # Devices along data, fsdp and tensor; one of them may be -1 (what is left).
    shape: tuple[int, int, int] = (-1, 1, 1)

    @property
    def rules(self) -> Rules:
        return STRATEGIES[self.strategy]


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of all devices (or of those given) with the axes data, fsdp, tensor."""
    devices = devices or jax.devices()
    shape = list(config.shape)
    sizes = [size for size in shape if size != -1]
    known = int(np.prod(sizes))
    if len(sizes) < 2 or min(sizes) < 1 or len(devices) % known:
        raise ConfigError(f"mesh.shape {config.shape} does not fit {len(devices)} devices")
    shape = [len(devices) // known if size == -1 else size for size in shape]
    if int(np.prod(shape)) != len(devices):
        raise ConfigError(
            f"mesh.shape {config.shape} needs {np.prod(shape)} devices, there are {len(devices)}"
        )
    return Mesh(np.array(devices).reshape(shape), MESH_AXES, axis_types=(AxisType.Auto,) * 3)


_active: list[Rules] = []


@contextmanager
def use_mesh(mesh: Mesh, rules: Rules):
    """Make `mesh` and `rules` those that `constrain` refers to while a function is traced."""
    _active.append(rules)
    try:
        with jax.set_mesh(mesh):
            yield
    finally:
        _active.pop()


def on_one_cpu() -> bool:
    """Whether a function being traced has its whole batch on one CPU device.

    There a loop over clips or heads is faster than one big product, because its data stay in cache;
    over a batch that is spread out it would gather everything.
    """
    spread = _active and jax.sharding.get_abstract_mesh().size > 1
    return jax.default_backend() == "cpu" and not spread


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Pin an activation's layout by logical axis names; outside `use_mesh` it does nothing.

    Without it the compiler spreads the parameters' layout to the activations, and memory with it.
    """
    if not _active:
        return x
    return jax.lax.with_sharding_constraint(x, _active[-1].spec(axes))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh, rules: Rules) -> NamedSharding:
    """The leading axis over the data axes of the mesh."""
    return NamedSharding(mesh, rules.spec(["batch"]))

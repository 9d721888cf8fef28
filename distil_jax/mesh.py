"""The device mesh, the table of sharding rules, and where arrays live.

Models name their axes (batch, embed, mlp, heads, vocab, layers); a strategy says which mesh axes
each name is split over. The mesh always has the axes data, fsdp and tensor.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from pydantic import Discriminator, Tag, field_validator

from distil_jax.errors import ConfigError
from distil_jax.settings import Settings

MESH_AXES = ("data", "fsdp", "tensor")
MeshAxes = tuple[Literal["data", "fsdp", "tensor"], ...]


class Rules(Settings):
    """Which mesh axes each logical axis is split over; an empty list replicates it."""

    batch: MeshAxes = ("data", "fsdp")
    embed: MeshAxes = ()
    mlp: MeshAxes = ()
    heads: MeshAxes = ()
    vocab: MeshAxes = ()
    # Axes of parameters that stay whole, with a line in the log, where they do not divide.
    may_replicate: tuple[Literal["embed", "mlp", "heads", "vocab"], ...] = ()

    @field_validator("batch", "embed", "mlp", "heads", "vocab")
    @classmethod
    def _each_once(cls, over: MeshAxes) -> MeshAxes:
        if len(set(over)) < len(over):
            raise ValueError("each mesh axis may be listed once")
        return over

    def over(self, axis: str | None) -> MeshAxes:
        """The mesh axes that a logical axis is split over; a dimension without a name is not."""
        return getattr(self, axis) if axis else ()

    def spec(self, axes: Sequence[str | None]) -> PartitionSpec:
        """The layout of an array whose logical axes are `axes`."""
        return PartitionSpec(*(self.over(axis) or None for axis in axes))


STRATEGIES = {
    "dp": Rules(),
    "fsdp": Rules(embed=("fsdp",)),
    "fsdp+tensor": Rules(embed=("fsdp",), mlp=("tensor",), heads=("tensor",)),
}
Strategy = Annotated[
    Annotated[Literal["dp", "fsdp", "fsdp+tensor"], Tag("name")] | Annotated[Rules, Tag("table")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "table"),
]


class MeshConfig(Settings):
    # How parameters are laid out: replicated, sharded, sharded and split inside layers; or a table
    # of one's own, as {embed: [fsdp], vocab: [tensor], may_replicate: [vocab]}.
    strategy: Strategy = "dp"
    # The same for the teacher's; null: as the student's.
    teacher_strategy: Strategy | None = None
    # Devices along data, fsdp and tensor; one of them may be -1 (what is left).
    shape: tuple[int, int, int] = (-1, 1, 1)

    @property
    def rules(self) -> Rules:
        return _rules(self.strategy)

    @property
    def teacher_rules(self) -> Rules:
        return _rules(self.teacher_strategy or self.strategy)


def _rules(strategy: Strategy) -> Rules:
    return strategy if isinstance(strategy, Rules) else STRATEGIES[strategy]


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


_platforms: list[str] = []


@contextmanager
def compiling_for(target: str):
    """Programs of this block are compiled for another platform than the one of this process."""
    _platforms.append(target)
    try:
        yield
    finally:
        _platforms.pop()


def platform() -> str:
    """What programs are compiled for: cpu, gpu or tpu."""
    return _platforms[-1] if _platforms else jax.default_backend()


def on_one_cpu() -> bool:
    """Whether a function being traced has its whole batch on one CPU device.

    There a loop over clips or heads is faster than one big product, because its data stay in cache;
    over a batch that is spread out it would gather everything.
    """
    spread = _active and jax.sharding.get_abstract_mesh().size > 1
    return platform() == "cpu" and not spread


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Pin an activation's layout by logical axis names; outside `use_mesh` it does nothing.

    Without it the compiler spreads the parameters' layout to the activations, and memory with it.
    """
    if not _active:
        return x
    return jax.lax.with_sharding_constraint(x, _active[-1].spec(axes))


def map_over_shards(
    function: Callable[..., jax.Array], axes: Sequence[str], *arrays: jax.Array
) -> jax.Array:
    """function(*arrays) of every device's part, for a kernel that the compiler cannot split.

    axes: the logical names of the leading axes of the arrays and of the result. Where there is no
    mesh, or a device's part is all that is to be seen, the function is applied as it is.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not _active or mesh.are_all_axes_manual:
        return function(*arrays)
    rules = _active[-1]
    for axis, size in zip(axes, arrays[0].shape, strict=False):
        shards = math.prod(mesh.shape[each] for each in rules.over(axis))
        if size % shards:
            raise ConfigError(
                f"mesh.strategy: {axis} is {size}, which does not divide over the {shards} devices "
                f"of {', '.join(rules.over(axis))}, as attention: splash needs it"
            )
    spec = rules.spec(axes)
    mapped = jax.shard_map(
        function, in_specs=(spec,) * len(arrays), out_specs=spec, check_vma=False
    )
    return mapped(*arrays)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def place(tree: Any, where: Any) -> Any:
    """Arrays of the host on devices. where: a sharding, or a tree of them.

    Where a sharding reaches over several processes, each must hold the same arrays, and sends its
    devices their parts; jax.device_put would send all of them around once more, to compare.
    """

    def put(array: Any, sharding: NamedSharding) -> jax.Array:
        if sharding.is_fully_addressable:
            return jax.device_put(array, sharding)
        whole = np.asarray(array)
        with jax.transfer_guard("allow"):  # as explicit as device_put
            return jax.make_array_from_callback(whole.shape, sharding, lambda part: whole[part])

    if isinstance(where, NamedSharding):
        return jax.tree.map(lambda array: put(array, where), tree)
    return jax.tree.map(put, tree, where)


def own_rows(size: int, sharding: NamedSharding) -> list[int]:
    """Which rows of arrays of that `size`, split by `sharding`, lie on devices of this process."""
    parts = sharding.addressable_devices_indices_map((size,)).values()
    return sorted({row for part in parts if part for row in range(size)[part[0]]})


def split_batch(mesh: Mesh, rules: Rules) -> NamedSharding:
    """The leading axis over the data axes of the mesh."""
    return NamedSharding(mesh, rules.spec(["batch"]))

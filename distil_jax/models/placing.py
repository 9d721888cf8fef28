"""Where parameters live: shardings from a model's name table and a strategy's rules."""

import logging
import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from qwix import QArray

from distil_jax.errors import ConfigError
from distil_jax.mesh import Rules
from distil_jax.models.names import Row

log = logging.getLogger(__name__)


def shardings(table: Sequence[Row], params: dict, mesh: Mesh, rules: Rules) -> dict:
    """A NamedSharding for each parameter of `params` (a part of the model does).

    An int8 kernel gets two, in a QArray: the scale lies as the kernel's output channels do.
    Raises ConfigError when a dimension cannot be divided over its mesh axes, or two dimensions
    would be divided over the same one.
    """
    rows = {row.path: row for row in table}
    flat: dict[tuple[str, ...], Any] = flatten_dict(params)  # pyright: ignore[reportAssignmentType]
    return unflatten_dict(
        {path: _sharding(rows[path], array, mesh, rules) for path, array in flat.items()}
    )


def placements(params: dict) -> Iterator[dict[str, Any]]:
    """A row for each of `params` (shapes or arrays with shardings)."""
    for path, array in jax.tree_util.tree_leaves_with_path(params):
        part = math.prod(array.sharding.shard_shape(array.shape))
        yield {
            "parameter": jax.tree_util.keystr(path, simple=True, separator="."),
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "layout": [_over(each) for each in array.sharding.spec],
            "bytes_per_device": part * array.dtype.itemsize,
        }


def _over(axes: tuple[str, ...] | str | None) -> str:
    return "+".join([axes] if isinstance(axes, str) else axes or ()) or "-"


def _sharding(row: Row, array: Any, mesh: Mesh, rules: Rules) -> Any:
    """Of one parameter; a QArray of two for an int8 kernel, whose scale has one input."""
    spec = _spec(row, array.shape, mesh, rules)
    whole: Any = NamedSharding(mesh, spec)
    if not isinstance(array, QArray):
        return whole
    scale: Any = NamedSharding(mesh, PartitionSpec(*spec[:-2], None, spec[-1]))
    return QArray(whole, scale, qtype=array.qtype)


def _spec(row: Row, shape: tuple[int, ...], mesh: Mesh, rules: Rules) -> PartitionSpec:
    """The rules' layout of one parameter, checked against its shape."""
    axes = (None, *row.axes) if row.stacked else row.axes
    name, layout = f"parameter {'.'.join(row.path)} of shape {shape}", []
    for size, axis in zip(shape, axes, strict=True):
        over = rules.over(axis)
        parts = math.prod(mesh.shape[each] for each in over)
        if size % parts:
            reason = f"{name}: {axis} ({size}) does not divide over {', '.join(over)} ({parts})"
            if axis not in rules.may_replicate:
                raise ConfigError(
                    f"mesh: {reason}. The rule is {axis}: {list(over)}, the mesh "
                    f"{dict(mesh.shape)}; choose another mesh.strategy or mesh.shape, or let it "
                    f"stay whole (may_replicate: [{axis}])"
                )
            _say_once(f"{reason}: it stays whole")
            over = ()
        layout.append(over)
    used = [each for over in layout for each in over]
    if twice := sorted({each for each in used if used.count(each) > 1}):
        raise ConfigError(
            f"mesh: {name} would be divided twice over {', '.join(twice)}: its axes {axes} go over "
            f"{layout}; give them different mesh axes in mesh.strategy"
        )
    return PartitionSpec(*(over or None for over in layout))


@cache
def _say_once(text: str) -> None:
    log.info(text)

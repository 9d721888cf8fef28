"""Where parameters live: shardings from a model's name table and a strategy's rules."""

from collections.abc import Sequence
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding

from distil_jax.errors import ConfigError
from distil_jax.mesh import Rules
from distil_jax.models.names import Row


def shardings(table: Sequence[Row], params: dict, mesh: Mesh, rules: Rules) -> dict:
    """A NamedSharding for each parameter of `params` (a part of the model does).

    Raises ConfigError when a dimension cannot be divided over its mesh axes.
    """
    rows = {row.path: row for row in table}
    placed = {}
    flat: dict[tuple[str, ...], Any] = flatten_dict(params)  # pyright: ignore[reportAssignmentType]
    for path, array in flat.items():
        row = rows[path]
        axes = (None, *row.axes) if row.stacked else row.axes
        sharding = NamedSharding(mesh, rules.spec(axes))
        try:
            sharding.shard_shape(array.shape)
        except ValueError:
            raise ConfigError(
                f"mesh: parameter {'.'.join(path)} of shape {tuple(array.shape)} and axes {axes} "
                f"cannot be divided as {sharding.spec} over the mesh {dict(mesh.shape)}; choose "
                f"another mesh.strategy or mesh.shape"
            ) from None
        placed[path] = sharding
    return unflatten_dict(placed)

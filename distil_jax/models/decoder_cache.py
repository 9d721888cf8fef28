"""Keys and values of earlier tokens, in arrays of a size that never changes.

n layers, b batch, h heads, k head width, t positions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class LayerCache(NamedTuple):
    """Of n decoder layers and earlier tokens: keys [n, b, h, k, t], values [n, b, h, t, k]."""

    keys: jax.Array
    values: jax.Array

    def put(self, layer: jax.Array | int, length: jax.Array, new: tuple) -> "LayerCache":
        """With the new keys and values of one layer at positions `length` and after.

        length: of all rows, or of each its own [b].
        """
        if length.ndim:
            return self._put_by_row(layer, length, new)
        keys, values = (x[None].astype(self.keys.dtype) for x in new)
        return LayerCache(
            jax.lax.dynamic_update_slice(self.keys, keys, (layer, 0, 0, 0, length)),
            jax.lax.dynamic_update_slice(self.values, values, (layer, 0, 0, length, 0)),
        )

    def _put_by_row(self, layer: jax.Array | int, length: jax.Array, new: tuple) -> "LayerCache":
        keys, values = (x.astype(self.keys.dtype) for x in new)
        rows = jnp.arange(keys.shape[0])[:, None]
        at = positions_after(length, keys.shape[3])
        # What is indexed comes first: both are [b, t, h, k].
        return LayerCache(
            self.keys.at[layer, rows, :, :, at].set(keys.transpose(0, 3, 1, 2)),
            self.values.at[layer, rows, :, at, :].set(values.swapaxes(1, 2)),
        )

    def with_room_for(self, more: int) -> "LayerCache":
        """The same, with room for `more` positions behind the last."""
        at_end = (0, more)
        none = (0, 0)
        return LayerCache(
            jnp.pad(self.keys, [none, none, none, none, at_end]),
            jnp.pad(self.values, [none, none, none, at_end, none]),
        )

    def of(self, layer: jax.Array | int) -> tuple[jax.Array, jax.Array]:
        """Keys [b, h, k, t] and values [b, h, t, k] of one layer."""
        return self.keys[layer], self.values[layer]


def positions_after(length: jax.Array, count: int) -> jax.Array:
    """The next `count` positions: [t], or [b, t] where each row has a length of its own [b]."""
    return length[..., None] + jnp.arange(count)


class Cache(NamedTuple):
    """A static key-value cache: of all layers, and how many positions are filled.

    length: of all rows, or of each its own [b]. To forget the last positions, set it back.
    """

    layers: list[LayerCache]
    length: jax.Array

    def with_room_for(self, more: int) -> "Cache":
        """The same, with room for `more` positions behind the last."""
        return self._replace(layers=[layer.with_room_for(more) for layer in self.layers])

    def of_rows(self, rows: jax.Array) -> "Cache":
        """Of these rows of the batch, where the length is that of all."""
        return self._replace(layers=jax.tree.map(lambda a: a[:, rows], self.layers))

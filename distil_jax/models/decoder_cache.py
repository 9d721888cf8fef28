"""Keys and values of earlier tokens, in arrays of a size that never changes.

n layers, b batch, h heads, k head width, t positions. `length`: how many positions are filled, of
all rows, or of each its own [b].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class LayerCache(NamedTuple):
    """Of one layer: keys [b h, k, t], values [b h, t, k].

    On a CPU products must read the very arrays that are written: else XLA copies both of them
    several times a token. With an axis for the batch, it does so for one of 1.
    """

    keys: jax.Array
    values: jax.Array

    def put(self, layer: jax.Array | int, length: jax.Array, new: tuple) -> "LayerCache":
        """With new keys [b, h, k, t] and values [b, h, t, k] at positions `length` and after."""
        del layer  # there is one
        keys, values = (x.reshape(-1, *x.shape[2:]).astype(self.keys.dtype) for x in new)
        if length.ndim:
            rows = jnp.arange(len(keys))[:, None]
            at = positions_after(jnp.repeat(length, len(keys) // len(length)), keys.shape[2])
            # What is indexed comes first.
            return LayerCache(
                self.keys.at[rows, :, at].set(keys.swapaxes(1, 2)),
                self.values.at[rows, at].set(values),
            )
        return LayerCache(
            jax.lax.dynamic_update_slice(self.keys, keys, (0, 0, length)),
            jax.lax.dynamic_update_slice(self.values, values, (0, length, 0)),
        )

    def of(self, layer: jax.Array | int) -> "LayerCache":
        """As in a stack."""
        del layer
        return self

    def of_rows(self, rows: jax.Array, batch: int) -> "LayerCache":
        """Of these rows of a batch of so many."""

        def of(a: jax.Array) -> jax.Array:
            return a.reshape(batch, -1, *a.shape[1:])[rows].reshape(-1, *a.shape[1:])

        return LayerCache(of(self.keys), of(self.values))


class StackCache(NamedTuple):
    """Of n layers: keys [n, b, h, k, t], values [n, b, h, t, k]."""

    keys: jax.Array
    values: jax.Array

    def put(self, layer: jax.Array | int, length: jax.Array, new: tuple) -> "StackCache":
        """With new keys and values of one layer, as `LayerCache.put` takes them."""
        keys, values = (x.astype(self.keys.dtype) for x in new)
        if length.ndim:
            rows = jnp.arange(keys.shape[0])[:, None]
            at = positions_after(length, keys.shape[3])
            return StackCache(
                self.keys.at[layer, rows, :, :, at].set(keys.transpose(0, 3, 1, 2)),
                self.values.at[layer, rows, :, at, :].set(values.swapaxes(1, 2)),
            )
        return StackCache(
            jax.lax.dynamic_update_slice(self.keys, keys[None], (layer, 0, 0, 0, length)),
            jax.lax.dynamic_update_slice(self.values, values[None], (layer, 0, 0, length, 0)),
        )

    def of(self, layer: jax.Array | int) -> LayerCache:
        """One layer's keys [b, h, k, t] and values [b, h, t, k]."""
        return LayerCache(self.keys[layer], self.values[layer])

    def of_rows(self, rows: jax.Array, batch: int) -> "StackCache":
        """As of a layer."""
        del batch
        return StackCache(self.keys[:, rows], self.values[:, rows])


def positions_after(length: jax.Array, count: int) -> jax.Array:
    """The next `count` positions: [t], or [b, t] where each row has a length of its own [b]."""
    return length[..., None] + jnp.arange(count)


class Cache(NamedTuple):
    """A static key-value cache: of all layers, and how many positions are filled.

    To forget the last positions, set the length back.
    """

    layers: list[LayerCache | StackCache]
    length: jax.Array

    def with_room_for(self, more: int) -> "Cache":
        """The same, with room for `more` positions behind the last."""

        def longer(layer: LayerCache | StackCache) -> LayerCache | StackCache:
            before = [(0, 0)] * (layer.keys.ndim - 2)
            keys = jnp.pad(layer.keys, [*before, (0, 0), (0, more)])
            return type(layer)(keys, jnp.pad(layer.values, [*before, (0, more), (0, 0)]))

        return self._replace(layers=[longer(layer) for layer in self.layers])

    def of_rows(self, rows: jax.Array, batch: int) -> "Cache":
        """Of these rows of a batch of so many, where the length is that of all."""
        return self._replace(layers=[layer.of_rows(rows, batch) for layer in self.layers])

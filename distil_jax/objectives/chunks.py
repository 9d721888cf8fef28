"""Positions of a batch, worked off a chunk at a time: what is large of each exists for one chunk.

b batch, t target positions, c positions of a chunk, n chunks.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Add = Callable[[Any, Any], tuple[Any, Any]]


def scan_chunks(add: Add, start: Any, tree: Any, chunk: int) -> tuple[Any, Any]:
    """`jax.lax.scan` over the chunks of arrays [b, t, ...]; what it stacks is [b, t, ...] again.

    add(carry, arrays [b, c, ...]) -> (carry, arrays [b, c, ...]). The last chunk is filled up with
    zeros (of a mask: False). Chunks are cut out when their turn comes: cut beforehand they are a
    copy of all arrays.
    """
    time = jax.tree.leaves(tree)[0].shape[1]
    chunk = min(chunk, time)
    count = -(-time // chunk)
    tree = jax.tree.map(lambda a: _filled_up(a, count * chunk), tree)

    def body(carry: Any, number: jax.Array) -> tuple[Any, Any]:
        def cut(a: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(a, number * chunk, chunk, axis=1)

        return add(carry, jax.tree.map(cut, tree))

    carry, parts = jax.lax.scan(body, start, jnp.arange(count))
    return carry, jax.tree.map(lambda a: joined(a, time), parts)


def even_chunk(time: int, most: int) -> int:
    """The largest chunk that divides `time` into equal ones, if more than half of `most`.

    Where they are not equal, all arrays are copied to be filled up. Otherwise `most`.
    """
    even = max(chunk for chunk in range(1, min(most, time) + 1) if time % chunk == 0)
    return even if 2 * even > most else min(most, time)


def scan_counted(add: Add, start: Any, tree: Any, mask: jax.Array, chunk: int) -> tuple[Any, Any]:
    """`scan_chunks` which takes the positions that count first, and stops where they end.

    mask [b, t], True where it counts. What `add` sees is [1, b c, ...], of clips in any mixture. Of
    positions that do not count it must neither change the carry nor return anything but zeros.
    """
    batch, time = mask.shape
    order = jnp.argsort(~mask.reshape(-1), stable=True)
    in_order = jax.tree.map(lambda a: a.reshape(1, batch * time, *a.shape[2:])[:, order], tree)
    parts = chunks(in_order, batch * chunk)

    def part(number: Any) -> Any:
        return jax.tree.map(lambda a: a[number], parts)

    def body(number: jax.Array, done: tuple[Any, Any]) -> tuple[Any, Any]:
        carry, stacked = done
        carry, out = add(carry, part(number))
        return carry, jax.tree.map(lambda all_, one: all_.at[number].set(one), stacked, out)

    count = len(jax.tree.leaves(parts)[0])
    _, out = jax.eval_shape(add, start, part(0))
    stacked = jax.tree.map(lambda a: jnp.zeros((count, *a.shape), a.dtype), out)
    used = -(-mask.sum() // (batch * chunk))
    carry, stacked = jax.lax.fori_loop(0, used, body, (start, stacked))

    def restored(array: jax.Array) -> jax.Array:
        found = joined(array, batch * time)[0, jnp.argsort(order)]
        return found.reshape(batch, time, *found.shape[1:])

    return carry, jax.tree.map(restored, stacked)


def chunks(tree: Any, chunk: int) -> Any:
    """[b, t, ...] -> [n, b, c, ...], filled up with zeros."""

    def split(x: jax.Array) -> jax.Array:
        batch, time, *rest = x.shape
        count = -(-time // chunk)
        padded = _filled_up(x, count * chunk)
        return padded.reshape(batch, count, chunk, *rest).swapaxes(0, 1)

    return jax.tree.map(split, tree)


def _filled_up(x: jax.Array, time: int) -> jax.Array:
    """With zeros at the end of the second axis, until it is `time` long."""
    widths = [(0, 0)] * x.ndim
    widths[1] = (0, time - x.shape[1])
    return jnp.pad(x, widths)


def joined(parts: jax.Array, time: int) -> jax.Array:
    """The inverse of `chunks` for one array."""
    count, batch, chunk, *rest = parts.shape
    return parts.swapaxes(0, 1).reshape(batch, count * chunk, *rest)[:, :time]

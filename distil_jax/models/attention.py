"""Attention itself, without projections. b batch, h heads, t queries, s keys, k head width."""

import jax
import jax.numpy as jnp

from distil_jax.mesh import on_one_cpu

# On a CPU, scores of this size and more stay in its cache only one head at a time; for smaller ones
# all heads at once are faster (tests/benchmarks/attention.py).
_CPU_HEAD_BY_HEAD = 1024 * 1024


def attend(
    query: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """softmax(query keys^T / sqrt(k)) values, with the softmax in float32.

    query [b, h, t, k]; keys [b, h, k, s], which products with them want; values [b, h, s, k];
    mask [t, s], True where a query may look. Returns [b, h, t, k] in the dtype of `values`.
    """
    scores_per_head = query.shape[2] * keys.shape[3]
    if on_one_cpu() and scores_per_head >= _CPU_HEAD_BY_HEAD and mask is None:
        return _head_by_head(query, keys, values)
    query = query * query.shape[-1] ** -0.5
    scores = jnp.einsum("bhtk,bhks->bhts", query, keys, preferred_element_type=jnp.float32)
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    mixed = jnp.einsum("bhts,bhsk->bhtk", weights, values, preferred_element_type=jnp.float32)
    return mixed.astype(values.dtype)


def _head_by_head(query: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
    batch, heads, time, width = query.shape
    halves = 2 if time % 2 == 0 else 1

    def one_head(inputs: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        queries, keys, values = inputs

        def one_half(query: jax.Array) -> jax.Array:
            scores = jnp.matmul(query * width**-0.5, keys, preferred_element_type=jnp.float32)
            weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
            mixed = jnp.matmul(
                weights.astype(values.dtype), values, preferred_element_type=jnp.float32
            )
            # Dividing the [t, k] result instead of the [t, s] weights saves a pass over the latter.
            return (mixed / weights.sum(axis=-1, keepdims=True)).astype(values.dtype)

        return jax.lax.map(one_half, queries.reshape(halves, time // halves, width))

    flat = [x.reshape(batch * heads, *x.shape[2:]) for x in (query, keys, values)]
    return jax.lax.map(one_head, tuple(flat)).reshape(batch, heads, time, width)

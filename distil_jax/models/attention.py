"""Multi-head attention. b batch, h heads, t queries, s keys, k head width, d model width."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from distil_jax.mesh import on_one_cpu
from distil_jax.models.layers import Compute, Linear
from distil_jax.models.products import turn
from distil_jax.models.quantized import dense
from distil_jax.models.splash import splash_attend
from distil_jax.settings import Kernel

# On a CPU, scores of this size and more stay in its cache only one head at a time; for smaller ones
# all heads at once are faster (tests/benchmarks/attention.py).
_CPU_HEAD_BY_HEAD = 1024 * 1024
# Elsewhere the scores of so many queries are in memory at once, of all clips and heads.
_QUERY_BLOCK = 128


class Attention(nnx.Module):
    """Multi-head attention; the key projection has no bias."""

    def __init__(self, width: int, heads: int, compute: Compute, rngs: nnx.Rngs):
        self.heads = heads
        self.kernel: Kernel = compute.attention
        dtype = compute.dtype
        self.query = Linear(width, width, dtype, rngs)
        self.key = Linear(width, width, dtype, rngs, bias=False)
        self.value = Linear(width, width, dtype, rngs)
        self.out = Linear(width, width, dtype, rngs)

    def split(self, x: jax.Array) -> jax.Array:
        """[b, t, d] -> [b, h, t, k]."""
        batch, time, width = x.shape
        return x.reshape(batch, time, self.heads, width // self.heads).swapaxes(1, 2)

    def keys_values(self, x: jax.Array) -> "KeysValues":
        """What may be kept between calls, of x [b, s, d]."""
        return KeysValues(self.split(self.key(x)).swapaxes(2, 3), self.split(self.value(x)))

    def __call__(
        self, x: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """x [b, t, d], keys, values and mask as `attend` wants them -> [b, t, d].

        In a cache's keys [b h, k, s] and values [b h, s, k], batch and heads may be one axis.
        """
        query = self.split(self.query(x))
        shape = query.shape
        if keys.ndim == 3:
            query = query.reshape(-1, *shape[2:])
            if mask is not None and mask.ndim == 4:
                mask = jnp.repeat(mask[:, 0], self.heads, axis=0)
        mixed = attend(query, keys, values, mask, self.kernel).reshape(shape)
        mixed = checkpoint_name(mixed, "attention")  # for the remat policy of that name
        return self.out(mixed.swapaxes(1, 2).reshape(x.shape))

    def reader(self, dtype: jnp.dtype) -> "Reader":
        """What `read` needs, laid out once for many calls."""
        width = self.key.kernel.shape[0]
        key, value = (
            dense(linear.kernel[...], dtype).astype(dtype).reshape(width, self.heads, -1)
            for linear in (self.key, self.value)
        )
        return Reader(key.transpose(1, 2, 0), value.transpose(1, 0, 2))

    def read(self, x: jax.Array, memory: "Memory", reader: "Reader") -> jax.Array:
        """What `self(x, *self.keys_values(memory))` is, without keys and values of the memory.

        The key projection goes over to the query, as q (W_k m) = (W_k^T q) m, and the value
        projection behind the mixing (DeepSeek-V2, arXiv:2405.04434, section 2.1.2). So decoding
        keeps the memory alone for all layers, and no product with all of it has to come first.
        x [b, t, d] -> [b, t, d].
        """
        states, dtype = memory.states, memory.states.dtype
        batch, time, width = x.shape
        head_width = width // self.heads
        einsum = partial(jnp.einsum, preferred_element_type=jnp.float32)
        query = self.query(x).reshape(batch * time, self.heads, head_width) * head_width**-0.5
        query = einsum("nhk,hkd->hnd", query, reader.key).astype(dtype)
        query = query.reshape(self.heads, batch, time, width).transpose(1, 3, 2, 0)
        query = query.reshape(batch, width, time * self.heads)
        scores = einsum("bsd,bdn->bsn", states, query)
        weights = jax.nn.softmax(scores, axis=1).astype(dtype)
        if memory.turned is None:
            mixed = einsum("bsn,bsd->bnd", weights, states)
        else:
            mixed = einsum("bds,bsn->bdn", memory.turned, weights)
            mixed = jax.lax.optimization_barrier(mixed).swapaxes(1, 2)  # as in `project_few`
        mixed = mixed.astype(dtype).reshape(batch * time, self.heads, width)
        mixed = einsum("nhd,hdk->hnk", mixed, reader.value).swapaxes(0, 1)
        return self.out(self.value.add_bias(mixed.reshape(batch, time, width)))


class KeysValues(NamedTuple):
    """What an attention looks at: keys [b, h, k, s], values [b, h, s, k]."""

    keys: jax.Array
    values: jax.Array


class Memory(NamedTuple):
    """What an attention reads without keys and values: states [b, s, d].

    turned [b, d, s]: the same for the mixing in bfloat16 on a CPU (models/products.py); else None.
    """

    states: jax.Array
    turned: jax.Array | None = None

    @classmethod
    def of(cls, states: jax.Array) -> "Memory":
        """For many calls of `read`."""
        wanted = on_one_cpu() and states.dtype == jnp.bfloat16
        return cls(states, turn(states) if wanted else None)


class Reader(NamedTuple):
    """The projections of an attention by head: key [h, k, d], value [h, d, k]."""

    key: jax.Array
    value: jax.Array


def attend(
    query: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    mask: jax.Array | None = None,
    kernel: Kernel = "xla",
) -> jax.Array:
    """softmax(query keys^T / sqrt(k)) values, with the softmax in float32.

    query [b, h, t, k]; keys [b, h, k, s], which products with them want; values [b, h, s, k];
    mask [t, s] or [b, 1, t, s], True where a query may look. Returns [b, h, t, k] in the dtype of
    `values`. With a mask on a CPU there may be fewer axes before the last two, or more.
    """
    if kernel == "splash" and mask is None:
        return splash_attend(query, keys, values)
    if not on_one_cpu():
        many = query.shape[2] > _QUERY_BLOCK
        return (_block_by_block if many else _all_at_once)(query, keys, values, mask)
    if mask is None and query.shape[-2] * keys.shape[-1] >= _CPU_HEAD_BY_HEAD:
        return _head_by_head(query, keys, values)
    return _all_at_once(query, keys, values, mask)


def _all_at_once(
    query: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array | None
) -> jax.Array:
    query = query * query.shape[-1] ** -0.5
    scores = jnp.matmul(query, keys, preferred_element_type=jnp.float32)
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    mixed = jnp.matmul(weights, values, preferred_element_type=jnp.float32)
    return mixed.astype(values.dtype)


def _block_by_block(
    query: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array | None
) -> jax.Array:
    """Queries in blocks, whose scores the backward pass computes anew.

    So memory grows with t and not with t s. The batch stays whole: it may be spread over devices.
    """
    batch, heads, time, width = query.shape
    blocks = -(-time // _QUERY_BLOCK)
    more = blocks * _QUERY_BLOCK - time
    query = jnp.pad(query, ((0, 0), (0, 0), (0, more), (0, 0)))
    query = query.reshape(batch, heads, blocks, _QUERY_BLOCK, width).transpose(2, 0, 1, 3, 4)
    if mask is not None:
        clips = mask.shape[:-2]  # none where one mask is that of all
        mask = jnp.pad(mask, [(0, 0)] * len(clips) + [(0, more), (0, 0)], constant_values=True)
        mask = jnp.moveaxis(mask.reshape(*clips, blocks, _QUERY_BLOCK, -1), -3, 0)

    def one_block(inputs: tuple[jax.Array, jax.Array | None]) -> jax.Array:
        query, mask = inputs
        return _all_at_once(query, keys, values, mask)

    mixed = jax.lax.map(jax.checkpoint(one_block, prevent_cse=False), (query, mask))
    mixed = mixed.transpose(1, 2, 0, 3, 4).reshape(batch, heads, blocks * _QUERY_BLOCK, width)
    return mixed[:, :, :time]


def _head_by_head(query: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
    batch, heads, time, width = query.shape
    halves = 2 if time % 2 == 0 else 1

    def one_head(inputs: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        queries, keys, values = inputs
        # With ones beside the values their product with weights has the weights' sums, too.
        values = jnp.pad(values, ((0, 0), (0, 8)), constant_values=1)

        def one_half(query: jax.Array) -> jax.Array:
            scores = jnp.matmul(query * width**-0.5, keys, preferred_element_type=jnp.float32)
            weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True)).astype(values.dtype)
            mixed = jnp.matmul(weights, values, preferred_element_type=jnp.float32)
            return (mixed[:, :width] / mixed[:, width : width + 1]).astype(values.dtype)

        return jax.lax.map(one_half, queries.reshape(halves, time // halves, width))

    flat = [x.reshape(batch * heads, *x.shape[2:]) for x in (query, keys, values)]
    return jax.lax.map(one_head, tuple(flat)).reshape(batch, heads, time, width)

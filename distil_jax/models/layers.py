"""What more than one architecture uses: linear maps, attention, MLP, and stacks of equal blocks.

b batch, t target time, s source time, d model width, h heads, k head width, f MLP width.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from distil_jax.mesh import constrain, on_one_cpu
from distil_jax.models.attention import attend
from distil_jax.models.products import project
from distil_jax.settings import Settings

Block = TypeVar("Block", bound=nnx.Module)
Result = TypeVar("Result")
Remat = Literal["none", "dots", "full"]
_REMAT_POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


Dtype = Literal["float32", "bfloat16"]


class Compute(Settings):
    """How a model computes; none of it changes what the model is."""

    # Activations and matrix products; normalisation and softmax are always float32.
    dtype: Dtype = "float32"
    # What the backward pass recomputes: nothing, all but matrix products, or every block.
    remat: Remat = "none"


class Linear(nnx.Module):
    """`x @ kernel + bias` computed in `dtype`; parameters keep their own. kernel [in, out]."""

    def __init__(self, inputs: int, outputs: int, dtype: str, rngs: nnx.Rngs, bias: bool = True):
        self.dtype = jnp.dtype(dtype)
        init = nnx.initializers.lecun_normal()
        self.kernel = nnx.Param(init(rngs.params(), (inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., in] -> [..., out]"""
        y: jax.Array = project(x, self.kernel[...], self.dtype)  # pyright: ignore[reportAssignmentType]
        return (y if self.bias is None else y + self.bias[...]).astype(self.dtype)


class LayerNorm(nnx.LayerNorm):
    """Layer normalisation with float32 statistics, float32 out. [..., d] -> [..., d]."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        super().__init__(width, epsilon=1e-5, dtype=jnp.float32, rngs=rngs)


class MLP(nnx.Module):
    """Two linear maps with an exact GELU between them. [b, t, d] -> [b, t, d]."""

    def __init__(self, width: int, hidden: int, dtype: str, rngs: nnx.Rngs):
        self.up = Linear(width, hidden, dtype, rngs)
        self.down = Linear(hidden, width, dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(jax.nn.gelu(self.up(x), approximate=False))


class Attention(nnx.Module):
    """Multi-head attention; the key projection has no bias."""

    def __init__(self, width: int, heads: int, dtype: str, rngs: nnx.Rngs):
        self.heads = heads
        self.query = Linear(width, width, dtype, rngs)
        self.key = Linear(width, width, dtype, rngs, bias=False)
        self.value = Linear(width, width, dtype, rngs)
        self.out = Linear(width, width, dtype, rngs)

    def split(self, x: jax.Array) -> jax.Array:
        """[b, t, d] -> [b, h, t, k]."""
        batch, time, width = x.shape
        return x.reshape(batch, time, self.heads, width // self.heads).swapaxes(1, 2)

    def keys_values(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What may be kept between calls. [b, s, d] -> keys [b, h, k, s], values [b, h, s, k]."""
        return self.split(self.key(x)).swapaxes(2, 3), self.split(self.value(x))

    def __call__(
        self, x: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """x [b, t, d], keys, values and mask as `attend` wants them -> [b, t, d]."""
        mixed = attend(self.split(self.query(x)), keys, values, mask)
        batch, heads, time, head_width = mixed.shape
        return self.out(mixed.swapaxes(1, 2).reshape(batch, time, heads * head_width))

    def read(self, x: jax.Array, memory: jax.Array) -> jax.Array:
        """What `self(x, *self.keys_values(memory))` is, without keys and values of the memory.

        The key projection goes over to the query, as q (W_k m) = (W_k^T q) m, and the value
        projection behind the mixing (DeepSeek-V2, arXiv:2405.04434, section 2.1.2). So decoding
        keeps the memory alone for all layers, and reads less; with few queries that is faster too.
        x [b, t, d], memory [b, s, d] -> [b, t, d].
        """
        batch, time, width = x.shape
        kernel_shape = width, self.heads, width // self.heads
        key, value = (
            linear.kernel[...].astype(memory.dtype).reshape(kernel_shape)
            for linear in (self.key, self.value)
        )
        einsum = partial(jnp.einsum, preferred_element_type=jnp.float32)
        query = self.split(self.query(x)) * kernel_shape[-1] ** -0.5
        query = einsum("bhtk,dhk->bdth", query, key).astype(memory.dtype)
        scores = einsum("bsd,bdn->bsn", memory, query.reshape(batch, width, time * self.heads))
        weights = jax.nn.softmax(scores, axis=1).astype(memory.dtype)
        mixed = einsum("bsn,bsd->bnd", weights, memory).astype(memory.dtype)
        mixed = mixed.reshape(batch, time, self.heads, width)
        mixed = einsum("bthd,dhk->bthk", mixed, value).reshape(batch, time, width)
        return self.out((mixed + self.value.bias[...]).astype(memory.dtype))


def stack(make: Callable[[nnx.Rngs], Block], layers: int, rngs: nnx.Rngs) -> Block:
    """`layers` equal blocks as one module whose parameters have a leading layer axis."""

    @nnx.split_rngs(splits=layers)
    @nnx.vmap(in_axes=0, out_axes=0)
    def make_all(rngs: nnx.Rngs) -> Block:
        return make(rngs)

    return make_all(rngs)


def unstack(blocks: Block) -> list[Block]:
    """The blocks of a stack one by one, for loops that must not slice weights at every step."""
    graph, state = nnx.split(blocks)
    layers = jax.tree.leaves(state)[0].shape[0]
    slices = [jax.tree.map(lambda a, i=i: a[i], state) for i in range(layers)]
    return [nnx.merge(graph, layer) for layer in slices]


def over_clips(function: Callable[..., Result], *arrays: jax.Array) -> Result:
    """function(*arrays), where the arrays and all that comes out begin with the batch axis.

    On one CPU the clips go through one by one and the backward pass computes them anew: what a
    clip needs stays in the cache, and memory does not grow with the batch.
    """
    if not on_one_cpu():
        return function(*arrays)

    def one(clip: tuple[jax.Array, ...]) -> Result:
        return jax.tree.map(lambda a: a[0], function(*(array[None] for array in clip)))

    return jax.lax.map(jax.checkpoint(one), arrays)


def apply_stack(blocks: nnx.Module, x: jax.Array, remat: Remat, *extra: jax.Array) -> jax.Array:
    """Apply the blocks of a stack in order: x = block(x, *extra).

    A scan, compiled once for all layers. On one CPU the layers stand one after the other: without
    the scan's copies of weights and activations a decoder's gradient takes half the time there.
    """
    graph, state = nnx.split(blocks)

    def body(x: jax.Array, layer: nnx.State) -> tuple[jax.Array, None]:
        return constrain(nnx.merge(graph, layer)(x, *extra), "batch"), None  # pyright: ignore[reportCallIssue]

    if remat != "none":
        # Inside a scan nothing can undo the remat; outside of it XLA must be kept from doing so.
        policy = _REMAT_POLICIES[remat]
        body = jax.checkpoint(body, policy=policy, prevent_cse=on_one_cpu())
    if on_one_cpu():
        for block in unstack(blocks):
            x, _ = body(x, nnx.state(block))
        return x
    return jax.lax.scan(body, x, state)[0]

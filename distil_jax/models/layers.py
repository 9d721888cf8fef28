"""What more than one architecture uses: linear maps, norm, MLP, and stacks of equal blocks.

b batch, t time, d model width.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from distil_jax.mesh import constrain, on_one_cpu
from distil_jax.models.products import project
from distil_jax.models.quantized import dense
from distil_jax.settings import Dtype, Kernel, Remat, Settings

Block = TypeVar("Block", bound=nnx.Module)
Result = TypeVar("Result")
_REMAT_POLICIES = {
    # By name, because no policy sees a product inside of `project`, whose gradient is its own.
    "dots": jax.checkpoint_policies.save_only_these_names("linear"),
    "attention": jax.checkpoint_policies.save_only_these_names("attention"),
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Compute(Settings):
    """How a model computes; none of it changes what the model is."""

    dtype: Dtype = "float32"  # normalisation and softmax are float32 always
    remat: Remat = "none"
    attention: Kernel = "xla"


class Linear(nnx.Module):
    """`x @ kernel + bias` computed in `dtype`; parameters keep their own. kernel [in, out]."""

    def __init__(self, inputs: int, outputs: int, dtype: str, rngs: nnx.Rngs, bias: bool = True):
        self.dtype = jnp.dtype(dtype)
        init = nnx.initializers.lecun_normal()
        self.kernel = nnx.Param(init(rngs.params(), (inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., in] -> [..., out]"""
        kernel = dense(self.kernel[...], self.dtype)
        y: jax.Array = project(x, kernel, self.dtype)  # pyright: ignore[reportAssignmentType]
        return checkpoint_name(self.add_bias(y), "linear")

    def add_bias(self, y: jax.Array) -> jax.Array:
        """For what comes of a product with the kernel. [..., out] -> [..., out] in `dtype`."""
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


def over_layers(function: Callable[[Block], Result], blocks: Block) -> Result:
    """function(block) of every block of a stack, stacked."""
    graph, state = nnx.split(blocks)
    return jax.vmap(lambda layer: function(nnx.merge(graph, layer)))(state)


def over_clips(
    function: Callable[..., Result], *arrays: jax.Array, wanted: jax.Array | None = None
) -> Result:
    """function(*arrays), where the arrays and all that comes out begin with the batch axis.

    On one CPU the clips go through one by one and the backward pass computes them anew: what a
    clip needs stays in the cache, and memory does not grow with the batch. Those that are not
    wanted [b] are left out there, and get zeros.
    """
    if not on_one_cpu():
        return function(*arrays)

    def one(clip: tuple[jax.Array, ...]) -> Result:
        return jax.tree.map(lambda a: a[0], function(*(array[None] for array in clip)))

    if wanted is None:
        return jax.lax.map(jax.checkpoint(one), arrays)

    def one_if_wanted(clip: tuple[jax.Array, tuple[jax.Array, ...]]) -> Result:
        shapes = jax.eval_shape(one, clip[1])
        nothing = partial(jax.tree.map, lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        return jax.lax.cond(clip[0], partial(one, clip[1]), nothing)

    return jax.lax.map(jax.checkpoint(one_if_wanted), (wanted, arrays))


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

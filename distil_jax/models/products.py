"""Matrix products in a compute dtype with float32 accumulation, forward and backward.

`preferred_element_type=float32` is what TPU and GPU matrix units do anyway. On a CPU with AVX-512
it matters: XLA multiplies bfloat16 into float32 at twice the speed of float32, and bfloat16 into
bfloat16 at half of that. With AVX2 alone bfloat16 gains nothing (tests/benchmarks/products.py).

With few rows, as in decoding, a bfloat16 product there takes a third to a half of the time where
the big factor is on the left and turned (jaxlib 0.10.2, AVX-512 with bfloat16 instructions).
"""

from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def project(x: jax.Array, kernel: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """x [..., d] @ kernel [d, f] -> [..., f] in float32, from factors in `dtype`.

    The gradient of the kernel comes in the kernel's own dtype, accumulated in float32.
    """
    return jnp.matmul(x.astype(dtype), kernel.astype(dtype), preferred_element_type=jnp.float32)


def _project_forward(x: jax.Array, kernel: jax.Array, dtype: jnp.dtype):
    return project(x, kernel, dtype), (x.astype(dtype), kernel, jnp.zeros((), x.dtype))


def _project_backward(dtype: jnp.dtype, kept: tuple, gradient: jax.Array):
    x, kernel, like_x = kept
    gradient = gradient.astype(dtype)
    to_x = jnp.matmul(gradient, kernel.astype(dtype).T, preferred_element_type=jnp.float32)
    rows = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    to_kernel = jnp.matmul(rows[0].T, rows[1], preferred_element_type=jnp.float32)
    return to_x.astype(like_x.dtype), to_kernel.astype(kernel.dtype)


project.defvjp(_project_forward, _project_backward)


def turn(array: jax.Array) -> jax.Array:
    """[..., i, j] -> [..., j, i], laid out so in memory."""
    return jax.lax.optimization_barrier(array.swapaxes(-1, -2))


def project_few(x: jax.Array, turned: jax.Array) -> jax.Array:
    """x [..., d] of few rows, turned kernel [f, d] -> [..., f] in float32, on one CPU."""
    rows = x.reshape(-1, x.shape[-1])
    count = len(rows)
    if count == 1 and x.dtype == jnp.bfloat16:
        # The product with a vector would take several times as long.
        rows = jnp.tile(rows, (2, 1))
    product = jnp.einsum("fd,nd->fn", turned, rows, preferred_element_type=jnp.float32)
    # Behind the barrier, or else XLA swaps the factors and turns nothing.
    return jax.lax.optimization_barrier(product).T[:count].reshape(*x.shape[:-1], -1)

"""How weights lie in memory: in a float type, or linear kernels as int8 (weight-only, symmetric).

An int8 kernel has one float32 scale an output channel, largest magnitude / 127.5 (the `absmax` of
qwix, https://github.com/google/qwix), and is a qwix QArray, a pytree of `qvalue` and `scale`:
slicing a stack of layers, scanning over it and laying it out go through both alike. It becomes a
matrix in the compute dtype where it is used. Embeddings, convolutions, norms and biases stay float.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import qwix
from flax.traverse_util import flatten_dict, unflatten_dict
from qwix import QArray

from distil_jax.models.names import Row

WeightDtype = Literal["auto", "float32", "bfloat16", "int8"]


def storage(table: Sequence[Row], params: dict, dtype: WeightDtype, compute: str) -> dict:
    """What `store` makes of parameters, as shapes.

    params: arrays or shapes; a part of the model does. compute: the dtype of products, which is
    what `auto` means, and what `int8` leaves float.
    """
    rows = {row.path: row for row in table}
    plain = compute if dtype in ("auto", "int8") else dtype

    def stored(path: tuple[str, ...], array: Any) -> Any:
        shape = jax.ShapeDtypeStruct(array.shape, jnp.dtype(plain))
        quantized = dtype == "int8" and rows[path].is_linear_kernel
        return jax.eval_shape(quantize, shape) if quantized else shape

    flat: dict[tuple[str, ...], Any] = flatten_dict(params)  # pyright: ignore[reportAssignmentType]
    return unflatten_dict({path: stored(path, array) for path, array in flat.items()})


def store(array: Any, like: Any) -> Any:
    """One array in the form that `storage` gave for it; an int8 kernel comes to the host."""
    if isinstance(like, QArray):
        return jax.device_get(jax.jit(quantize)(jax.device_put(array)))
    return array.astype(like.dtype, copy=False)


def quantize(kernel: jax.Array) -> QArray:
    """[..., in, out] -> int8 of the same shape, scale [..., 1, out] float32."""
    channels = [axis for axis in range(kernel.ndim) if axis != kernel.ndim - 2]
    return qwix.quantize(kernel.astype(jnp.float32), jnp.int8, channelwise_axes=channels)


def dense(kernel: jax.Array | QArray, dtype: jnp.dtype) -> jax.Array:
    """An int8 kernel as a matrix in `dtype` [..., in, out]; a float one as it is, whose gradient
    must come in its own dtype."""
    return qwix.dequantize(kernel).astype(dtype) if isinstance(kernel, QArray) else kernel

"""Parameters to and from a Hugging Face state dict: one name table read in two directions."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from distil_jax.errors import UserError
from distil_jax.models.names import Row

Params = dict[str, Any]
Shapes = Mapping[tuple[str, ...], tuple[int, ...]]
_DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
_MOST_LISTED = 5
_XLA_ALIGNMENT = 64  # bytes


class Part(NamedTuple):
    """One tensor of the state dict: name, shape there, row of the table, layer if stacked."""

    name: str
    shape: tuple[int, ...]
    row: Row
    layer: int | None


def from_state_dict(
    state: Mapping[str, np.ndarray],
    table: Sequence[Row],
    shapes: Shapes,
    source: str,
    dtype: str = "float32",
) -> Params:
    """Nested parameters as fresh numpy arrays of `dtype`; layers are stacked on axis 0.

    state: tensors by their Hugging Face names. shapes: the shape that each path of the table has
    here. Raises UserError that lists missing and unexpected names and wrong shapes.
    """
    parts = list(_parts(table, shapes))
    _check(state, parts, source)
    params: Params = {}
    arrays = {row.path: _aligned(shapes[row.path], numpy_dtype(dtype)) for row in table}
    for part in parts:
        array = _permuted(np.asarray(state[part.name]), part.row.transpose)
        arrays[part.row.path][... if part.layer is None else part.layer] = array
    for path, array in arrays.items():
        _insert(params, path, array)
    return params


def to_state_dict(
    params: Params, table: Sequence[Row], dtype: str = "float32"
) -> dict[str, np.ndarray]:
    """Tensors by their Hugging Face names, contiguous numpy arrays of `dtype`."""
    return {
        name: np.ascontiguousarray(array, numpy_dtype(dtype))
        for name, array in named_tensors(params, table)
    }


def named_tensors(params: Params, table: Sequence[Row]) -> Iterator[tuple[str, np.ndarray]]:
    """Each tensor's Hugging Face name, and the tensor as it lies there: a view where it can be."""
    for row in table:
        array = np.asarray(lookup(params, row.path))
        order = tuple(np.argsort(row.transpose)) if row.transpose else None
        for name, piece in _named(row, array):
            yield name, _permuted(piece, order)


def numpy_dtype(name: str) -> np.dtype:
    """The dtype called float32, float16 or bfloat16."""
    return np.dtype(_DTYPES[name])


def lookup(params: Params, path: Sequence[str]) -> Any:
    """The array at `path` of the nested dict."""
    for key in path:
        params = params[key]
    return params


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array that XLA on a CPU uses where it lies; any other it would copy."""
    size = math.prod(shape) * dtype.itemsize
    buffer = np.empty(size + _XLA_ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _XLA_ALIGNMENT
    return buffer[start : start + size].view(dtype).reshape(shape)


def _insert(params: Params, path: Sequence[str], array: np.ndarray) -> None:
    for key in path[:-1]:
        params = params.setdefault(key, {})
    params[path[-1]] = array


def _named(row: Row, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if not row.stacked:
        yield row.hf, array
        return
    for i, layer in enumerate(array):
        yield row.hf.format(i=i), layer


def _parts(table: Sequence[Row], shapes: Shapes) -> Iterator[Part]:
    for row in table:
        ours = shapes[row.path]
        order = np.argsort(row.transpose) if row.transpose else range(len(ours) - row.stacked)
        there = tuple(ours[row.stacked + axis] for axis in order)
        if not row.stacked:
            yield Part(row.hf, there, row, None)
            continue
        for layer in range(ours[0]):
            yield Part(row.hf.format(i=layer), there, row, layer)


def _permuted(array: np.ndarray, order: tuple[int, ...] | None) -> np.ndarray:
    return array.transpose(order) if order else array


def _check(state: Mapping[str, np.ndarray], parts: Sequence[Part], source: str) -> None:
    names = {part.name for part in parts}
    missing = sorted(names - set(state))
    unexpected = sorted(set(state) - names)
    wrong = [
        f"{part.name} (got {list(state[part.name].shape)}, expected {list(part.shape)})"
        for part in parts
        if part.name in state and tuple(state[part.name].shape) != part.shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "of the wrong shape": wrong}
    lines = [f"{len(what)} are {kind}: {_few(what)}" for kind, what in found.items() if what]
    if lines:
        raise UserError(
            f"{source}: the weights do not fit the model that their config describes. "
            f"Of its tensors {'; '.join(lines)}. Check that weights and "
            f"config.json belong together."
        )


def _few(items: Iterable[str]) -> str:
    items = list(items)
    return ", ".join(items[:_MOST_LISTED]) + (", ..." if len(items) > _MOST_LISTED else "")

"""Writer of CTranslate2's `model.bin`, in the layout and the version of ctranslate2.py."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from distil_jax.models.ctranslate2 import TYPES, VERSION

# How weights are stored: int8 are matrices of 8 bits with a scale for each row, the rest float32.
Weights = Literal["float32", "float16", "int8"]
_LARGEST = 127  # of an int8, used on both sides of zero
_FLOAT32_MAX = np.finfo(np.float32).max


def write_variables(
    path: Path,
    spec: str,
    revision: int,
    arrays: Mapping[str, np.ndarray],
    aliases: Mapping[str, str],
) -> None:
    """Write named tensors as they are; the inverse of `ctranslate2.read_variables`.

    arrays: each of one of ctranslate2.TYPES. aliases: further names -> what they stand for.
    Names are sorted, as by CTranslate2's own converters.
    """
    with open(path, "wb") as file:
        file.write(struct.pack("<I", VERSION))
        file.write(_string(spec) + struct.pack("<II", revision, len(arrays)))
        for name in sorted(arrays):
            _write_variable(file, name, arrays[name])
        file.write(struct.pack("<I", len(aliases)))
        for alias in sorted(aliases):
            file.write(_string(alias) + _string(aliases[alias]))


def _write_variable(file: BinaryIO, name: str, array: np.ndarray) -> None:
    kind = TYPES.index(array.dtype)
    data = np.ascontiguousarray(array, TYPES[kind])
    file.write(_string(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape))
    file.write(struct.pack("<BI", kind, data.nbytes))
    file.write(data.reshape(-1).view(np.uint8).data)


def _string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def stored(arrays: Mapping[str, np.ndarray], weights: Weights) -> dict[str, np.ndarray]:
    """Variables of a float32 model as CTranslate2's converters store them; scalars stay.

    As int8, what is called `weight` (matrices, convolutions, the embedding) gets a `weight_scale`.
    """
    out: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if array.ndim == 0:
            out[name] = array
        elif weights == "int8" and _is_quantized(name):
            out[name], out[f"{name}_scale"] = _to_int8(array)
        else:
            out[name] = array.astype(np.float16 if weights == "float16" else np.float32, copy=False)
    return out


def rounded(variable: str, array: np.ndarray, weights: Weights) -> np.ndarray:
    """Rows of a variable as they are read again, float32."""
    if weights == "int8" and _is_quantized(variable):
        numbers, scale = _to_int8(array)
        return numbers / scale.reshape(-1, *[1] * (array.ndim - 1))
    return array.astype(np.float16 if weights == "float16" else np.float32).astype(np.float32)


def _is_quantized(variable: str) -> bool:
    """Whether a variable is stored as 8 bits where weights are int8."""
    return variable.endswith("/weight")


def _to_int8(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[out, ...] float32 -> (int8 of the same shape, scale [out] float32).

    A stored number is the weight times the scale of its row, 127 / max |row|. A row of zeros has
    scale 1, and one too small for that a scale that is still a float32.
    """
    rows = array.reshape(len(array), -1)
    largest = np.abs(rows).max(axis=1)
    largest[largest == 0] = _LARGEST
    scale = np.float32(_LARGEST) / np.maximum(largest, np.float32(_LARGEST) / _FLOAT32_MAX)
    return np.rint(rows * scale[:, None]).astype(np.int8).reshape(array.shape), scale

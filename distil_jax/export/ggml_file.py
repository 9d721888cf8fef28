"""The file that whisper.cpp loads, in its own format from before GGUF; little-endian.

Layout: i32 magic; i32 for each field of HEADER; mel filters: i32 mels, i32 bins, float32 data;
i32 n; n tokens: i32 bytes, data; then tensors to the end: i32 rank, i32 bytes of the name, i32
type, i32 shape[rank] from the last axis to the first, name, data. (whisper.cpp 1.8,
src/whisper.cpp, whisper_model_load.)
"""

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distil_jax.errors import UserError

MAGIC = 0x67676D6C
HEADER: tuple[str, ...] = (
    "vocab",
    "audio_positions",
    "audio_width",
    "audio_heads",
    "audio_layers",
    "text_positions",
    "text_width",
    "text_heads",
    "text_layers",
    "mels",
    "type",
)
TYPES = [np.dtype("<f4"), np.dtype("<f2")]  # by their numbers


@dataclass(frozen=True, eq=False)
class GgmlFile:
    """header: the fields of HEADER. mel_filters [mels, bins]. tokens: the bytes of each, by id."""

    header: Mapping[str, int]
    mel_filters: np.ndarray
    tokens: list[bytes]
    tensors: Mapping[str, np.ndarray]


def write_ggml(path: Path, content: GgmlFile) -> None:
    """Write it; every tensor float32 or float16."""
    with open(path, "wb") as file:
        file.write(_integers(MAGIC, *(content.header[field] for field in HEADER)))
        file.write(_integers(*content.mel_filters.shape))
        file.write(np.ascontiguousarray(content.mel_filters, "<f4").tobytes())
        file.write(_integers(len(content.tokens)))
        for token in content.tokens:
            file.write(_integers(len(token)) + token)
        for name, array in content.tensors.items():
            kind, data = TYPES.index(array.dtype), name.encode()
            shape = reversed(array.shape)
            file.write(_integers(array.ndim, len(data), kind, *shape) + data)
            file.write(np.ascontiguousarray(array, TYPES[kind]).tobytes())


def read_ggml(path: Path) -> GgmlFile:
    """What `write_ggml` wrote; tensors are views of the file. UserError where it is cut short."""
    try:
        with open(path, "rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return _Reader(data).content()
    except (struct.error, ValueError, IndexError) as error:
        raise UserError(f"{path}: not a whole ggml file ({error}); export again") from error


class _Reader:
    def __init__(self, data: memoryview):
        self.data, self.offset = data, 0

    def content(self) -> GgmlFile:
        if self.integers(1) != (MAGIC,):
            raise ValueError("it begins otherwise")
        header = dict(zip(HEADER, self.integers(len(HEADER)), strict=True))
        filters = self.array(self.integers(2), TYPES[0])
        tokens = [bytes(self.take(*self.integers(1))) for _ in range(*self.integers(1))]
        return GgmlFile(header, filters, tokens, dict(self.tensors()))

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        while self.offset < len(self.data):
            rank, length, kind = self.integers(3)
            shape = self.integers(rank)[::-1]
            yield bytes(self.take(length)).decode(), self.array(shape, TYPES[kind])

    def take(self, count: int) -> memoryview:
        self.offset += count
        if count < 0 or self.offset > len(self.data):
            raise ValueError(f"{count} bytes expected at {self.offset - count}")
        return self.data[self.offset - count : self.offset]

    def integers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", self.take(4 * count))

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        size = int(np.prod(shape)) * dtype.itemsize
        return np.frombuffer(self.take(size), dtype).reshape(shape)


def _integers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)

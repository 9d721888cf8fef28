"""Reader of CTranslate2's `model.bin` (binary version 6): a file of named tensors, little-endian.

The writer is ctranslate2_writer.py.

Layout: u32 version; str spec; u32 revision; u32 n; n variables; u32 m; m aliases. A variable is
str name; u8 rank; u32 shape[rank]; u8 type; u32 bytes; data. An alias is str alias; str variable.
A str is a u16 length that counts the closing NUL, then the bytes.
"""

import hashlib
import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from distil_jax.errors import UserError

VERSION = 6
TYPES = [np.dtype(kind) for kind in ("<f4", "i1", "<i2", "<i4", "<f2", ml_dtypes.bfloat16)]
_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Variables:
    """What a `model.bin` holds: which model it describes, and its tensors by CTranslate2's names.

    Floating tensors are as stored (maybe views of the file); quantised ones are made float32.
    An alias stands beside what it names, as the same array.
    """

    spec: str
    revision: int
    arrays: dict[str, np.ndarray]
    source: str
    sha256: str


def read_variables(files: Sequence[Path], sha256: str | None = None) -> Variables:
    """The tensors of a `model.bin`, whole or in parts that are joined in the order given.

    sha256: the digest which the (joined) file must have, in hex; checked before anything is used.
    Raises UserError for a wrong digest and for a truncated, corrupt or unknown file.
    """
    source = " + ".join(str(file) for file in files)
    data = _joined(files)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise UserError(
            f"{source}: sha256 is {digest}, but {sha256} was expected. The file is damaged or is "
            f"another one: get it again, or mend the digest in the config if you trust the file."
        )
    reader = _Reader(data, source)
    spec, revision = reader.header()
    arrays = reader.variables()
    aliases = reader.aliases(set(arrays))
    reader.end()
    return Variables(spec, revision, _dequantised(arrays, aliases, source), source, digest)


def _joined(files: Sequence[Path]) -> memoryview:
    if len(files) == 1 and files[0].stat().st_size:
        with open(files[0], "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    joined = bytearray()
    for file in files:
        joined += file.read_bytes()
    return memoryview(joined).toreadonly()


class _Reader:
    """Walks through the bytes; every read is checked against the end of the file."""

    def __init__(self, data: memoryview, source: str):
        self.data, self.source, self.offset = data, source, 0

    def fail(self, message: str) -> UserError:
        return UserError(
            f"{self.source}: at byte {self.offset}: {message}. This is not a usable CTranslate2 "
            f"model.bin (version {VERSION}): it may be damaged, cut short or joined in the wrong "
            f"order; get it again, or convert it anew with a current CTranslate2."
        )

    def take(self, count: int, what: str) -> memoryview:
        left = len(self.data) - self.offset
        if count > left:
            raise self.fail(f"expected {count} bytes for {what}, got {left}")
        piece = self.data[self.offset : self.offset + count]
        self.offset += count
        return piece

    def integer(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what), "little")

    def string(self, what: str) -> str:
        raw = bytes(self.take(self.integer(2, f"the length of {what}"), what))
        if not raw or raw[-1] != 0:
            raise self.fail(f"expected a closing NUL after {what}, got {raw[-16:]!r}")
        try:
            return raw[:-1].decode()
        except UnicodeDecodeError as error:
            raise self.fail(f"expected UTF-8 in {what}, got {raw[:32]!r}") from error

    def header(self) -> tuple[str, int]:
        version = self.integer(4, "the binary version")
        if version != VERSION:
            raise self.fail(f"expected binary version {VERSION}, got {version}")
        return self.string("the name of the model spec"), self.integer(4, "the spec's revision")

    def variables(self) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        for index in range(self.integer(4, "the number of variables")):
            name = self.string(f"the name of variable {index}")
            if name in arrays:
                raise self.fail(f"variable '{name}' occurs twice")
            arrays[name] = self.variable(name)
        return arrays

    def variable(self, name: str) -> np.ndarray:
        rank = self.integer(1, f"the rank of '{name}'")
        if rank > _MOST_DIMENSIONS:
            raise self.fail(f"expected rank <= {_MOST_DIMENSIONS} of '{name}', got {rank}")
        shape = [self.integer(4, f"the shape of '{name}'") for _ in range(rank)]
        kind = self.integer(1, f"the type of '{name}'")
        if kind >= len(TYPES):
            raise self.fail(f"expected a type from 0 to {len(TYPES) - 1} in '{name}', got {kind}")
        dtype, count = TYPES[kind], self.integer(4, f"the byte count of '{name}'")
        if count != math.prod(shape) * dtype.itemsize:
            raise self.fail(f"'{name}' has shape {shape} of {dtype}, but claims {count} bytes")
        return np.frombuffer(self.take(count, f"the data of '{name}'"), dtype).reshape(shape)

    def aliases(self, names: set[str]) -> dict[str, str]:
        aliases: dict[str, str] = {}
        for index in range(self.integer(4, "the number of aliases")):
            alias, name = self.string(f"alias {index}"), self.string(f"the target of alias {index}")
            if name not in names or alias in names | aliases.keys():
                raise self.fail(f"alias '{alias}' of '{name}': expected a new name for a variable")
            aliases[alias] = name
        return aliases

    def end(self) -> None:
        if self.offset != len(self.data):
            raise self.fail(f"expected the end, got {len(self.data) - self.offset} more bytes")


def _dequantised(
    arrays: dict[str, np.ndarray], aliases: dict[str, str], source: str
) -> dict[str, np.ndarray]:
    """Stored int8 [out, ...] has a scale for each row (127 / max), int16 one (1024 / max)."""
    scales = {alias: arrays[name] for alias, name in aliases.items()} | arrays
    out = {}
    for name, array in arrays.items():
        if array.ndim and array.dtype.kind == "i":
            array = _dequantise(name, array, scales.get(f"{name}_scale"), source)
        out[name] = array
    out |= {alias: out[name] for alias, name in aliases.items()}
    used = {f"{name}_scale" for name in out}
    return {name: array for name, array in out.items() if name not in used}


def _dequantise(name: str, array: np.ndarray, scale: np.ndarray | None, source: str) -> np.ndarray:
    if scale is None or scale.shape not in {(), (array.shape[0],)} or not np.all(scale > 0):
        got = "nothing" if scale is None else f"shape {scale.shape} from {scale.min()}"
        raise UserError(
            f"{source}: '{name}' is {array.dtype}; expected '{name}_scale' with one positive "
            f"scale, or {array.shape[0]} of them, beside it; got {got}."
        )
    rows = scale.astype(np.float32).reshape(-1, *[1] * (array.ndim - 1))
    return array.astype(np.float32) / rows

"""The tensors of a Hugging Face folder's safetensors files, in one or in shards."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from distil_jax.errors import UserError
from distil_jax.models.weight_files import read_object

INDEX = "model.safetensors.index.json"


def shards(files: Mapping[str, Path], source: str) -> list[Path]:
    """The weight files, in the order of their names."""
    if "model.safetensors" in files:
        return [files["model.safetensors"]]
    if INDEX not in files:
        raise UserError(
            f"{source}: no weights. Expected model.safetensors (or shards and {INDEX}), or "
            f"CTranslate2's model.bin; got {', '.join(sorted(files)) or 'no files'}. A "
            f"pytorch_model.bin is converted by loading and saving it with transformers."
        )
    names = sorted(set(read_object(files, INDEX).get("weight_map", {}).values()))
    lacking = [name for name in names if name not in files]
    if lacking or not names:
        raise UserError(
            f"{source}: {INDEX} names the shards {', '.join(names) or '(none)'}; "
            f"missing: {', '.join(lacking) or 'all'}. Get the whole folder."
        )
    return [files[name] for name in names]


def digest(paths: Sequence[Path], expected: str | None) -> str:
    """sha256 of the files joined in order, in hex; a UserError where it is not `expected`."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    if expected is not None and digest.hexdigest() != expected.lower():
        raise UserError(
            f"{' + '.join(map(str, paths))}: sha256 is {digest.hexdigest()}, but {expected} was "
            f"expected. Get the file again, or mend the digest in the config if you trust it."
        )
    return digest.hexdigest()


def read_tensors(paths: Sequence[Path]) -> dict[str, np.ndarray]:
    """All tensors by name, as stored (float32, float16 or bfloat16)."""
    state: dict[str, np.ndarray] = {}
    for path in paths:
        try:
            state |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{path}: not a usable safetensors file ({error}). It may be damaged or cut "
                f"short; get it again."
            ) from error
    return state

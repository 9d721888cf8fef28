"""What a checkpoint says of itself, so that damage shows when it is read.

TensorStore checks its own tables, not the numbers: large arrays are zstd frames without a checksum,
and a flipped bit inside one comes back as another number. So a checksum of every array is taken on
the devices before the save and again after the load. It is a sum of integers, and hence the same
under every mesh. It travels in the checkpoint's own metadata: there is none without it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from distil_jax.run import fingerprint
from distil_jax.training.damage import Damaged

_WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}  # by bytes an element


def make_seal(made_of: str, state: Any, loader: dict, metrics: dict | None) -> dict[str, Any]:
    """JSON that describes a checkpoint.

    made_of: the training's fingerprint. state: a pytree of arrays on devices.
    """
    sums = jax.device_get(_checksums(jax.tree.leaves(state)))
    arrays = {n: f"{form} {int(s):08x}" for (n, form), s in zip(forms(state), sums, strict=True)}
    body = {
        "fingerprint": made_of,
        "arrays": arrays,
        "loader": fingerprint(loader),
        "metrics": fingerprint(metrics),
    }
    return {**body, "seal": fingerprint(body)}


def check_seal(seal: dict[str, Any] | None, metrics: dict | None) -> None:
    """Raises Damaged when a seal is not whole, or the metrics beside it are others."""
    body = {name: value for name, value in (seal or {}).items() if name != "seal"}
    if not seal or seal.get("seal") != fingerprint(body):
        raise Damaged("what it says of itself is missing or was changed")
    if seal["metrics"] != fingerprint(metrics):
        raise Damaged("its metrics are not those that were saved")


def check_contents(seal: dict[str, Any], state: Any, loader: dict | None = None) -> None:
    """Raises Damaged when arrays (all or some of the sealed) or the loader's position differ."""
    sums = jax.device_get(_checksums(jax.tree.leaves(state)))
    for (name, form), found in zip(forms(state), sums, strict=True):
        if seal["arrays"].get(name) != f"{form} {int(found):08x}":
            raise Damaged(f"the numbers of {name} are not those that were saved")
    if loader is not None and seal["loader"] != fingerprint(loader):
        raise Damaged("the loader's position is not the one that was saved")


def sealed_forms(seal: dict[str, Any]) -> list[tuple[str, str]]:
    """What `forms` said of the state when it was sealed."""
    return [(name, text.rpartition(" ")[0]) for name, text in seal["arrays"].items()]


def forms(state: Any) -> list[tuple[str, str]]:
    """(name, type and shape) of each array of a pytree, abstract or not."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [(jax.tree_util.keystr(path), f"{a.dtype}{list(a.shape)}") for path, a in leaves]


@jax.jit
def _checksums(arrays: list[jax.Array]) -> jax.Array:
    """[number of arrays] uint32."""
    return jnp.stack([_checksum(array) for array in arrays])


def _checksum(array: jax.Array) -> jax.Array:
    """The sum of all elements' bits, each mixed with its place; one changed word always shows.

    The mixing is the last step of MurmurHash3 (Appleby), a bijection on 32 bits.
    """
    mixed = _bits(array)
    mixed = mixed + _places(mixed.shape) * np.uint32(0x9E3779B1)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    return jnp.sum(mixed ^ (mixed >> np.uint32(16)), dtype=jnp.uint32)


def _bits(array: jax.Array) -> jax.Array:
    """uint32 of the array's shape; of 8 bytes an element, with a last axis of two."""
    if array.dtype == jnp.bool:
        return array.astype(jnp.uint32)
    words = _WORDS[array.dtype.itemsize]
    return jax.lax.bitcast_convert_type(array, words).astype(jnp.uint32)


def _places(shape: tuple[int, ...]) -> jax.Array:
    """The place of each element in the flattened array, modulo 2^32."""
    places, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        along = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        places, stride = places + along * np.uint32(stride % 2**32), stride * shape[axis]
    return places

"""Attention by the TPU kernel that comes with jax: no score ever leaves the chip's fast memory.

Splash attention of jax.experimental.pallas. b batch, h heads, t queries, s keys, k head width.
"""

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

from distil_jax.errors import ConfigError
from distil_jax.mesh import map_over_shards, platform

_LANES = 128  # what positions are filled up to a multiple of
_BLOCK = 512  # queries, and keys, that the kernel works on at once


def splash_attend(query: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
    """softmax(query keys^T / sqrt(k)) values, as models.attention.attend has it, without a mask.

    query [b, h, t, k]; keys [b, h, k, s]; values [b, h, s, k]. Returns [b, h, t, k]. Raises
    ConfigError where the program is not for a TPU.
    """
    if platform() != "tpu":
        raise ConfigError(
            f"attention: splash is a kernel of TPUs, and this program is for {platform()}; use xla"
        )
    return map_over_shards(splash_kernel, ("batch", "heads"), query, keys, values)


def splash_kernel(
    query: jax.Array, keys: jax.Array, values: jax.Array, interpret: bool = False
) -> jax.Array:
    """The same on one device. interpret: compute it on any platform, very slowly."""
    _, heads, queries, width = query.shape
    length = keys.shape[3]
    block_q, block_kv = _block(queries), _block(length)
    query = _filled(query * width**-0.5, block_q)
    keys, values = _filled(keys.swapaxes(2, 3), block_kv), _filled(values, block_kv)
    # The filling is of another segment than what is to be seen.
    seen = kernels.SegmentIds(
        q=jnp.zeros(query.shape[2], jnp.int32),
        kv=(jnp.arange(keys.shape[2]) >= length).astype(jnp.int32),
    )
    whole = masks.FullMask((query.shape[2], keys.shape[2]))
    attend = kernels.make_splash_mha(
        masks.MultiHeadMask([whole] * heads),
        block_sizes=kernels.BlockSizes(
            block_q=block_q,
            block_kv=block_kv,
            block_kv_compute=block_kv,
            block_q_dkv=block_q,
            block_kv_dkv=block_kv,
            block_kv_dkv_compute=block_kv,
            block_q_dq=block_q,
            block_kv_dq=block_kv,
        ),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    attend_clips = jax.vmap(attend, in_axes=(0, 0, 0, None))
    mixed: jax.Array = attend_clips(query, keys, values, seen)  # pyright: ignore[reportAssignmentType]
    return mixed[:, :, :queries].astype(values.dtype)


def _block(positions: int) -> int:
    """The whole, filled up, where that is no more than a block."""
    return min(_BLOCK, -(-positions // _LANES) * _LANES)


def _filled(x: jax.Array, block: int) -> jax.Array:
    """Positions, axis 2, with zeros after them, to a multiple of `block`."""
    return jnp.pad(x, [(0, 0), (0, 0), (0, -x.shape[2] % block), (0, 0)])

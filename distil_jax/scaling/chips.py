"""Peaks of accelerators, from which a roofline is drawn. One table, with its sources."""

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """What one chip can do at most.

    flops: dense bfloat16 operations a second. memory: bytes. memory_bandwidth: bytes a second.
    network_bandwidth: bytes a second that leave the chip over all its links together.
    """

    flops: float
    memory: float
    memory_bandwidth: float
    network_bandwidth: float


# Cloud TPU's pages of each generation (docs.cloud.google.com/tpu/docs/v4, v5e, v5p, v6e, tpu7x),
# read in November 2026. Their link bandwidth counts both directions; half of it leaves the chip.
TPU_CHIPS = {
    "v4": Chip(275e12, 32 * GIB, 1228e9, 300e9),
    "v5e": Chip(197e12, 16 * GIB, 819e9, 200e9),
    "v5p": Chip(459e12, 95 * GIB, 2765e9, 600e9),
    "v6e": Chip(918e12, 32 * GIB, 1640e9, 400e9),
    "tpu7x": Chip(2307e12, 192 * GIB, 7380e9, 600e9),
}

# What jax calls a device of each (jax/_src/pallas/mosaic/tpu_info.py).
TPU_DEVICE_KINDS = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "TPU7x": "tpu7x",
}

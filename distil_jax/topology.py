"""Devices that programs are compiled for: those of this machine, or of a TPU slice that is not."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distil_jax.errors import ConfigError, UserError
from distil_jax.scaling.chips import TPU_CHIPS, TPU_DEVICE_KINDS, Chip

# What keeps libtpu from looking for a TPU on this machine. It only compiles.
_COMPILE_ONLY = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # two plans at once
}
_NAME = re.compile(r"(\w+):(\d+(?:x\d+)+)")


@dataclass(frozen=True)
class Target:
    """devices: of jax. chips: how many there are, of which `chip` says what each can do."""

    name: str
    platform: str
    devices: Sequence[Any]
    chips: int
    chip: Chip | None

    @property
    def memory(self) -> int | None:
        """Bytes on a device; None where nobody says."""
        if self.chip is not None:
            return int(self.chip.memory * self.chips / len(self.devices))
        stats = self.devices[0].memory_stats()
        return stats["bytes_limit"] if stats else None


def tpu_target(name: str) -> Target:
    """A slice by name, as "v5e:16x16". Call it before jax is used for anything else.

    Raises ConfigError for a name that is none, UserError where libtpu is missing.
    """
    match = _NAME.fullmatch(name)
    if not match or match[1] not in TPU_CHIPS:
        raise ConfigError(
            f"topology: got {name!r}, expected generation:shape as v5e:16x16 or v5p:4x4x4; "
            f"generations: {', '.join(TPU_CHIPS)}"
        )
    for key, value in _COMPILE_ONLY.items():
        os.environ.setdefault(key, value)
    from jax.experimental import topologies

    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name)
    except Exception as error:  # jax passes on whatever libtpu says
        raise UserError(
            f"topology {name}: {error}\nCompiling for a TPU needs libtpu "
            f"(pip install 'distil_jax[tpu]') and a shape that the generation has."
        ) from error
    chips = 1
    for side in match[2].split("x"):
        chips *= int(side)
    return Target(name, "tpu", topology.devices, chips, TPU_CHIPS[match[1]])


def local_target() -> Target:
    """The devices of this machine."""
    import jax

    devices = jax.devices()
    return Target(devices[0].device_kind, devices[0].platform, devices, len(devices), None)


def peak_of(devices: Sequence[Any]) -> float | None:
    """Dense bfloat16 operations a second of jax's devices together; None where nobody says."""
    generation = TPU_DEVICE_KINDS.get(devices[0].device_kind)
    if generation is None:
        return None
    chips = {(device.process_index, *device.coords) for device in devices}  # of one device or two
    return len(chips) * TPU_CHIPS[generation].flops

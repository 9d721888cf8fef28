"""The least time that a program can take on a chip: its work by the chip's peaks."""

from dataclasses import dataclass

from distil_jax.scaling.chips import Chip


@dataclass(frozen=True)
class Work:
    """What one device does in one run of a program.

    flops: of matrix products. moved: bytes through its memory, at least. sent: bytes over its
    links, at least.
    """

    flops: float
    moved: float
    sent: float = 0.0

    def seconds(self, chip: Chip) -> dict[str, float]:
        """By part. All three overlap at best, so the longest of them is the roofline."""
        return {
            "compute": self.flops / chip.flops,
            "memory": self.moved / chip.memory_bandwidth,
            "network": self.sent / chip.network_bandwidth,
        }

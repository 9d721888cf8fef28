"""What devices can do."""

from types import SimpleNamespace

import jax
import pytest

from distil_jax.scaling.chips import TPU_CHIPS, TPU_DEVICE_KINDS
from distil_jax.topology import peak_of


def devices(kind: str, chips: int, on_a_chip: int) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(device_kind=kind, process_index=0, coords=[chip, 0, 0])
        for chip in range(chips)
        for _ in range(on_a_chip)
    ]


@pytest.mark.parametrize("kind,on_a_chip", [("TPU v5 lite", 1), ("TPU7x", 2)])
def test_devices_of_one_chip_share_its_peak(kind, on_a_chip):
    chip = TPU_CHIPS[TPU_DEVICE_KINDS[kind]]
    assert peak_of(devices(kind, 4, on_a_chip)) == 4 * chip.flops


def test_nobody_says_what_others_can_do():
    assert peak_of(jax.devices("cpu")) is None

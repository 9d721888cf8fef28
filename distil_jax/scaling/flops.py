"""Floating-point operations counted from shapes: a multiplication and an addition are two.

XLA's own count reads the body of a scan once, so it cannot be used on stacked layers; on unstacked
ones it agrees (tests/scaling/test_flops.py). Only matrix products count. Attention counts whole
squares, causal or not, as it is computed. Padding counts, also where a loss skips it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Flops:
    """Forward; backward to the inputs; backward to the weights."""

    forward: float = 0.0
    to_inputs: float = 0.0
    to_weights: float = 0.0

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(
            self.forward + other.forward,
            self.to_inputs + other.to_inputs,
            self.to_weights + other.to_weights,
        )

    def __mul__(self, times: float) -> "Flops":
        return Flops(self.forward * times, self.to_inputs * times, self.to_weights * times)

    @property
    def backward(self) -> float:
        return self.to_inputs + self.to_weights


def linear(rows: float, inputs: int, outputs: int, inputs_are_constant: bool = False) -> Flops:
    """`rows` vectors through an [inputs, outputs] matrix."""
    product = 2.0 * rows * inputs * outputs
    return Flops(product, 0.0 if inputs_are_constant else product, product)


def attention(queries: float, keys: float, width: int) -> Flops:
    """Scores and mixing of `queries` against `keys`, over heads whose widths sum to `width`."""
    products = 4.0 * queries * keys * width
    return Flops(products, 2.0 * products, 0.0)

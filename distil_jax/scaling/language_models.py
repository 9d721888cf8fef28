"""Floating-point operations a token of decoder-only language models, by their size alone.

Busbridge et al. 2025 (arXiv:2502.08606), appendix H: their models keep the ratio of width to depth,
so that size tells the shape. A forward pass costs 2 N (1 + k1 N^(-1/3) + k2 N^(-2/3)), where the
second term is attention and the third the head; a backward pass costs twice that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Number = TypeVar("Number", float, np.ndarray)


@dataclass(frozen=True)
class Shape:
    """aspect: width over depth. layer: parameters of a layer over its squared width, which is
    2 + 2 / (queries a key head) + gated MLP's matrices x its ratio."""

    context: int = 4096
    vocabulary: int = 32768
    aspect: float = 128.0
    layer: float = 12.0

    @classmethod
    def of_runs(cls, columns: Mapping[str, np.ndarray]) -> "Shape | None":
        """As runs say it, by N, context, vocabulary, layers and width, each [n]: their medians.

        None where they do not say all of it.
        """
        needed = [columns[name] for name in ("N", "context", "vocabulary", "layers", "width")]
        if not len(needed[0]) or not all((np.isfinite(c) & (c > 0)).all() for c in needed):
            return None
        size, context, vocabulary, layers, width = needed
        return cls(
            context=round(float(np.median(context))),
            vocabulary=round(float(np.median(vocabulary))),
            aspect=float(np.median(width / layers)),
            layer=float(np.median(size / (layers * width**2))),
        )

    @property
    def told(self) -> str:
        """For a user."""
        return (
            f"of models of context {self.context}, vocabulary {self.vocabulary} and layers "
            f"{self.aspect:.4g} times as wide as there are of them"
        )

    def forward_flops(self, size: Number) -> Number:
        """F(N): of a token, through a model of `size` parameters without the embedding."""
        attention = (1 / (self.aspect * self.layer**2)) ** (1 / 3) * self.context
        head = (self.aspect / self.layer) ** (1 / 3) * self.vocabulary
        return 2 * size * (1 + attention * size ** (-1 / 3) + head * size ** (-2 / 3))


APPLE = Shape()


def twice_size(size: Number) -> Number:
    """The usual rule of thumb, 2 N: too low by 7 % at 12.6e9 parameters and by 40 % at 103e6."""
    return 2 * size

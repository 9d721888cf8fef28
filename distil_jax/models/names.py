"""Rows of a name table: what a parameter is called here and in a Hugging Face checkpoint."""

from typing import NamedTuple


class Row(NamedTuple):
    """One parameter, or one per layer of a stack.

    path: where it is in our nested dict. hf: its name there; `{i}` is the layer, whose arrays are
    stacked on axis 0 here. axes: logical axes for sharding, without the layer axis. transpose: the
    permutation that turns their array into ours (its inverse turns ours into theirs).
    """

    path: tuple[str, ...]
    hf: str
    axes: tuple[str | None, ...]
    transpose: tuple[int, ...] | None = None

    @property
    def stacked(self) -> bool:
        return "{i}" in self.hf

    @property
    def is_linear_kernel(self) -> bool:
        """Whether it is a matrix [in, out] of models.layers.Linear."""
        return self.path[-1] == "kernel" and len(self.axes) == 2


def linear_rows(
    path: tuple[str, ...], hf: str, axes: tuple[str | None, str | None], bias: bool = True
) -> list[Row]:
    """A linear map: [out, in] there, [in, out] here."""
    kernel = Row((*path, "kernel"), f"{hf}.weight", axes, (1, 0))
    return [kernel, Row((*path, "bias"), f"{hf}.bias", axes[1:])] if bias else [kernel]


def norm_rows(path: tuple[str, ...], hf: str) -> list[Row]:
    """A layer norm: scale and bias."""
    return [
        Row((*path, "scale"), f"{hf}.weight", (None,)),
        Row((*path, "bias"), f"{hf}.bias", (None,)),
    ]

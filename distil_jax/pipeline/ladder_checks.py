"""What must hold before a ladder is begun."""

from collections.abc import Callable
from math import prod

from jax.sharding import Mesh

from distil_jax.data.token_text import Windows
from distil_jax.errors import ConfigError, UserError
from distil_jax.ladder_config import LadderConfig


def check_ladder(config: LadderConfig, mesh: Mesh, windows: Callable[[str], Windows]) -> None:
    """windows: of a part of the text, "teacher", "student" or "validation".

    Raises ConfigError where batches cannot be spread over the devices, and UserError where a part
    of the text is too short: before anything is trained.
    """
    size, parts = config.train.batch_size, config.train.accumulation
    shards = prod(mesh.shape[axis] for axis in config.mesh.rules.batch)
    if size % (shards * parts):
        of = f", in {parts} parts (train.accumulation)" if parts > 1 else ""
        raise ConfigError(
            f"train.batch_size is {size}{of}, which does not divide over the {shards} devices that "
            f"share a batch; take a multiple of {shards * parts}, or fewer devices (mesh.shape)"
        )
    _windows("teacher", windows)
    if any(rung.teacher for rung in config.rungs):
        _windows("student", windows)
    count = _windows("validation", windows)
    if min(count, size) % shards:
        raise UserError(
            f"the text for validation is {count} windows, which do not divide over the {shards} "
            f"devices that share a batch; take more text, or fewer devices"
        )


def _windows(part: str, windows: Callable[[str], Windows]) -> int:
    """How many there are."""
    try:
        return windows(part).count
    except UserError as error:
        raise UserError(f"the text for {part}: {error}") from None

"""A student made of some of its teacher's layers (Distil-Whisper, arXiv:2311.00430, 3.1)."""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
from pydantic import Field

from distil_jax.errors import ConfigError
from distil_jax.models.architecture import ModelConfig
from distil_jax.settings import Settings

AnyModelConfig = TypeVar("AnyModelConfig", bound=ModelConfig)


class StudentConfig(Settings):
    # How many layers to keep of each side; null keeps all of the teacher's.
    decoder_layers: int | None = Field(default=2, ge=1)
    encoder_layers: int | None = Field(default=None, ge=1)


def spaced_layers(teacher_layers: int, kept: int) -> list[int]:
    """Indices of the layers to copy, as far apart as can be, the last always among them.

    32 -> 2 gives [0, 31], 32 -> 4 gives [0, 10, 20, 31], any -> 1 the last.
    """
    indices = np.linspace(0, teacher_layers - 1, kept, dtype=int).tolist()
    return [*indices[:-1], teacher_layers - 1]


def student_shape(teacher: AnyModelConfig, config: StudentConfig) -> AnyModelConfig:
    """The student's model config. Raises ConfigError where it asks for too many layers."""
    layers = {}
    for side in ("encoder_layers", "decoder_layers"):
        wanted, there = getattr(config, side), getattr(teacher, side)
        if wanted is not None and wanted > there:
            raise ConfigError(
                f"got {wanted}, but the teacher has {there}; allowed: 1 to {there}, null for all",
                key=side,
            )
        layers[side] = wanted or there
    return teacher.model_copy(update=layers)


def check_frozen_layers(teacher: ModelConfig, student: ModelConfig, freeze: Sequence[str]) -> None:
    """Raises ConfigError when a side lost layers and may not be trained to do without them."""
    for side in ("encoder", "decoder"):
        there, kept = (getattr(each, f"{side}_layers") for each in (teacher, student))
        if kept < there and {side, f"{side}.blocks"} & set(freeze):
            raise ConfigError(
                f"got {kept} of the teacher's {there}, but train.freeze keeps the {side} as it is. "
                f"Without some of its layers it must be trained: leave it out of train.freeze",
                key=f"{side}_layers",
            )


def copy_layers(params: dict, teacher: ModelConfig, student: ModelConfig) -> dict:
    """The student's parameters: blocks at `spaced_layers`, all that is no block as it is.

    Shapes in place of arrays give shapes.
    """

    def copied(side: str) -> dict:
        there, kept = getattr(teacher, f"{side}_layers"), getattr(student, f"{side}_layers")
        if there == kept:
            return params[side]  # the very arrays, not copies of gigabytes
        take = partial(_take, indices=np.array(spaced_layers(there, kept)))
        return {**params[side], "blocks": jax.tree.map(take, params[side]["blocks"])}

    return {side: copied(side) for side in ("encoder", "decoder")}


def _take(stacked: Any, indices: np.ndarray) -> Any:
    """Some layers of a stack."""
    if isinstance(stacked, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((len(indices), *stacked.shape[1:]), stacked.dtype)
    return stacked[indices]

"""Decoding on devices of this machine, set up as tests and benchmarks want it."""

from typing import Any, TypeVar

import jax

from distil_jax.labelling.decoding import Decoding
from distil_jax.labelling.settings import DecodeConfig
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.mesh import MeshConfig, make_mesh
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.layers import Compute
from distil_jax.models.pretrained import Pretrained
from distil_jax.models.quantized import WeightDtype

Kind = TypeVar("Kind", bound=Decoding)


def decoding_of(
    model: Pretrained,
    kind: type[Kind],
    *,
    shape: ModelConfig | None = None,
    devices: int = 1,
    compute: Compute | None = None,
    weights: WeightDtype = "auto",
    **decode: Any,
) -> Kind:
    """For parameters of the model's shape, or another. decode: fields of DecodeConfig."""
    mesh = MeshConfig(shape=(devices, 1, 1))
    return kind(
        model=shape or model.config,
        vocabulary=model.vocabulary,
        generation_config=model.generation_config,
        config=DecodeConfig(**decode),
        mesh=make_mesh(mesh, jax.devices()[:devices]),
        rules=mesh.rules,
        compute=compute or Compute(),
        weights=weights,
    )


def transcriber_of(model: Pretrained, **how: Any) -> Transcriber:
    """`decoding_of`, with texts."""
    return decoding_of(model, Transcriber, **how)

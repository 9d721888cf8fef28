"""A session to plan with: models are shapes, devices may be somewhere else."""

from dataclasses import dataclass
from functools import cached_property

import jax
from jax.sharding import Mesh

from distil_jax.mesh import MeshConfig, make_mesh
from distil_jax.models.architecture import architecture_of
from distil_jax.models.pretrained import Pretrained
from distil_jax.models.published import published_shape
from distil_jax.models.vocabulary import Vocabulary
from distil_jax.pipeline.session import Session
from distil_jax.topology import Target


@dataclass(frozen=True, eq=False)
class PlannedSession(Session):
    """Stages cannot run in it, but their programs can be traced and compiled."""

    target: Target

    @cached_property
    def mesh(self) -> Mesh:
        return make_mesh(self.config.mesh, self.target.devices)

    @cached_property
    def decoding_mesh(self) -> Mesh:
        """Of one host's devices, where there are several hosts: each labels its own clips.

        The last one's: of the host with device 0 of a v5e slice the compiler takes no program for
        several devices but not all ("limited ICI routing"); of every other host it does.
        """
        *_, last = devices = self.target.devices
        own = [device for device in devices if device.process_index == last.process_index]
        return self.mesh if len(own) == len(devices) else make_mesh(MeshConfig(), own)

    @cached_property
    def teacher(self) -> Pretrained:
        """Published models are known by their hub ids; of others the weights are read."""
        weights = self.config.teacher.weights
        config = published_shape(weights) if isinstance(weights, str) else None
        if config is None:
            config = Session(self.config).teacher.config
        params = jax.eval_shape(lambda: architecture_of(config).init(config))
        return Pretrained(config, params, _any_vocabulary(config.vocab_size), {}, str(weights), "")


def _any_vocabulary(size: int) -> Vocabulary:
    """Ids do not change what a program takes: those of no model in particular will do."""
    names = ("start", "end", "previous", "no_timestamps", "no_speech", "transcribe", "translate")
    return Vocabulary(
        size=size,
        **{name: number for number, name in enumerate(names)},
        first_timestamp=size - 1501,
        languages={"en": len(names)},
        is_multilingual=True,
        suppress=(),
        begin_suppress=(),
        tokenizer={},
    )

"""Compiling a run's steps for devices that need not be here: what they take and send."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

from distil_jax.scaling.collectives import Collective, collectives
from distil_jax.scaling.memory import Memory, largest_batch, memory_of, shortage_of
from distil_jax.topology import Target

log = logging.getLogger(__name__)
_TPU_OPTIONS: Any = {
    "xla_tpu_enable_latency_hiding_scheduler": "true",
    "xla_jf_llvm_use_fast_opt": "true",  # quicker code generation; memory is settled before it
}


@dataclass(frozen=True)
class Compiled:
    """A step as the compiler left it; one that does not fit has no collectives."""

    clips: int  # on a device
    memory: Memory
    collectives: list[Collective]


@dataclass(frozen=True)
class Step:
    """A step of a run, for any number of clips a device.

    lower: traces it for so many clips. fixed: bytes on a device of all but the batch. mesh: the
    sizes of its axes.
    """

    name: str
    target: Target
    mesh: Mapping[str, int]
    fixed: int
    lower: Callable[[int], jax.stages.Lowered]

    def compile(self, clips: int, *, quick: bool) -> Compiled:
        """Not to fit is a result.

        quick: with the least of the compiler's effort, for a sixth more memory at most in a fifth
        of the time. Else with half of it: a third of the time, and within 1 % the memory that
        the run will take (large-v3 on v5e and v6e).
        """
        start = time.monotonic()
        options = _TPU_OPTIONS if self.target.platform == "tpu" else None
        try:
            with _effort(-1.0 if quick else -0.5):
                program = self.lower(clips).compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            memory = shortage_of(str(error), self.fixed)
            if memory is None:
                raise
            found = Compiled(clips, memory, [])
        else:
            memory = memory_of(program, self.target.memory)
            found = Compiled(clips, memory, collectives(program.as_text() or "", self.mesh))
        log.info(
            "%s of %d clips a device: %.2f GiB%s (%s in %.0f s)",
            self.name,
            clips,
            memory.used / 2**30,
            "" if memory.fits else ", too much",
            "compiled quickly" if quick else "compiled",
            time.monotonic() - start,
        )
        return found

    def largest(self, first: Compiled) -> Compiled | None:
        """For about the most clips that fit.

        None where not even one clip fits, or nobody says how much there is room for.
        """
        if self.target.memory is None:
            return None
        known: dict[int, Compiled] = {}

        def measure(clips: int) -> Memory:
            known[clips] = self.compile(clips, quick=False)
            return known[clips].memory

        clips = largest_batch(measure, first.memory, first.clips, self.target.memory)
        return known.get(clips)


@contextmanager
def _effort(effort: float) -> Iterator[None]:
    """How hard the compiler tries to make fast code: 0 is as always, -1 the least."""
    jax.clear_caches()  # they tell programs apart by all else
    jax.config.update("jax_exec_time_optimization_effort", effort)
    try:
        yield
    finally:
        jax.config.update("jax_exec_time_optimization_effort", 0.0)


def bytes_on_a_device(*trees: Any) -> int:
    """Of shapes with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(trees)
    )

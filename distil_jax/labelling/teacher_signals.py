"""What a teacher shows of clips and targets, as a signals cache keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from distil_jax.data.batch import SpeechBatch, StoredSignals
from distil_jax.labelling.settings import SignalsConfig
from distil_jax.mesh import Rules, replicated, split_batch, use_mesh
from distil_jax.models.architecture import ModelConfig, architecture_of
from distil_jax.models.layers import Compute
from distil_jax.models.log_mel import CLIP_SAMPLES
from distil_jax.models.quantized import WeightDtype, storage, store
from distil_jax.objectives.signals import Teacher
from distil_jax.objectives.stored import log_probs, top_k


@dataclass(frozen=True, eq=False)
class TeacherSignals:
    """temperature: of the top k. chunk: tokens whose logits a device has in memory at once.

    weights: how the decoder's lie on the devices; the encoder's are in the compute dtype, as those
    of one that a student shares.
    """

    model: ModelConfig
    config: SignalsConfig
    temperature: float
    chunk: int
    mesh: Mesh
    rules: Rules
    compute: Compute
    weights: WeightDtype = "auto"

    def place(self, params: dict) -> dict:
        """Parameters on every device."""
        stored = jax.tree.map(store, params, self._storage(params))
        return jax.device_put(stored, replicated(self.mesh))

    def _storage(self, params: dict) -> dict:
        table = architecture_of(self.model).NAME_TABLE
        decoder = storage(table, params, self.weights, self.compute.dtype)
        return decoder | storage(table, {"encoder": params["encoder"]}, "auto", self.compute.dtype)

    def __call__(
        self, params: dict, batch: SpeechBatch, lengths: Sequence[int]
    ) -> list[StoredSignals]:
        """Of a batch's first rows, on the host. params: of `place`. lengths: of their targets."""
        placed = jax.device_put((batch.samples, batch.inputs), split_batch(self.mesh, self.rules))
        with use_mesh(self.mesh, self.rules):
            computed = self._jitted(params, *placed)
        teacher, encoded = jax.tree.map(np.asarray, computed)
        tokens = getattr(teacher, "tokens", None)
        return [
            StoredSignals(
                log_probs=teacher.log_probs[row, :length],
                tokens=None if tokens is None else tokens[row, :length],
                temperature=getattr(teacher, "temperature", 1.0),
                encoded=None if encoded is None else encoded[row],
            )
            for row, length in enumerate(lengths)
        ]

    def shapes(self, params: dict, clips: int, positions: int) -> tuple[Teacher, Any]:
        """(teacher, encoded) of a batch in the cache, as shapes."""
        samples = jax.ShapeDtypeStruct((clips, CLIP_SAMPLES), jnp.float32)
        inputs = jax.ShapeDtypeStruct((clips, positions), jnp.int32)
        return jax.eval_shape(self._compute, self._storage(params), samples, inputs)

    def bytes_of(self, params: dict) -> tuple[int, int]:
        """What the cache takes (of a target position, of a clip beside its positions)."""
        of_position, of_clip = (
            sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(part))
            for part in self.shapes(params, 1, 1)
        )
        return of_position, of_clip

    @cached_property
    def _jitted(self):
        return jax.jit(self._compute)

    def _compute(
        self, params: dict, samples: jax.Array, inputs: jax.Array
    ) -> tuple[Teacher, jax.Array | None]:
        model = architecture_of(self.model).bind(self.model, self.compute, params)
        encoded = model.encode(samples)
        signals = model.signals(inputs, encoded)
        chunk = max(1, self.chunk * self.mesh.size // len(inputs))
        if self.config.top_k == "all":
            teacher = log_probs(signals, chunk)
        else:
            teacher = top_k(signals, self.config.top_k, self.temperature, chunk)
        kept = jax.tree.map(self._stored, (teacher, encoded))
        return kept if self.config.encoder_states else (kept[0], None)

    def _stored(self, array: jax.Array) -> jax.Array:
        """In the type of the disk; ids in two bytes where that is enough."""
        if jnp.issubdtype(array.dtype, jnp.integer):
            return array.astype(jnp.uint16 if self.model.vocab_size <= 2**16 else jnp.int32)
        return array.astype(self.config.dtype)

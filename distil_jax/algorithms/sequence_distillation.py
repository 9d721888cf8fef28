"""Plain sequence distillation: the student learns the teacher's labels and its distributions.

Distil-Whisper (arXiv:2311.00430): both models read the same decoder input; where the student's
encoder is a frozen copy of the teacher's, it runs once for both. Several students may learn from
one teacher at once: encoder and teacher run once a batch for all of them, and each gets the
gradient and the update that it would get alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from distil_jax.algorithms.layout import Constants, state_shardings, with_layout
from distil_jax.data.batch import SpeechBatch
from distil_jax.errors import ConfigError
from distil_jax.labelling.settings import SignalsConfig
from distil_jax.mesh import Rules, place, replicated, use_mesh
from distil_jax.models.architecture import Architecture, ModelConfig, architecture_of
from distil_jax.models.layers import Compute
from distil_jax.models.quantized import WeightDtype
from distil_jax.objectives import LossTerm, Signals, Targets, Teacher, weighted_losses
from distil_jax.objectives.chunks import even_chunk
from distil_jax.run import ONLY_STUDENT, of_student
from distil_jax.scaling.flops import Flops
from distil_jax.training.optimizer import (
    cast,
    join_frozen,
    make_optimizer,
    shapes_of,
    split_frozen,
)
from distil_jax.training.settings import TrainConfig
from distil_jax.training.state import TrainState
from distil_jax.training.update import accumulated, applied


@dataclass(frozen=True, eq=False)
class Student:
    """A student before training. params: a whole nested dict on the host or a device, or shapes."""

    config: ModelConfig
    params: dict


@dataclass(frozen=True, eq=False)
class SequenceDistillation:
    """Keeps to training.state.Algorithm.

    teacher_params: as a Student's, any float dtype. students: by name, where training starts. For
    `lower` parameters may be shapes. rules, teacher_rules: how the students' and the teacher's
    parameters are laid out. teacher_weights: how the teacher's lie in memory; an encoder that it
    shares with a student stays in the compute dtype, because the student is exported with the exact
    one. signals: of the cache that batches carry in place of a teacher, None where it runs here.
    """

    teacher_config: ModelConfig
    teacher_params: dict
    students: Mapping[str, Student]
    objectives: Sequence[LossTerm]
    config: TrainConfig
    compute: Compute
    mesh: Mesh
    rules: Rules
    teacher_rules: Rules
    teacher_weights: WeightDtype = "auto"
    signals: SignalsConfig | None = None

    def __post_init__(self) -> None:
        if not self._states_are_stored:
            return
        for name in self.students:
            if name in self.sharing_encoder:
                continue
            whose = "student's" if name == ONLY_STUDENT else f"student {name}'s"
            raise ConfigError(
                f"signals.encoder_states: the {whose} encoder is not the teacher's, so what that "
                f"made of the clips is of no use to it; set it to false"
            )

    def init(self) -> TrainState:
        trained = cast(self._trained, jnp.float32)
        placed = place(trained, self._state_shardings.params)
        return jax.jit(self._fresh, out_shardings=self._state_shardings)(placed)

    def abstract_state(self) -> TrainState:
        """Shapes, types and layout of a state, to restore one into."""
        shapes = jax.eval_shape(self._fresh, shapes_of(self._trained, jnp.float32))
        return with_layout(shapes, self._state_shardings)

    def abstract_constants(self) -> dict:
        """Shapes, types and layout of what is not trained: teacher and frozen parameters."""
        return self._constants.abstract

    def lower(self, batch: SpeechBatch) -> jax.stages.Lowered:
        """The step for a batch of shapes, to be compiled where no device is at hand."""
        # Before the mesh is in use: laying out the optimizer's state would reach for its devices.
        state, constants = self.abstract_state(), self.abstract_constants()
        with use_mesh(self.mesh, self.rules):
            return self._jitted.lower(state, constants, batch)

    def student(self, trained: dict[str, dict], name: str = ONLY_STUDENT) -> dict:
        """All parameters of a student: its trained ones of a state joined with its frozen ones."""
        return join_frozen(trained[name], self._split[name][1])

    def step(self, state: TrainState, batch: SpeechBatch) -> tuple[TrainState, dict]:
        constants = self._constants.placed  # before the mesh is in use: int8 is made on one device
        with use_mesh(self.mesh, self.rules):
            return self._jitted(state, constants, batch)

    def flops(self, batch: SpeechBatch) -> dict[str, float]:
        clips, tokens = batch.inputs.shape
        encoder = clips * self._model.encoder_flops(self.teacher_config).forward
        teacher = clips * self._model.decoder_flops(self.teacher_config, tokens).forward
        counted = {
            "encoder_forward": encoder if self._encoder_runs else 0.0,
            "teacher_forward": teacher if self.signals is None else 0.0,
        }
        for name in self.students:
            flops = self._student_flops(name, tokens) * clips
            counted[of_student("student_forward", name)] = flops.forward
            counted[of_student("student_backward", name)] = flops.backward
        return counted

    def _student_flops(self, name: str, tokens: int) -> Flops:
        """Of one clip: its decoder, and its encoder where that is not the teacher's."""
        model, frozen, config = self._model, self._encoder_frozen, self.students[name].config
        flops = model.decoder_flops(config, tokens, encoder_is_frozen=frozen)
        if name in self.sharing_encoder:
            return flops
        own = model.encoder_flops(config)
        return flops + (Flops(own.forward) if frozen else own)

    @cached_property
    def sharing_encoder(self) -> frozenset[str]:
        """The students whose encoder is, and stays, bit for bit the teacher's."""
        return frozenset(name for name in self.students if self._shares_encoder(name))

    def _shares_encoder(self, name: str) -> bool:
        teacher, student = (p["encoder"] for p in (self.teacher_params, self.students[name].params))
        return self._encoder_frozen and jax.tree.all(
            jax.tree.map(lambda a, b: a is b or np.array_equal(a, b), teacher, student)
        )

    @property
    def _states_are_stored(self) -> bool:
        return self.signals is not None and self.signals.encoder_states

    @property
    def _encoder_runs(self) -> bool:
        """Whether the teacher's is needed here: by the teacher, or by the students who share it."""
        if self.signals is None:
            return True
        return bool(self.sharing_encoder) and not self._states_are_stored

    @property
    def _model(self) -> Architecture:
        return architecture_of(self.teacher_config)

    @property
    def _encoder_frozen(self) -> bool:
        return "encoder" in self.config.freeze

    @cached_property
    def _split(self) -> dict[str, tuple[dict, dict]]:
        freeze = (*self.config.freeze, *self._model.FIXED)
        return {name: split_frozen(each.params, freeze) for name, each in self.students.items()}

    @property
    def _trained(self) -> dict[str, dict]:
        return {name: trained for name, (trained, _) in self._split.items()}

    def _fresh(self, params: dict[str, dict]) -> TrainState:
        states = {name: self._optimizer.init(each) for name, each in params.items()}
        return TrainState(jnp.zeros((), jnp.int32), params, states)

    @cached_property
    def _optimizer(self) -> optax.GradientTransformation:
        return make_optimizer(self.config.optimizer, self.config.steps)

    @cached_property
    def _constants(self) -> Constants:
        """Each array once: an encoder that students share with the teacher is the teacher's."""
        frozen = {name: dict(each) for name, (_, each) in self._split.items()}
        for name in self.sharing_encoder:
            del frozen[name]["encoder"]
        teacher = self.teacher_params
        if self.signals is not None:
            teacher = {"encoder": teacher["encoder"]} if self._encoder_runs else {}
        return Constants(
            teacher=teacher,
            frozen=frozen,
            table=self._model.NAME_TABLE,
            mesh=self.mesh,
            rules=self.rules,
            teacher_rules=self.teacher_rules,
            weights=self.teacher_weights,
            dtype=self.compute.dtype,
            exact=frozenset({"encoder"} if self.sharing_encoder else ()),
        )

    @cached_property
    def _state_shardings(self) -> Any:
        table = self._model.NAME_TABLE
        return state_shardings(table, self._trained, self._optimizer, self.mesh, self.rules)

    @cached_property
    def _jitted(self):
        out = (self._state_shardings, replicated(self.mesh))
        return jax.jit(self._update, donate_argnums=0, out_shardings=out)

    def _update(self, state: TrainState, constants: dict, batch: SpeechBatch):
        """One update from a global batch, worked off in `accumulation` micro-batches."""
        targets = Targets(batch.labels, batch.mask)
        counts = {o.name: o.count(targets) for o in self.objectives}
        # It changes nothing but the order: the loss's collectives come after those of the counts.
        # Side by side they can lock each other out on a CPU of few cores: each takes a thread.
        batch = replace(batch, mask=batch.mask & (sum(counts.values()) > 0))
        counts = {name: jnp.maximum(count, 1) for name, count in counts.items()}
        gradient = jax.grad(partial(self._loss, constants, counts), has_aux=True)
        gradients, (losses, sums) = accumulated(
            gradient, state.params, batch, self.config.accumulation
        )
        means = {
            name: {"loss": losses[name], **{n: total / counts[n] for n, total in own.items()}}
            for name, own in sums.items()
        }
        return applied(self.config, self._optimizer, state, gradients, means)

    def _loss(self, constants: dict, counts: dict, trained: dict, batch: SpeechBatch):
        """The sum of the students' losses, whose gradient by each of them is that of its own."""
        teacher, encoded = self._teacher_signals(constants, batch)
        students = {
            name: self._student_signals(name, trained[name], constants, batch, encoded)
            for name in self.students
        }
        found = weighted_losses(
            tuple(self.objectives),
            students,
            teacher,
            Targets(batch.labels, batch.mask),
            counts,
            self._loss_positions(batch),
            skip_padding=self.mesh.size == 1,
        )
        losses = {name: loss for name, (loss, _) in found.items()}
        sums = {name: own for name, (_, own) in found.items()}
        return sum(losses.values()), (losses, sums)

    def _loss_positions(self, batch: SpeechBatch) -> int:
        """How many positions of every clip make up the tokens that a device has logits of."""
        shards = math.prod(self.mesh.shape[axis] for axis in self.rules.batch)
        clips, time = batch.inputs.shape
        return even_chunk(time, max(1, self.config.loss_chunk * shards // clips))

    def _teacher_signals(
        self, constants: dict, batch: SpeechBatch
    ) -> tuple[Teacher, jax.Array | None]:
        """What the teacher shows, and what its encoder made of the clips: of a cache, or made now.

        The second is None where no student hears with the teacher's encoder.
        """
        # Of what does not run here the shapes will do, and it is on no device.
        absent = shapes_of(self.teacher_params, self.compute.dtype)
        params = {**absent, **constants["teacher"]}
        teacher = self._model.bind(self.teacher_config, self.compute, params)
        encoded = batch.encoded
        if self._encoder_runs:
            encoded = jax.lax.stop_gradient(teacher.encode(batch.samples))
        elif encoded is not None:
            encoded = encoded.astype(self.compute.dtype)
        if self.signals is None:
            return jax.lax.stop_gradient(teacher.signals(batch.inputs, encoded)), encoded
        assert batch.teacher is not None
        return batch.teacher, encoded

    def _student_signals(
        self,
        name: str,
        trained: dict,
        constants: dict,
        batch: SpeechBatch,
        encoded: jax.Array | None,
    ) -> Signals:
        """What a student shows; it hears with the teacher's encoder where that is its own."""
        own, frozen = self.students[name], constants["frozen"][name]
        shares = name in self.sharing_encoder
        if shares:  # nothing reads it: its shapes will do
            frozen = {**frozen, "encoder": shapes_of(own.params["encoder"], self.compute.dtype)}
        student = self._model.bind(own.config, self.compute, join_frozen(trained, frozen))
        if not shares:
            encoded = student.encode(batch.samples)
        return student.signals(batch.inputs, encoded)

"""Plain sequence distillation: the student learns the teacher's labels and its distributions.

Distil-Whisper (arXiv:2311.00430): both models read the same decoder input; where the student's
encoder is a frozen copy of the teacher's, it runs once for both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from distil_jax.data.batch import SpeechBatch
from distil_jax.errors import ConfigError
from distil_jax.labelling.settings import SignalsConfig
from distil_jax.mesh import Rules, place, replicated, use_mesh
from distil_jax.models.architecture import Architecture, ModelConfig, architecture_of
from distil_jax.models.layers import Compute
from distil_jax.models.placing import shardings
from distil_jax.models.quantized import WeightDtype, storage, store
from distil_jax.objectives import LossTerm, Targets, Teacher, weighted_loss
from distil_jax.training.optimizer import (
    cast,
    join_frozen,
    learning_rate,
    make_optimizer,
    shapes_of,
    split_frozen,
)
from distil_jax.training.settings import TrainConfig
from distil_jax.training.state import TrainState


@dataclass(frozen=True, eq=False)
class SequenceDistillation:
    """Keeps to training.state.Algorithm.

    teacher_params, student_params: whole nested dicts on the host or a device, any float dtype;
    the student's are where training starts. For `lower` they may be shapes. rules, teacher_rules:
    how the student's and the teacher's parameters are laid out. teacher_weights: how the teacher's
    lie in memory; an encoder that it shares with the student stays in the compute dtype, because
    the student is exported with the exact one. signals: of the cache that batches carry in place of
    a teacher, None where it runs here.
    """

    teacher_config: ModelConfig
    teacher_params: dict
    student_config: ModelConfig
    student_params: dict
    objectives: Sequence[LossTerm]
    config: TrainConfig
    compute: Compute
    mesh: Mesh
    rules: Rules
    teacher_rules: Rules
    teacher_weights: WeightDtype = "auto"
    signals: SignalsConfig | None = None

    def __post_init__(self) -> None:
        if self._states_are_stored and not self.shares_encoder:
            raise ConfigError(
                "signals.encoder_states: the student's encoder is not the teacher's, so what that "
                "made of the clips is of no use to it; set it to false"
            )

    def init(self) -> TrainState:
        trained = cast(self._split[0], jnp.float32)
        placed = place(trained, self._state_shardings.params)
        return jax.jit(self._fresh, out_shardings=self._state_shardings)(placed)

    def abstract_state(self) -> TrainState:
        """Shapes, types and layout of a state, to restore one into."""
        shapes = jax.eval_shape(self._fresh, shapes_of(self._split[0], jnp.float32))
        return _placed(shapes, self._state_shardings)

    def abstract_constants(self) -> dict:
        """Shapes, types and layout of what is not trained: teacher and frozen parameters."""
        return _placed(self._fixed_storage, self._fixed_shardings)

    def lower(self, batch: SpeechBatch) -> jax.stages.Lowered:
        """The step for a batch of shapes, to be compiled where no device is at hand."""
        # Before the mesh is in use: laying out the optimizer's state would reach for its devices.
        state, constants = self.abstract_state(), self.abstract_constants()
        with use_mesh(self.mesh, self.rules):
            return self._jitted.lower(state, constants, batch)

    def student(self, trained: dict) -> dict:
        """All of the student's parameters: trained ones joined with the frozen ones."""
        return join_frozen(trained, self._split[1])

    def step(self, state: TrainState, batch: SpeechBatch) -> tuple[TrainState, dict]:
        constants = self._constants  # before the mesh is in use: int8 is made on one device
        with use_mesh(self.mesh, self.rules):
            return self._jitted(state, constants, batch)

    def flops(self, batch: SpeechBatch) -> dict[str, float]:
        clips, tokens = batch.inputs.shape
        model, encoder_frozen = self._model, self._encoder_frozen
        student = model.decoder_flops(self.student_config, tokens, encoder_is_frozen=encoder_frozen)
        own = model.encoder_flops(self.student_config)
        if not self.shares_encoder:
            student += own if not encoder_frozen else type(own)(own.forward)
        encoder = model.encoder_flops(self.teacher_config).forward
        teacher = model.decoder_flops(self.teacher_config, tokens).forward
        if self.signals is not None:
            teacher = 0.0
            encoder *= self.shares_encoder and not self._states_are_stored
        return {
            "encoder_forward": clips * encoder,
            "teacher_forward": clips * teacher,
            "student_forward": clips * student.forward,
            "student_backward": clips * student.backward,
        }

    @cached_property
    def shares_encoder(self) -> bool:
        """Whether the student's encoder is, and stays, bit for bit the teacher's."""
        teacher, student = self.teacher_params["encoder"], self.student_params["encoder"]
        return self._encoder_frozen and jax.tree.all(
            jax.tree.map(lambda a, b: a is b or np.array_equal(a, b), teacher, student)
        )

    @property
    def _states_are_stored(self) -> bool:
        return self.signals is not None and self.signals.encoder_states

    @property
    def _model(self) -> Architecture:
        return architecture_of(self.teacher_config)

    @property
    def _encoder_frozen(self) -> bool:
        return "encoder" in self.config.freeze

    @cached_property
    def _split(self) -> tuple[dict, dict]:
        return split_frozen(self.student_params, (*self.config.freeze, *self._model.FIXED))

    def _fresh(self, params: dict) -> TrainState:
        return TrainState(jnp.zeros((), jnp.int32), params, self._optimizer.init(params))

    @cached_property
    def _optimizer(self) -> optax.GradientTransformation:
        return make_optimizer(self.config.optimizer, self.config.steps)

    @cached_property
    def _constants(self) -> dict:
        """Teacher and frozen parameters on the devices, each array once."""

        def put(array: Any, like: Any, where: Any) -> Any:
            return place(store(array, like), where)

        return jax.tree.map(put, self._fixed, self._fixed_storage, self._fixed_shardings)

    @cached_property
    def _fixed(self) -> dict:
        frozen = dict(self._split[1])
        if self._states_are_stored or (self.signals is None and self.shares_encoder):
            del frozen["encoder"]
        return {"teacher": {} if self.signals else self.teacher_params, "frozen": frozen}

    @cached_property
    def _fixed_shardings(self) -> dict:
        rules = {"teacher": self.teacher_rules, "frozen": self.rules}
        laid = partial(shardings, self._model.NAME_TABLE, mesh=self.mesh)
        return {name: laid(tree, rules=rules[name]) for name, tree in self._fixed_storage.items()}

    @cached_property
    def _fixed_storage(self) -> dict:
        """The form that each of them takes, as shapes."""

        def form(params: dict, weights: WeightDtype) -> dict:
            return storage(self._model.NAME_TABLE, params, weights, self.compute.dtype)

        teacher = form(self._fixed["teacher"], self.teacher_weights)
        if teacher and self.shares_encoder:
            teacher |= form({"encoder": self.teacher_params["encoder"]}, "auto")
        return {"teacher": teacher, "frozen": form(self._fixed["frozen"], "auto")}

    @cached_property
    def _state_shardings(self) -> Any:
        """A TrainState of shardings."""
        trained = self._split[0]
        params = shardings(self._model.NAME_TABLE, trained, self.mesh, self.rules)
        opt_state = optax.tree_utils.tree_map_params(
            self._optimizer,
            lambda _, sharding: sharding,
            jax.eval_shape(self._optimizer.init, shapes_of(trained, jnp.float32)),
            params,
            transform_non_params=lambda _: replicated(self.mesh),
        )
        step: Any = replicated(self.mesh)
        return TrainState(step, params, opt_state)

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

        def add(total: tuple, micro: SpeechBatch) -> tuple[tuple, None]:
            return jax.tree.map(jnp.add, total, gradient(state.params, micro)), None

        parts = self.config.accumulation
        if parts == 1:
            gradients, (loss, sums) = gradient(state.params, batch)
        else:
            # Rows are dealt out so that each device's share of the batch stays on it.
            micros = jax.tree.map(
                lambda a: a.reshape(-1, parts, *a.shape[1:]).swapaxes(0, 1), batch
            )
            zeros = jax.tree.map(
                lambda a: jnp.zeros(a.shape, a.dtype),
                jax.eval_shape(gradient, state.params, jax.tree.map(lambda a: a[0], micros)),
            )
            (gradients, (loss, sums)), _ = jax.lax.scan(add, zeros, micros)
        return self._apply(state, gradients, loss, {n: sums[n] / counts[n] for n in sums})

    def _loss(self, constants: dict, counts: dict, trained: dict, batch: SpeechBatch):
        params = join_frozen(trained, self._frozen(constants))
        student = self._model.bind(self.student_config, self.compute, params)
        seen_teacher, encoded = self._teacher_signals(constants, batch)
        if encoded is None or not self.shares_encoder:
            encoded = student.encode(batch.samples)
        seen_student = student.signals(batch.inputs, encoded)
        targets = Targets(batch.labels, batch.mask)
        loss, sums = weighted_loss(
            tuple(self.objectives),
            seen_student,
            seen_teacher,
            targets,
            counts,
            self._loss_positions(batch),
        )
        return loss, (loss, sums)

    def _loss_positions(self, batch: SpeechBatch) -> int:
        """How many positions of every clip make up the tokens that a device has logits of."""
        shards = math.prod(self.mesh.shape[axis] for axis in self.rules.batch)
        return max(1, self.config.loss_chunk * shards // len(batch.inputs))

    def _teacher_signals(
        self, constants: dict, batch: SpeechBatch
    ) -> tuple[Teacher, jax.Array | None]:
        """What the teacher shows, and what its encoder made of the clips: of a cache, or made now.

        The second is None where the cache has no such states.
        """
        if self.signals is not None:
            assert batch.teacher is not None
            states = batch.encoded
            return batch.teacher, None if states is None else states.astype(self.compute.dtype)
        teacher = self._model.bind(self.teacher_config, self.compute, constants["teacher"])
        encoded = jax.lax.stop_gradient(teacher.encode(batch.samples))
        return jax.lax.stop_gradient(teacher.signals(batch.inputs, encoded)), encoded

    def _frozen(self, constants: dict) -> dict:
        """The student's frozen parameters, its encoder's wherever they are."""
        if self._states_are_stored:
            # Nothing reads them: their shapes will do, and they are on no device.
            shapes = shapes_of(self.student_params["encoder"], self.compute.dtype)
            return {**constants["frozen"], "encoder": shapes}
        if self.signals is None and self.shares_encoder:
            return {**constants["frozen"], "encoder": constants["teacher"]["encoder"]}
        return constants["frozen"]

    def _apply(self, state: TrainState, gradients: dict, loss: jax.Array, means: dict):
        """The optimizer's update; an unsound gradient leaves the state as it is and says so."""
        norm = optax.tree.norm(gradients)
        good = jnp.isfinite(loss) & (norm <= self.config.exploded_norm)
        updates, opt_state = self._optimizer.update(gradients, state.opt_state, state.params)
        params: Any = optax.apply_updates(state.params, updates)
        new = TrainState(state.step + 1, params, opt_state)
        new = jax.tree.map(lambda a, b: jnp.where(good, a, b), new, state)
        rate = learning_rate(self.config.optimizer, self.config.steps)(state.step)
        return new, {"loss": loss, **means, "learning_rate": rate, "grad_norm": norm, "good": good}


def _placed(shapes: Any, layout: Any) -> Any:
    return jax.tree.map(
        lambda a, where: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), shapes, layout
    )

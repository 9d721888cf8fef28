"""Language models of one shape side by side, each alone or with a teacher: next tokens, or KL.

Busbridge et al. 2025 (arXiv:2502.08606), Equation 9 with lambda 0 or 1. All students of a run are
of one shape and read the same batches, so that they go through one program (jax.vmap); a teacher
runs once a batch for all that it teaches.
b sequences, t tokens, d model width, v vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from distil_jax.algorithms.layout import state_shardings, with_layout
from distil_jax.mesh import Rules, place, platform, use_mesh
from distil_jax.models.language_model import (
    NAME_TABLE,
    LanguageModelConfig,
    bind,
    flops,
    learning_rate_scales,
)
from distil_jax.models.layers import Compute
from distil_jax.models.placing import shardings
from distil_jax.objectives import CrossEntropy, KLDivergence, LossTerm, Targets, weighted_losses
from distil_jax.objectives.calibration import CALIBRATION_GAPS
from distil_jax.objectives.chunks import even_chunk
from distil_jax.objectives.signals import NoTeacher, Signals
from distil_jax.run import of_student
from distil_jax.training.optimizer import make_optimizer, shapes_of
from distil_jax.training.settings import TrainConfig
from distil_jax.training.state import TrainState
from distil_jax.training.update import accumulated, applied

Recipe = tuple[LossTerm, ...]


@dataclass(frozen=True, eq=False)
class TeacherModel:
    """params: on the host."""

    config: LanguageModelConfig
    params: dict


@dataclass(frozen=True, eq=False)
class LearningModel:
    """A student before training. teacher: the name of its own; None: it learns from the text."""

    params: dict
    teacher: str | None = None


@dataclass(frozen=True, eq=False)
class LanguageModelling:
    """Keeps to training.state.Algorithm; batches are tokens [b, t + 1].

    model: the shape of every student. alone, taught: the recipes of students without and with a
    teacher. base_width: of the model whose learning rates are the config's (muP).
    """

    model: LanguageModelConfig
    students: Mapping[str, LearningModel]
    teachers: Mapping[str, TeacherModel]
    alone: Recipe
    taught: Recipe
    config: TrainConfig
    compute: Compute
    mesh: Mesh
    rules: Rules
    base_width: int

    def init(self) -> TrainState:
        placed = place(self._params, self._layout.params)
        return jax.jit(self._fresh, out_shardings=self._layout)(placed)

    def abstract_state(self) -> TrainState:
        shapes = {name: shapes_of(each, jnp.float32) for name, each in self._params.items()}
        return with_layout(jax.eval_shape(self._fresh, shapes), self._layout)

    def lower(self, batch: jax.ShapeDtypeStruct) -> jax.stages.Lowered:
        """The step for tokens [b, t + 1] of a layout, to be compiled where no device is at hand."""
        state, (shapes, layout) = self.abstract_state(), self._of_teachers
        teachers = {name: shapes_of(each, jnp.float32) for name, each in shapes.items()}
        with use_mesh(self.mesh, self.rules):
            return self._jitted.lower(state, with_layout(teachers, layout), batch)

    def step(self, state: TrainState, batch: jax.Array) -> tuple[TrainState, dict]:
        with use_mesh(self.mesh, self.rules):
            return self._jitted(state, self._placed_teachers, batch)

    def flops(self, batch: np.ndarray) -> dict[str, float]:
        sequences, time = batch.shape[0], batch.shape[1] - 1
        counted = {
            f"teacher_forward.{name}": sequences * flops(each.config, time).forward
            for name, each in self.teachers.items()
        }
        own = flops(self.model, time)
        for name in self.students:
            counted[of_student("student_forward", name)] = sequences * own.forward
            counted[of_student("student_backward", name)] = sequences * own.backward
        return counted

    def measure(self, state: TrainState, batch: jax.Array) -> dict[str, dict[str, jax.Array]]:
        """By student, sums over a batch's tokens: cross_entropy, kl from its teacher, and
        objectives.calibration's gaps."""
        with use_mesh(self.mesh, self.rules):
            return self._measured(state.params, self._placed_teachers, batch)

    @property
    def _params(self) -> dict[str, dict]:
        return {name: student.params for name, student in self.students.items()}

    def _fresh(self, params: dict[str, dict]) -> TrainState:
        states = {name: self._optimizer.init(each) for name, each in params.items()}
        return TrainState(jnp.zeros((), jnp.int32), params, states)

    @cached_property
    def _optimizer(self) -> optax.GradientTransformation:
        some = next(iter(self._params.values()))
        scales = learning_rate_scales(some, self.model.width, self.base_width)
        return make_optimizer(self.config.optimizer, self.config.steps, scales)

    @cached_property
    def _layout(self) -> Any:
        return state_shardings(NAME_TABLE, self._params, self._optimizer, self.mesh, self.rules)

    @cached_property
    def _placed_teachers(self) -> dict[str, dict]:
        return place(*self._of_teachers)

    @property
    def _of_teachers(self) -> tuple[dict[str, dict], dict[str, dict]]:
        """(parameters, where they lie) by name."""
        params = {name: teacher.params for name, teacher in self.teachers.items()}
        return params, {
            n: shardings(NAME_TABLE, each, self.mesh, self.rules) for n, each in params.items()
        }

    @cached_property
    def _jitted(self):
        return jax.jit(self._update, donate_argnums=0, out_shardings=(self._layout, None))

    @cached_property
    def _measured(self):
        def measured(params: dict, teachers: dict, tokens: jax.Array):
            alone = CrossEntropy(), *CALIBRATION_GAPS
            recipes = alone, (*alone, KLDivergence(temperature=1.0))
            return self._losses(recipes, params, teachers, tokens, 1)[1]

        return jax.jit(measured)

    def _update(self, state: TrainState, teachers: dict, tokens: jax.Array):
        count = tokens.shape[0] * (tokens.shape[1] - 1)

        def loss(params: dict, tokens: jax.Array):
            recipes = self.alone, self.taught
            losses, sums = self._losses(recipes, params, teachers, tokens, count)
            return sum(losses.values()), (losses, sums)

        gradient = jax.grad(loss, has_aux=True)
        gradients, (losses, sums) = accumulated(
            gradient, state.params, tokens, self.config.accumulation
        )
        means = {
            name: {"loss": losses[name], **{n: total / count for n, total in own.items()}}
            for name, own in sums.items()
        }
        return applied(self.config, self._optimizer, state, gradients, means)

    def _losses(
        self,
        recipes: tuple[Recipe, Recipe],
        params: dict[str, dict],
        teachers: dict[str, dict],
        tokens: jax.Array,
        count: int,
    ) -> tuple[dict[str, jax.Array], dict[str, dict[str, jax.Array]]]:
        """Each student's loss, and its objectives' sums. recipes: without a teacher, with one.

        count: tokens of the whole batch, of which these [b, t + 1] are a part.
        """
        alone, taught = recipes
        inputs, labels = tokens[:, :-1], tokens[:, 1:]
        targets = Targets(labels, jnp.ones(labels.shape, bool))
        signals = self._signals(params, inputs)
        found = {}
        for name in dict.fromkeys(student.teacher for student in self.students.values()):
            own = {n: signals[n] for n, student in self.students.items() if student.teacher == name}
            recipe = alone if name is None else taught
            counts = {each.name: jnp.asarray(count) for each in recipe}
            teacher = NoTeacher() if name is None else self._shown(name, teachers, inputs)
            found |= weighted_losses(
                recipe, own, teacher, targets, counts, self._positions(labels.shape)
            )
        losses = {name: found[name][0] for name in self.students}
        return losses, {name: found[name][1] for name in self.students}

    def _signals(self, params: dict[str, dict], inputs: jax.Array) -> dict[str, Signals]:
        """What the students show of tokens [b, t], by one program for all of them.

        On CPUs they go through it one by one, and the backward pass computes each anew: so what
        it needs stays in the cache.
        """
        names = list(self.students)
        if len(names) == 1:
            return {names[0]: bind(self.model, self.compute, params[names[0]]).signals(inputs)}
        stacked = jax.tree.map(lambda *each: jnp.stack(each), *(params[name] for name in names))

        def one(params: dict) -> jax.Array:
            return bind(self.model, self.compute, params)(inputs)

        if platform() == "cpu":
            hidden = jax.lax.map(jax.checkpoint(one), stacked)
        else:
            hidden = jax.vmap(one)(stacked)
        return {n: Signals(hidden[i], params[n]["head"]) for i, n in enumerate(names)}

    def _shown(self, name: str, teachers: dict[str, dict], inputs: jax.Array) -> Signals:
        model = bind(self.teachers[name].config, self.compute, teachers[name])
        return jax.lax.stop_gradient(model.signals(inputs))

    def _positions(self, shape: tuple[int, ...]) -> int:
        """How many positions of every sequence make up the tokens that a device has logits of."""
        shards = prod(self.mesh.shape[axis] for axis in self.rules.batch)
        return even_chunk(shape[1], max(1, self.config.loss_chunk * shards // shape[0]))

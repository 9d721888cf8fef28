"""How what is trained and what is not lie on the devices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from distil_jax.mesh import Rules, place, replicated
from distil_jax.models.names import Row
from distil_jax.models.placing import shardings
from distil_jax.models.quantized import WeightDtype, storage, store
from distil_jax.training.optimizer import shapes_of
from distil_jax.training.state import TrainState


@dataclass(frozen=True, eq=False)
class Constants:
    """The parameters that no step changes: a teacher's, and by student the frozen ones.

    table: of the model's parameters. exact: the parts of the teacher that stay in the compute
    dtype, however the others are stored (`weights`).
    """

    teacher: dict
    frozen: Mapping[str, dict]
    table: Sequence[Row]
    mesh: Mesh
    rules: Rules
    teacher_rules: Rules
    weights: WeightDtype
    dtype: str
    exact: frozenset[str] = frozenset()

    @cached_property
    def placed(self) -> dict:
        """On the devices."""

        def put(array: Any, like: Any, where: Any) -> Any:
            return place(store(array, like), where)

        whole = {"teacher": self.teacher, "frozen": dict(self.frozen)}
        return jax.tree.map(put, whole, self._storage, self._shardings)

    @property
    def abstract(self) -> dict:
        """Shapes, types and layout."""
        return with_layout(self._storage, self._shardings)

    @cached_property
    def _storage(self) -> dict:
        """The form that each of them takes, as shapes."""

        def form(params: dict, weights: WeightDtype) -> dict:
            return storage(self.table, params, weights, self.dtype)

        exact = {part: params for part, params in self.teacher.items() if part in self.exact}
        teacher = form(self.teacher, self.weights) | form(exact, "auto")
        frozen = {name: form(each, "auto") for name, each in self.frozen.items()}
        return {"teacher": teacher, "frozen": frozen}

    @cached_property
    def _shardings(self) -> dict:
        laid = partial(shardings, self.table, mesh=self.mesh)
        frozen = self._storage["frozen"].items()
        return {
            "teacher": laid(self._storage["teacher"], rules=self.teacher_rules),
            "frozen": {name: laid(each, rules=self.rules) for name, each in frozen},
        }


def state_shardings(
    table: Sequence[Row],
    trained: Mapping[str, dict],
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    rules: Rules,
) -> Any:
    """A TrainState of shardings: the optimizer's moments lie as their parameters do.

    trained: parameters by student.
    """
    params, opt_state = {}, {}
    for name, each in trained.items():
        params[name] = shardings(table, each, mesh, rules)
        opt_state[name] = optax.tree_utils.tree_map_params(
            optimizer,
            lambda _, sharding: sharding,
            jax.eval_shape(optimizer.init, shapes_of(each, jnp.float32)),
            params[name],
            transform_non_params=lambda _: replicated(mesh),
        )
    step: Any = replicated(mesh)
    return TrainState(step, params, opt_state)


def with_layout(shapes: Any, layout: Any) -> Any:
    return jax.tree.map(
        lambda a, where: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), shapes, layout
    )

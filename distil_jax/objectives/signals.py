"""What a forward pass shows to the objectives. No objective knows which model made it."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp


class Teacher(Protocol):
    """A teacher's side of token objectives: Signals, or what objectives.stored keeps of them.

    positions: arrays [b, t, ...], which are cut into chunks. `shown` makes of a chunk what
    `TokenObjective.per_token` is given.
    """

    @property
    def positions(self) -> Any: ...

    def shown(self, part: Any) -> Any: ...


@partial(jax.tree_util.register_dataclass, data_fields=["hidden", "head"], meta_fields=[])
@dataclass(frozen=True)
class Signals:
    """Final hidden states and the head: together the logits, without their [b, t, v] tensor.

    hidden [b, t, d]; head [v, d]; logits = hidden head^T.
    """

    hidden: jax.Array
    head: jax.Array

    @property
    def positions(self) -> jax.Array:
        return self.hidden

    def shown(self, part: jax.Array) -> jax.Array:
        """Hidden states of some positions [b, c, d] -> their logits [b, c, v] float32."""
        head = self.head.astype(part.dtype)
        return jnp.einsum("bcd,vd->bcv", part, head, preferred_element_type=jnp.float32)


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=[])
@dataclass(frozen=True)
class NoTeacher:
    """Keeps to Teacher where nobody teaches: only for objectives that do not look at it."""

    @property
    def positions(self) -> tuple:
        return ()

    def shown(self, part: Any) -> None:
        return None


@partial(jax.tree_util.register_dataclass, data_fields=["labels", "mask"], meta_fields=[])
@dataclass(frozen=True)
class Targets:
    """What the student is to say. labels [b, t] int32; mask [b, t] bool, True where it counts."""

    labels: jax.Array
    mask: jax.Array

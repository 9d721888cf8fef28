"""What a forward pass shows to the objectives. No objective knows which model made it."""

from dataclasses import dataclass
from functools import partial

import jax


@partial(jax.tree_util.register_dataclass, data_fields=["hidden", "head"], meta_fields=[])
@dataclass(frozen=True)
class Signals:
    """Final hidden states and the head: together the logits, without their [b, t, v] tensor.

    hidden [b, t, d]; head [v, d]; logits = hidden head^T.
    """

    hidden: jax.Array
    head: jax.Array


@partial(jax.tree_util.register_dataclass, data_fields=["labels", "mask"], meta_fields=[])
@dataclass(frozen=True)
class Targets:
    """What the student is to say. labels [b, t] int32; mask [b, t] bool, True where it counts."""

    labels: jax.Array
    mask: jax.Array

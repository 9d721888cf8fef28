"""AdamW with warm-up and decay, and the split of parameters into trained and frozen ones."""

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from distil_jax.errors import ConfigError
from distil_jax.training.settings import OptimizerConfig


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Linear from 0 over the warm-up, then down to its final share at `steps`, or constant."""
    peak, warmup = config.learning_rate, config.warmup_steps
    up, rest = optax.linear_schedule(0.0, peak, warmup), max(steps - warmup, 1)
    if config.schedule == "constant":
        after = optax.constant_schedule(peak)
    elif config.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, rest, config.final_share)
    else:
        after = optax.linear_schedule(peak, peak * config.final_share, rest)
    return optax.join_schedules([up, after], [warmup])


def make_optimizer(
    config: OptimizerConfig, steps: int, scales: dict | None = None
) -> optax.GradientTransformation:
    """Clip by global norm, then AdamW; scales: by how much each parameter's rate differs."""
    scaled = [optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, scales))]
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate(config, steps),
            b1=config.b1,
            b2=config.b2,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
        ),
        *(scaled if scales else ()),
    )


def split_frozen(params: dict, freeze: tuple[str, ...]) -> tuple[dict, dict]:
    """(trainable, frozen) parts of a nested dict. `freeze` names branches, as "decoder.norm".

    Frozen parameters get no optimizer state, so weight decay cannot move them either.
    Raises ConfigError for a branch that is not there, or when nothing is left to train.
    """
    flat = flatten_dict(params)
    branches = [tuple(branch.split(".")) for branch in freeze]
    for branch in branches:
        if not any(path[: len(branch)] == branch for path in flat):
            known = sorted({".".join(path[:2]) for path in flat} | set(params))
            raise ConfigError(
                f"train.freeze: got {'.'.join(branch)!r}, which is no part of the student; "
                f"allowed: {', '.join(known)}, and what is below them"
            )
    frozen = {p: a for p, a in flat.items() if any(p[: len(b)] == b for b in branches)}
    trained = {p: a for p, a in flat.items() if p not in frozen}
    if not trained:
        raise ConfigError(f"train.freeze {list(freeze)} leaves nothing to train")
    return unflatten_dict(trained), unflatten_dict(frozen)


def join_frozen(trained: dict, frozen: dict) -> dict:
    """The inverse of `split_frozen`."""
    return unflatten_dict({**flatten_dict(trained), **flatten_dict(frozen)})


def cast(params: dict, dtype) -> dict:
    """All floating arrays in `dtype`."""
    return jax.tree.map(lambda a: a.astype(dtype), params)


def shapes_of(params: dict, dtype) -> dict:
    """What `cast` would return, as shapes."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, dtype), params)

"""One update: the gradient of a batch by micro-batches, and what the optimizer makes of it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from distil_jax.training.optimizer import learning_rate
from distil_jax.training.settings import TrainConfig
from distil_jax.training.state import TrainState

Gradient = Callable[[Any, Any], Any]


def accumulated(gradient: Gradient, params: Any, batch: Any, parts: int) -> Any:
    """gradient(params, micro-batch) summed over the `parts` micro-batches of a batch.

    batch: arrays [clips, ...]; `parts` divides the clips.
    """
    if parts == 1:
        return gradient(params, batch)

    def add(total: Any, micro: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradient(params, micro)), None

    # Rows are dealt out so that each device's share of the batch stays on it.
    micros = jax.tree.map(lambda a: a.reshape(-1, parts, *a.shape[1:]).swapaxes(0, 1), batch)
    zeros = jax.tree.map(
        lambda a: jnp.zeros(a.shape, a.dtype),
        jax.eval_shape(gradient, params, jax.tree.map(lambda a: a[0], micros)),
    )
    return jax.lax.scan(add, zeros, micros)[0]


def applied(
    config: TrainConfig,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    gradients: dict[str, dict],
    means: Mapping[str, dict[str, jax.Array]],
) -> tuple[TrainState, dict[str, dict[str, jax.Array]]]:
    """The state after the optimizer's updates, and each student's metrics.

    gradients, means (among them `loss`): by student. One unsound gradient leaves all as they are,
    and the metrics say whose it was.
    """
    rate = learning_rate(config.optimizer, config.steps)(state.step)
    params, opt_state, metrics = {}, {}, {}
    for name, gradient in gradients.items():
        norm = optax.tree.norm(gradient)
        good = jnp.isfinite(means[name]["loss"]) & (norm <= config.exploded_norm)
        updates, opt_state[name] = optimizer.update(
            gradient, state.opt_state[name], state.params[name]
        )
        params[name] = optax.apply_updates(state.params[name], updates)
        rest = {"learning_rate": rate, "grad_norm": norm, "good": good}
        metrics[name] = {**means[name], **rest}
    all_good = jnp.stack([each["good"] for each in metrics.values()]).all()
    new = TrainState(state.step + 1, params, opt_state)
    return jax.tree.map(lambda a, b: jnp.where(all_good, a, b), new, state), metrics

"""The optimizer: its schedule, its clipping, and what it leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from distil_jax.errors import ConfigError
from distil_jax.training.optimizer import (
    cast,
    join_frozen,
    learning_rate,
    make_optimizer,
    split_frozen,
)
from distil_jax.training.settings import OptimizerConfig, TrainConfig

PEAK = 1e-3
PARAMS = {
    "encoder": {"conv": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}},
    "decoder": {"norm": {"scale": jnp.ones(3)}, "blocks": {"up": jnp.ones((2, 3, 4))}},
}


def config(**values) -> OptimizerConfig:
    return OptimizerConfig.model_validate({"learning_rate": PEAK, "warmup_steps": 4, **values})


def rate(settings: OptimizerConfig, step: int) -> float:
    return np.asarray(learning_rate(settings, steps=12)(step)).item()


def updates(settings: OptimizerConfig, gradients: list[dict], params: dict) -> list[dict]:
    """What each gradient in turn adds to the parameters."""
    optimizer = make_optimizer(settings, steps=12)
    state, seen = optimizer.init(params), []
    for gradient in gradients:
        update, state = optimizer.update(gradient, state, params)
        seen.append(update)
    return seen


@pytest.mark.parametrize(
    "step,share", [(0, 0), (1, 0.25), (3, 0.75), (4, 1), (8, 0.5), (11, 0.125), (12, 0), (20, 0)]
)
def test_the_rate_rises_to_its_peak_and_falls_to_zero_at_the_last_step(step, share):
    assert rate(config(), step) == pytest.approx(share * PEAK, abs=1e-10)


@pytest.mark.parametrize("step,share", [(0, 0), (2, 0.5), (4, 1), (11, 1), (50, 1)])
def test_a_constant_rate_is_warmed_up_too(step, share):
    settings = config(schedule="constant")
    assert rate(settings, step) == pytest.approx(share * PEAK, abs=1e-10)


def test_without_a_warm_up_the_first_step_has_the_peak():
    assert rate(config(warmup_steps=0), 0) == pytest.approx(PEAK)


def test_a_warm_up_longer_than_the_training_is_cut_off():
    rates = [rate(config(warmup_steps=100), step) for step in range(13)]
    np.testing.assert_allclose(rates, PEAK * np.arange(13) / 100, rtol=1e-5)


def test_each_update_moves_by_the_rate_of_its_step():
    """Adam's update of equal gradients is the rate, so it shows which step the schedule is at.

    That micro-batches are no steps is in tests/algorithms/test_sequence_distillation.py.
    """
    params = {"kernel": jnp.ones(3)}
    seen = updates(config(), [{"kernel": jnp.full(3, 0.1)}] * 6, params)
    moved = [-float(update["kernel"][0]) for update in seen]
    wanted = [rate(config(), step) for step in range(6)]
    np.testing.assert_allclose(moved, wanted, rtol=1e-4, atol=1e-9)


def test_the_global_norm_is_cut_down_and_not_each_array_s():
    """With an epsilon of its size, Adam's update tells a gradient from a smaller one."""
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    settings = config(warmup_steps=0, clip_norm=1.0, epsilon=1.0)
    gradient = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}

    def moved(gradient: dict) -> list[float]:
        (update,) = updates(settings, [gradient], params)
        return [float(update["a"][0]), float(update["b"][0])]

    cut = {"a": jnp.array([0.6]), "b": jnp.array([0.8])}
    assert moved(gradient) == pytest.approx(moved(cut), rel=1e-5)
    assert moved(cut) == pytest.approx([-PEAK * g / (g + 1) for g in (0.6, 0.8)], rel=1e-4)
    half = jax.tree.map(lambda a: a / 2, cut)
    assert moved(half) != pytest.approx(moved(cut), rel=0.1)


def test_weight_decay_pulls_every_trained_parameter_by_rate_and_weight():
    trained, _ = split_frozen(PARAMS, ("encoder",))
    params = jax.tree.map(lambda a: 2 * a, trained)
    still = jax.tree.map(jnp.zeros_like, params)
    (update,) = updates(config(warmup_steps=0, weight_decay=0.1), [still], params)
    jax.tree.map(lambda a: np.testing.assert_allclose(a, -PEAK * 0.1 * 2, rtol=1e-5), update)
    (update,) = updates(config(warmup_steps=0), [still], params)
    assert not any(a.any() for a in jax.tree.leaves(update))


def test_what_is_frozen_has_no_state_and_cannot_move():
    trained, frozen = split_frozen(PARAMS, ("encoder",))
    assert (set(trained), set(frozen)) == ({"decoder"}, {"encoder"})
    state = make_optimizer(config(weight_decay=0.1), 12).init(trained)
    arrays = [a for a in jax.tree.leaves(state) if a.ndim]
    assert len(arrays) == 2 * len(jax.tree.leaves(trained))
    assert {a.shape for a in arrays} == {(3,), (2, 3, 4)}


@pytest.mark.parametrize(
    "freeze,trained",
    [
        ((), {"encoder", "decoder"}),
        (("encoder",), {"decoder"}),
        (("encoder.conv", "decoder.norm"), {"decoder"}),
        (("decoder.norm.scale",), {"encoder", "decoder"}),
    ],
)
def test_split_and_joined_is_the_same(freeze, trained):
    parts = split_frozen(PARAMS, freeze)
    assert set(parts[0]) == trained
    assert len(jax.tree.leaves(parts)) == len(jax.tree.leaves(PARAMS))
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, join_frozen(*parts), PARAMS))


def test_freezing_what_is_not_there_names_what_is():
    with pytest.raises(ConfigError, match=r"train\.freeze: got 'decoder\.nrm'.*decoder\.norm"):
        split_frozen(PARAMS, ("decoder.nrm",))
    with pytest.raises(ConfigError, match="'enc'"):
        split_frozen(PARAMS, ("enc",))


def test_freezing_everything_is_refused():
    with pytest.raises(ConfigError, match="nothing to train"):
        split_frozen(PARAMS, ("encoder", "decoder"))


def test_cast_changes_the_type_of_every_array():
    assert {a.dtype.name for a in jax.tree.leaves(cast(PARAMS, "bfloat16"))} == {"bfloat16"}


@pytest.mark.parametrize(
    "values,word",
    [
        ({"learning_rate": 0}, "learning_rate"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"b1": 1.0}, "b1"),
        ({"clip_norm": 0}, "clip_norm"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"schedule": "steps"}, "'linear', 'cosine' or 'constant'"),
        ({"warmup": 10}, "warmup"),
    ],
)
def test_settings_of_no_sense_are_refused(values, word):
    with pytest.raises(ValidationError, match=word):
        OptimizerConfig.model_validate(values)


@pytest.mark.parametrize(
    "values,word",
    [
        ({"batch_size": 10, "accumulation": 4}, "batch_size 10 is not a multiple"),
        ({"target_lengths": (128, 64)}, "target_lengths must increase"),
        ({"target_lengths": (64, 64)}, "target_lengths must increase"),
        ({"save_every": 300, "validate_every": 1000}, "validate_every 1000 is not a multiple"),
        ({"steps": 0}, "steps"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values, word):
    with pytest.raises(ValidationError, match=word):
        TrainConfig.model_validate(values)


@pytest.mark.parametrize("step,share", [(2, 0.5), (4, 1), (8, 0.55), (12, 0.1), (20, 0.1)])
def test_a_cosine_ends_at_the_final_share(step, share):
    settings = config(schedule="cosine", final_share=0.1)
    assert rate(settings, step) == pytest.approx(share * PEAK)


def test_a_line_ends_at_the_final_share():
    assert rate(config(final_share=0.1), 12) == pytest.approx(0.1 * PEAK)

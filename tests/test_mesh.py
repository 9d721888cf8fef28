"""Meshes and the table of sharding rules."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P
from pydantic import ValidationError

from distil_jax.errors import ConfigError
from distil_jax.mesh import (
    STRATEGIES,
    MeshConfig,
    constrain,
    make_mesh,
    on_one_cpu,
    replicated,
    split_batch,
    use_mesh,
)
from distil_jax.models.placing import shardings
from distil_jax.models.whisper import NAME_TABLE, WhisperConfig, init
from tests.made_up import MULTILINGUAL

DATA = ("data", "fsdp")


def mesh_config(strategy: str = "dp", shape: tuple = (-1, 1, 1)) -> MeshConfig:
    return MeshConfig.model_validate({"strategy": strategy, "shape": shape})


def made_up(**changes: int) -> dict:
    """Shapes of all parameters: width 16, MLP 24, two heads."""
    config = WhisperConfig.from_hf({**MULTILINGUAL.hf_config, "vocab_size": 50, **changes})
    return jax.eval_shape(lambda: init(config))


def specs(strategy: str, shape: tuple) -> dict:
    config = mesh_config(strategy, shape)
    placed = shardings(NAME_TABLE, made_up(), make_mesh(config), config.rules)
    return jax.tree.map(lambda sharding: sharding.spec, placed)


@pytest.mark.parametrize(
    "strategy,axes,spec",
    [
        ("dp", ("embed", "mlp"), P(None, None)),
        ("dp", ("batch", None, "vocab"), P(DATA, None, None)),
        ("fsdp", ("embed", "mlp"), P("fsdp", None)),
        ("fsdp", ("vocab", "embed"), P(None, "fsdp")),
        ("fsdp", ("batch",), P(DATA)),
        ("fsdp+tensor", ("embed", "mlp"), P("fsdp", "tensor")),
        ("fsdp+tensor", ("heads", "embed"), P("tensor", "fsdp")),
        ("fsdp+tensor", (None, "embed"), P(None, "fsdp")),
    ],
)
def test_a_strategy_gives_logical_axes_their_mesh_axes(strategy, axes, spec):
    assert STRATEGIES[strategy].spec(axes) == spec


def test_an_axis_without_a_rule_is_an_error():
    with pytest.raises(AttributeError, match="width"):
        STRATEGIES["dp"].spec(["width"])


@pytest.mark.parametrize(
    "strategy,kernel,bias,embedding",
    [
        ("dp", P(None, None, None), P(None, None), P(None, None)),
        ("fsdp", P(None, "fsdp", None), P(None, None), P(None, "fsdp")),
        ("fsdp+tensor", P(None, "fsdp", "tensor"), P(None, "tensor"), P(None, "fsdp")),
    ],
)
def test_parameters_are_placed_by_strategy(strategy, kernel, bias, embedding):
    """Blocks are stacked: their leading layer axis is never split."""
    placed = specs(strategy, (2, 2, 2))["decoder"]
    assert placed["blocks"]["mlp"]["up"]["kernel"] == kernel
    assert placed["blocks"]["mlp"]["up"]["bias"] == bias
    assert placed["embedding"] == embedding
    assert placed["norm"]["scale"] == P(None)


def table(**rules: list[str]) -> MeshConfig:
    return MeshConfig.model_validate({"strategy": rules, "shape": (1, 8, 1)})


def test_an_axis_that_does_not_divide_is_named():
    config = mesh_config("fsdp", (1, 8, 1))
    params = made_up(d_model=20)
    with pytest.raises(ConfigError) as error:
        shardings(NAME_TABLE, params, make_mesh(config), config.rules)
    for word in ("20", "embed: ['fsdp']", "mesh.strategy", "mesh.shape", "decoder.blocks"):
        assert word in str(error.value)
    assert "'fsdp': 8" in str(error.value)


def test_a_rule_may_allow_what_does_not_divide_to_stay_whole(caplog):
    """50 tokens over 8 devices: the embedding is whole there, and the log says so once."""
    config = table(embed=[], vocab=["fsdp"], may_replicate=["vocab"])
    caplog.set_level("INFO", "distil_jax")
    for _ in range(2):
        placed = shardings(NAME_TABLE, made_up(), make_mesh(config), config.rules)
    assert placed["decoder"]["embedding"].spec == P(None, None)
    assert [r.message for r in caplog.records if "vocab (50) does not divide" in r.message] != []
    assert len(caplog.records) == 1
    config = table(vocab=["fsdp"])
    with pytest.raises(ConfigError, match=r"may_replicate: \[vocab\]"):
        shardings(NAME_TABLE, made_up(), make_mesh(config), config.rules)


def test_two_axes_of_a_parameter_over_one_axis_of_the_mesh_are_refused():
    config = table(embed=["fsdp"], mlp=["fsdp"])
    with pytest.raises(ConfigError, match="divided twice over fsdp") as error:
        shardings(NAME_TABLE, made_up(), make_mesh(config), config.rules)
    assert "decoder.blocks.mlp." in str(error.value)


def test_a_table_of_ones_own_is_a_strategy_and_a_typo_in_it_an_error():
    own, named = table(embed=["fsdp"]), mesh_config("fsdp", (1, 8, 1))
    assert own.rules == named.rules
    assert own.teacher_rules == own.rules
    for rules, message in (
        ({"embed": ["fdsp"]}, "'data', 'fsdp' or 'tensor'"),
        ({"embd": ["fsdp"]}, "Extra inputs"),
        ({"embed": ["fsdp", "fsdp"]}, "each mesh axis may be listed once"),
    ):
        with pytest.raises(ValidationError, match=message):
            table(**rules)


def test_what_is_not_split_need_not_divide():
    config = mesh_config("dp", (8, 1, 1))
    shardings(NAME_TABLE, made_up(d_model=20), make_mesh(config), config.rules)


def test_an_unknown_strategy_is_refused_with_those_there_are():
    with pytest.raises(ValidationError, match=r"'dp', 'fsdp' or 'fsdp\+tensor'"):
        mesh_config("zero3")


@pytest.mark.parametrize(
    "shape,sizes",
    [
        ((-1, 1, 1), (8, 1, 1)),
        ((1, -1, 1), (1, 8, 1)),
        ((2, -1, 2), (2, 2, 2)),
        ((2, 4, 1), (2, 4, 1)),
        ((8, 1, -1), (8, 1, 1)),
    ],
)
def test_what_is_left_of_the_devices_is_filled_in(shape, sizes):
    mesh = make_mesh(mesh_config(shape=shape))
    assert dict(mesh.shape) == dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))
    assert mesh.size == 8


@pytest.mark.parametrize(
    "shape", [(3, -1, 1), (-1, -1, 1), (2, 2, 1), (4, 4, 1), (0, -1, 1), (-2, 1, 1), (-4, -2, 1)]
)
def test_a_mesh_that_does_not_fit_the_devices_is_refused(shape):
    with pytest.raises(ConfigError, match=r"mesh\.shape"):
        make_mesh(mesh_config(shape=shape))


def test_a_mesh_may_be_of_some_devices():
    mesh = make_mesh(mesh_config(shape=(1, 2, 1)), jax.devices()[2:4])
    assert list(mesh.devices.flat) == jax.devices()[2:4]


def test_batches_are_split_over_data_and_fsdp():
    config = mesh_config("fsdp+tensor", (2, 2, 2))
    mesh = make_mesh(config)
    batch = jax.device_put(jnp.zeros((8, 3)), split_batch(mesh, config.rules))
    assert {shard.data.shape for shard in batch.addressable_shards} == {(2, 3)}
    assert jax.device_put(jnp.zeros(8), replicated(mesh)).is_fully_replicated


def test_activations_are_pinned_within_a_mesh_and_left_alone_outside():
    config = mesh_config("fsdp", (2, 4, 1))
    mesh = make_mesh(config)
    x = jnp.zeros((8, 3))
    assert constrain(x, "batch") is x
    with use_mesh(mesh, config.rules):
        pinned = jax.jit(lambda x: constrain(x, "batch", None))(x)
    assert pinned.sharding.is_equivalent_to(split_batch(mesh, config.rules), 2)
    assert constrain(x, "batch") is x


@pytest.mark.parametrize("shape,devices,alone", [((1, 1, 1), 1, True), ((8, 1, 1), 8, False)])
def test_one_cpu_is_told_from_several(shape, devices, alone):
    config = mesh_config(shape=shape)
    assert on_one_cpu()
    with use_mesh(make_mesh(config, jax.devices()[:devices]), config.rules):
        assert on_one_cpu() is alone
    assert on_one_cpu()

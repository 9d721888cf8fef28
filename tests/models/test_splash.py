"""Splash attention, interpreted on the CPU, against plain products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from distil_jax.errors import ConfigError
from distil_jax.mesh import MeshConfig, Rules, make_mesh, map_over_shards, use_mesh
from distil_jax.models.attention import attend
from distil_jax.models.splash import splash_kernel

WIDTH = 64  # of whisper's heads


def inputs(queries: int, keys: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    seeds = jax.random.split(jax.random.key(0), 3)
    shapes = (2, 2, queries, WIDTH), (2, 2, WIDTH, keys), (2, 2, keys, WIDTH)
    q, k, v = (jax.random.normal(seed, shape) for seed, shape in zip(seeds, shapes, strict=True))
    return q, k, v


@pytest.mark.parametrize("queries,keys", [(1, 128), (130, 300), (600, 520)])
def test_it_gives_what_plain_products_give(queries, keys):
    given = inputs(queries, keys)
    found = splash_kernel(*given, interpret=True)
    np.testing.assert_allclose(found, attend(*given), atol=1e-5)


def test_its_gradient_is_that_of_plain_products():
    given = inputs(130, 300)

    def gradient(function):
        return jax.grad(lambda *x: (function(*x) ** 2).sum(), argnums=(0, 1, 2))(*given)

    found = gradient(lambda *x: splash_kernel(*x, interpret=True))
    for ours, theirs in zip(found, gradient(attend), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_it_is_for_tpus_alone():
    with pytest.raises(ConfigError, match=r"attention: splash is .* program is for cpu; use xla"):
        attend(*inputs(4, 4), kernel="splash")


def test_each_device_works_on_its_part():
    rules = Rules(heads=("tensor",))
    seen: list[tuple[int, ...]] = []

    def function(x: jax.Array) -> jax.Array:
        seen.append(x.shape)
        return 2 * x

    def mapped(x: jax.Array) -> jax.Array:
        return map_over_shards(function, ("batch", "heads"), x)

    x = jnp.arange(8.0 * 4 * 3).reshape(8, 4, 3)
    with use_mesh(make_mesh(MeshConfig(shape=(2, 2, 2))), rules):
        found = jax.jit(mapped)(x)
        with pytest.raises(ConfigError, match=r"heads is 3, which does not divide over the 2 dev"):
            jax.jit(mapped)(x.swapaxes(1, 2))
    assert seen == [(2, 2, 3)]
    assert found.sharding.spec == PartitionSpec(("data", "fsdp"), "tensor")
    np.testing.assert_array_equal(found, 2 * x)
    np.testing.assert_array_equal(mapped(x), 2 * x)

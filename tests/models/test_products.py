"""Products with few rows, as one CPU takes them, against plain ones of the same factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distil_jax.models.products import project_few, turn


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(1, 1, 48), (48,), (3, 1, 48), (2, 5, 48)])
def test_few_rows_come_to_what_plain_products_do(dtype, shape):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=shape), dtype)
    kernel = jnp.asarray(rng.normal(size=(48, 70)), dtype)
    found = jax.jit(lambda x, kernel: project_few(x, turn(kernel)))(x, kernel)
    expected = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)

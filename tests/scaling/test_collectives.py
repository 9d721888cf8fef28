"""Collectives counted in compiled programs whose traffic is known by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from distil_jax.scaling.collectives import Collective, collectives

ROWS, WIDTH, ROUNDS = 16, 24, 5


def compiled(function, spec: P, out: P) -> str:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    x = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32, sharding=NamedSharding(mesh, spec))
    jitted = jax.jit(function, out_shardings=NamedSharding(mesh, out))
    return jitted.lower(x).compile().as_text() or ""


def test_a_sum_over_the_devices_is_one_all_reduce():
    hlo = compiled(lambda x: x.sum(axis=0), P("data"), P())
    assert collectives(hlo) == [Collective("all-reduce", 4 * WIDTH, 8, 1)]
    assert collectives(hlo)[0].sent == 4 * WIDTH * 2 * 7 / 8


def test_bringing_everything_together_is_an_all_gather():
    (found,) = collectives(compiled(lambda x: x * 2, P("data"), P()))
    assert found == Collective("all-gather", 4 * ROWS * WIDTH, 8, 1)
    assert found.sent == 4 * ROWS * WIDTH * 7 / 8


def test_a_collective_in_a_loop_counts_as_often_as_the_loop_runs():
    def loop(x: jax.Array) -> jax.Array:
        def body(total: jax.Array, _: None) -> tuple[jax.Array, None]:
            return total + jnp.tanh(x * total).sum(axis=0), None

        return jax.lax.scan(body, jnp.ones(WIDTH), length=ROUNDS)[0]

    (found,) = collectives(compiled(loop, P("data"), P()))
    assert found == Collective("all-reduce", 4 * WIDTH, 8, ROUNDS)


def test_a_program_of_one_device_has_none():
    assert collectives(jax.jit(jnp.sum).lower(jnp.ones(8)).compile().as_text() or "") == []


# As libtpu writes it: no count beside the loop, several arrays at once, an asynchronous start.
TPU = """
%cond.1 (p: (s32[], f32[4])) -> pred[] {
  %constant.3 = s32[]{:T(128)} constant(32)
  ROOT %lt = pred[]{:T(512)} compare(%i, %constant.3), direction=LT
}

%body.1 (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %constant.9 = s32[]{:T(128)} constant(1)
  %both = (f32[2,4]{1,0:T(8,128)S(1)}, bf16[6]{0:T(256)}) all-reduce(%a, %b), \
replica_groups=mesh['x'=8,'y'=2] {'x'}, to_apply=%add
}

ENTRY %main.1 (a: f32[8]) -> f32[8] {
  %w = (s32[]{:T(128)}, f32[4]{0}) while(%tuple), condition=%cond.1, body=%body.1, metadata={}
  %s = (f32[8]{0}, f32[32]{0}) all-gather-start(%a), replica_groups=[4,4]<=[16], dimensions={0}
  %d = f32[32]{0} all-gather-done(%s)
  %c = f32[8]{0} reduce-scatter(%d), replica_groups={{0,1},{2,3}}, to_apply=%add
}
"""


def test_the_text_of_a_tpu_program_is_understood():
    assert set(collectives(TPU)) == {
        Collective("all-reduce", 2 * 4 * 4 + 6 * 2, 8, 32),
        Collective("all-gather", 32 * 4, 4, 1),
        Collective("reduce-scatter", 8 * 4, 2, 1),
    }


@pytest.mark.parametrize(
    "kind,sent",
    [("all-reduce", 150), ("all-gather", 75), ("all-to-all", 75), ("reduce-scatter", 300)],
)
def test_what_leaves_a_device_of_four(kind, sent):
    assert Collective(kind, 100, 4, 1).sent == sent
    assert Collective("collective-permute", 100, 2, 3).sent == 300

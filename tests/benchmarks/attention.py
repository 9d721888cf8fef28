"""Alternatives to models/attention.py on a CPU, side by side, in float32 at tiny.en's shapes.

    python -m tests.benchmarks.attention [--rounds 10]

All go from projections [b, t, heads x 64] to the same of softmax(query keys^T) values:
- at once: the scores of all heads stand in memory; keys as [b, h, k, s]. What `attend` does below
  its limit of scores a head, under a mask, and on accelerators
- other keys: the same with keys as [b, h, s, k]
- head by head: the scores of half a head at a time. What `attend` does above its limit
- whole heads: the same without the halves
- jax.nn: jax.nn.dot_product_attention, which wants no other layout

Encoder and training see one clip at a time: in training the decoder looks at it from t tokens,
"with gradient" forward and backward together. Decoding does from one token of each of 16 clips, and
there the keys and values are laid out before and stay.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.benchmarks import figures, harness, side_by_side

HEADS, WIDTH, FRAMES = 6, 64, 1500


class Shape(NamedTuple):
    clips: int
    queries: int
    gradient: bool = False


SHAPES = {
    "encoder, 1 clip": Shape(1, FRAMES),
    "encoder, 16 clips": Shape(16, FRAMES),
    **{f"decoder, {t} tokens": Shape(1, t) for t in (16, 32, 64, 128)},
    **{f"decoder, {t} tokens, with gradient": Shape(1, t, True) for t in (16, 32, 64, 128)},
    "decoding, 1 token": Shape(16, 1),
}


class Alternative(NamedTuple):
    """keys, others: how [b, t, h, k] is transposed for keys, and for queries, values and result."""

    attend: Callable[..., Any]
    keys: tuple[int, ...] = (0, 2, 3, 1)
    others: tuple[int, ...] = (0, 2, 1, 3)

    def lay_out(self, query, keys, values) -> tuple:
        orders = (self.others, self.keys, self.others)
        split = (x.reshape(*x.shape[:2], HEADS, WIDTH) for x in (query, keys, values))
        return tuple(x.transpose(order) for x, order in zip(split, orders, strict=True))

    def whole(self, query, keys, values):
        """From projections to projections; the order of the others is its own inverse."""
        mixed = self.attend(*self.lay_out(query, keys, values)).transpose(self.others)
        return mixed.reshape(query.shape)

    def gradient(self, *inputs):
        import jax

        return jax.grad(lambda inputs: (self.whole(*inputs) ** 2).sum())(inputs)


def alternatives() -> dict[str, Alternative]:
    import jax
    import jax.numpy as jnp

    from distil_jax.models.attention import _head_by_head

    def at_once(keys: str) -> Callable:
        def attend(query, laid_out, values):
            scores = jnp.einsum(f"bhtk,{keys}->bhts", query * WIDTH**-0.5, laid_out)
            return jnp.einsum("bhts,bhsk->bhtk", jax.nn.softmax(scores), values)

        return attend

    def whole_heads(query, keys, values):
        def one(inputs: tuple):
            query, keys, values = inputs
            scores = query * WIDTH**-0.5 @ keys
            weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
            return weights @ values / weights.sum(axis=-1, keepdims=True)

        flat = tuple(x.reshape(-1, *x.shape[2:]) for x in (query, keys, values))
        return jax.lax.map(one, flat).reshape(query.shape)

    as_it_comes = (0, 1, 2, 3)
    return {
        "at once": Alternative(at_once("bhks")),
        "other keys": Alternative(at_once("bhsk"), keys=(0, 2, 1, 3)),
        "head by head": Alternative(_head_by_head),
        "whole heads": Alternative(whole_heads),
        "jax.nn": Alternative(jax.nn.dot_product_attention, as_it_comes, as_it_comes),
    }


def times(shape: Shape, rounds: int) -> dict[str, float]:
    """Milliseconds of each alternative; their results are compared first."""
    import jax
    import numpy as np

    rng = np.random.default_rng(0)
    lengths = (shape.queries, FRAMES, FRAMES)
    projections = tuple(
        jax.device_put(rng.normal(size=(shape.clips, t, HEADS * WIDTH)).astype(np.float32))
        for t in lengths
    )
    found = alternatives()
    expected = found["at once"].whole(*projections)
    timed = {}
    for name, each in found.items():
        np.testing.assert_allclose(each.whole(*projections), expected, atol=1e-4, err_msg=name)
        if shape.queries == 1:
            timed[name] = (each.attend, each.lay_out(*projections))
        else:
            timed[name] = (each.gradient if shape.gradient else each.whole, projections)
    return {name: 1e3 * s for name, s in side_by_side.seconds(timed, rounds).items()}


def main() -> None:
    parser = harness.parser(__doc__)
    parser.set_defaults(rounds=10)
    options = parser.parse_args()
    machine = figures.machine(options.cores)
    side_by_side.prepare_process(options.cores)
    rows = {name: times(shape, options.rounds) for name, shape in SHAPES.items()}
    side_by_side.report("milliseconds", rows, machine, options.json)


if __name__ == "__main__":
    main()

"""Which drafted tokens may stay, so that texts are drawn as the teacher alone would draw them.

Speculative sampling (Leviathan et al. 2023, arXiv:2211.17192, algorithm 1; Chen et al. 2023,
arXiv:2302.01318). b batch, k drafted tokens, v vocabulary.
"""

import jax
import jax.numpy as jnp

from distil_jax.models.generate import Sampling

# Of the random numbers of a token: to draft it, to accept it, to draw it where it was not accepted.
_DRAFT, _ACCEPT, _DRAW = range(3)


def draw_draft(sampling: Sampling, logits: jax.Array, counts: jax.Array) -> jax.Array:
    """A token of each row by the draft model's logits [b, v], to be number `counts` [b]. -> [b]"""
    keys = _keys(sampling, counts, _DRAFT)
    return jax.vmap(jax.random.categorical)(keys, logits / sampling.temperatures[:, None])


def accept(
    sampling: Sampling,
    drafted: jax.Array,
    draft_logits: jax.Array,
    logits: jax.Array,
    counts: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Drafted tokens up to the first that is refused, and one more that is drawn.

    drafted [b, k], drawn from draft_logits [b, k, v]; logits [b, k + 1, v]: the teacher's, the last
    behind the whole draft; counts [b]: of the first drafted token.
    A token x drafted with probability q(x) stays with probability min(1, p(x) / q(x)), p being the
    teacher's; in place of the first that does not stay one is drawn from max(0, p - q), and behind
    a draft of which all stay, from p.
    Returns (tokens [b, k + 1], how many of the drafted ones stay [b]); tokens behind the one that
    was drawn mean nothing.
    """
    _, length = drafted.shape
    heat = sampling.temperatures[:, None, None]
    p, q = (jax.nn.softmax(each / heat, axis=-1) for each in (logits, draft_logits))
    p_drafted, q_drafted = (
        jnp.take_along_axis(each[:, :length], drafted[..., None], axis=2)[..., 0] for each in (p, q)
    )
    chances = jnp.stack([_uniform(sampling, counts + i) for i in range(length)], axis=1)
    stays = chances * q_drafted < p_drafted
    accepted = jnp.cumprod(stays, axis=1).sum(axis=1)

    at = accepted[:, None, None]
    q = jnp.pad(q, ((0, 0), (0, 1), (0, 0)))  # nothing was drafted there
    p_here, q_here = (jnp.take_along_axis(each, at, axis=1)[:, 0] for each in (p, q))
    left = jnp.maximum(p_here - q_here, 0.0)
    # Equal up to rounding, a refusal is next to impossible, and then p is as good.
    left = jnp.where(left.sum(axis=-1, keepdims=True) > 0, left, p_here)
    keys = _keys(sampling, counts + accepted, _DRAW)
    drawn = jax.vmap(jax.random.categorical)(keys, jnp.log(left)).astype(drafted.dtype)

    tokens = jnp.pad(drafted, ((0, 0), (0, 1)))
    return jnp.where(jnp.arange(length + 1) == accepted[:, None], drawn[:, None], tokens), accepted


def _uniform(sampling: Sampling, counts: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.uniform)(_keys(sampling, counts, _ACCEPT))


def _keys(sampling: Sampling, counts: jax.Array, use: int) -> jax.Array:
    """Of token number `counts` [b] of each row: whatever was drafted before, they are the same.

    So a clip's text depends on no other clip. A token may be drafted again, behind another text,
    with the same numbers: nothing that led to that text depends on them.
    """

    def one(key: jax.Array, count: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(key), count), use)

    return jax.vmap(one)(sampling.keys, counts)

"""Speculative decoding: a draft model writes ahead, the teacher verifies it all in one pass.

Leviathan et al. 2023 (arXiv:2211.17192). Each row of a batch keeps what was accepted of its own
draft, and goes on from there: none waits for the worst. So each has its own place in the caches,
which are rolled back by setting their lengths.
b batch, s encoder positions, p prompt tokens, n new tokens, k drafted tokens, v vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from distil_jax.models.acceptance import accept, draw_draft
from distil_jax.models.decoder_cache import Cache, LayerCache, StackCache
from distil_jax.models.generate import Decoded, Sampling, Speculation, likeliest, logit_of
from distil_jax.models.token_rules import TokenRules
from distil_jax.models.whisper_decoder import Decoder, Steps


class DraftModel(NamedTuple):
    """encoded [b, s, d]: what its decoder reads, of its own width. tokens: k, drafted at once."""

    decoder: Decoder
    encoded: jax.Array
    tokens: int


class _Loop(NamedTuple):
    """texts [b, p + n + k + 1]: prompt and new tokens, of which `count` [b] are there.

    The caches hold all tokens but the last (the teacher's) or the last two (the draft model's).
    """

    count: jax.Array
    texts: jax.Array
    ended: jax.Array
    logprob: jax.Array
    entropy: jax.Array
    teacher: list[LayerCache | StackCache]
    draft: list[LayerCache | StackCache]
    speculation: Speculation


def speculate(
    decoder: Decoder,
    draft: DraftModel,
    encoded: jax.Array,
    prompt: jax.Array,
    start_position: int,
    rules: TokenRules,
    max_new_tokens: int,
    wanted: jax.Array,
    sampling: Sampling | None = None,
    padding: jax.Array | None = None,
) -> Decoded:
    """What `generate` makes of these arguments, in fewer passes of the teacher's decoder.

    Greedily, the very tokens (but where two are equally likely up to rounding, as may happen in
    bfloat16), with their scores. With `sampling`, tokens of the same distribution, but other ones.
    The draft model must have the teacher's vocabulary.
    """
    batch, length = prompt.shape
    room = length + max_new_tokens + draft.tokens + 1
    steps, cache = decoder.start(encoded, room, padding)
    hidden, cache = decoder.extend(steps, prompt, cache)
    at_start = jax.nn.softmax(decoder.logits(hidden[:, start_position]), axis=-1)
    steps = decoder.remember(steps, wanted)  # a pass has several tokens, so that it soon pays
    drafting, draft_cache = draft.decoder.start(draft.encoded, room, padding)
    _, draft_cache = draft.decoder.extend(drafting, prompt, draft_cache)

    texts = jnp.full((batch, room), rules.end, jnp.int32).at[:, :length].set(prompt)
    count = jnp.zeros(batch, jnp.int32)
    first = _verify(decoder.logits(hidden[:, -1:]), texts[:, length:], count, rules, sampling)
    zeros = jnp.zeros(batch, jnp.int32)
    loop = _Loop(
        count=count,
        texts=texts,
        ended=~wanted,
        logprob=jnp.zeros(batch),
        entropy=jnp.zeros(batch),
        teacher=cache.layers,
        draft=draft_cache.layers,
        speculation=Speculation(zeros, zeros, zeros),
    )
    loop = _take(loop, first, length, max_new_tokens, rules.end)

    def more(loop: _Loop) -> jax.Array:
        return jnp.any(~loop.ended & (loop.count < max_new_tokens))

    def step(loop: _Loop) -> _Loop:
        texts, layers, draft_logits = _write_ahead(draft, drafting, loop, length, rules, sampling)
        at = length + loop.count - 1
        tokens = _read(texts, at, draft.tokens + 1)
        hidden, cache = decoder.extend(steps, tokens, Cache(loop.teacher, at))
        verified = _verify(
            decoder.logits(hidden), texts[:, length:], loop.count, rules, sampling, draft_logits
        )
        loop = loop._replace(teacher=cache.layers, draft=layers)
        return _take(loop, verified, length, max_new_tokens, rules.end)

    # With a first token behind the prompt, there are always two tokens to go on from.
    loop = jax.lax.while_loop(more, step, loop)
    lengths = jnp.where(wanted, loop.count, 0)
    new = loop.texts[:, length : length + max_new_tokens]
    return Decoded(
        tokens=jnp.where(jnp.arange(max_new_tokens) < lengths[:, None], new, rules.end),
        lengths=lengths,
        ended=loop.ended,
        mean_logprob=loop.logprob / jnp.maximum(lengths, 1),
        mean_entropy=loop.entropy / jnp.maximum(lengths, 1),
        no_speech_prob=at_start[:, rules.no_speech],
        speculation=loop.speculation,
    )


def _write_ahead(
    draft: DraftModel,
    steps: Steps,
    loop: _Loop,
    prompt_length: int,
    rules: TokenRules,
    sampling: Sampling | None,
) -> tuple[jax.Array, list[LayerCache | StackCache], jax.Array | None]:
    """The texts with a draft behind each, the draft model's cache, and, to draw, its logits.

    It begins with two tokens: where all of the draft before was accepted, it has not read its last.
    """
    begin = prompt_length + loop.count
    batch, vocabulary = loop.count.shape[0], rules.vocab_size
    logits = None if sampling is None else jnp.zeros((batch, draft.tokens, vocabulary))

    def one(number: jax.Array | int, carry: tuple, tokens: int = 1) -> tuple:
        texts, layers, kept = carry
        at = begin + number - tokens
        read = _read(texts, at, tokens)
        hidden, cache = draft.decoder.extend(steps, read, Cache(layers, at))
        count = loop.count + number
        seen = draft.decoder.logits(hidden[:, -1])
        seen = rules.apply_by_row(seen, texts[:, prompt_length:], count)
        if sampling is None:
            token, _, _ = likeliest(seen)
        else:
            token = draw_draft(sampling, seen, count)
            kept = jax.lax.dynamic_update_slice(kept, seen[:, None], (0, number, 0))
        return _write(texts, begin + number, token[:, None]), cache.layers, kept

    carry = one(0, (loop.texts, loop.draft, logits), tokens=2)
    return jax.lax.fori_loop(1, draft.tokens, one, carry)


class _Verified(NamedTuple):
    """tokens [b, k + 1], of which the first `count` [b] follow; logprob, entropy: of each."""

    tokens: jax.Array
    count: jax.Array
    logprob: jax.Array
    entropy: jax.Array


def _verify(
    logits: jax.Array,
    texts: jax.Array,
    count: jax.Array,
    rules: TokenRules,
    sampling: Sampling | None,
    draft_logits: jax.Array | None = None,
) -> _Verified:
    """What the teacher's logits [b, k + 1, v] say of texts [b, n] with a draft behind `count`.

    Its rules look at what comes before each token: up to the first refused one, that is the text.
    """
    batch, length, vocabulary = logits.shape
    logits = rules.apply_by_row(logits, texts, count[:, None] + jnp.arange(length))
    flat = logits.reshape(batch * length, vocabulary)
    best, logprob, entropy = likeliest(flat)
    drafted = _read(texts, count, length - 1)
    if sampling is None:
        tokens = best.reshape(batch, length)
        accepted = jnp.cumprod(tokens[:, :-1] == drafted, axis=1).sum(axis=1)
    else:
        if draft_logits is None:  # the first token, before any draft
            tokens, accepted = sampling.draw(flat, jnp.zeros((), jnp.int32))[:, None], count
        else:
            tokens, accepted = accept(sampling, drafted, draft_logits, logits, count)
        logprob += logit_of(flat, tokens.reshape(-1)) - logit_of(flat, best)
    shaped = (each.reshape(batch, length) for each in (logprob, entropy))
    return _Verified(tokens.astype(jnp.int32), accepted + 1, *shaped)


def _take(
    loop: _Loop, verified: _Verified, prompt_length: int, max_new_tokens: int, end: int
) -> _Loop:
    """Each row its own number of the verified tokens: up to the end, or to the limit."""
    drafted = verified.tokens.shape[1] - 1
    number = jnp.arange(drafted + 1)
    is_end = verified.tokens == end
    until_end = jnp.min(jnp.where(is_end, number, drafted), axis=1) + 1
    taken = jnp.minimum(jnp.minimum(verified.count, until_end), max_new_tokens - loop.count)
    taken = jnp.where(loop.ended, 0, taken)
    kept = number < taken[:, None]
    count = loop.count + taken
    ended = loop.ended | jnp.any(kept & is_end, axis=1)
    alive, done = taken > 0, ended | (count == max_new_tokens)
    judged = jnp.where(done, jnp.minimum(taken, drafted), drafted)
    accepted = jnp.minimum(taken, verified.count - 1)
    before = loop.speculation
    return loop._replace(
        # An unwanted row, too, must have a token for the draft model to go on from.
        count=jnp.where(loop.count == 0, 1, count),
        texts=_write(loop.texts, prompt_length + loop.count, verified.tokens),
        ended=ended,
        logprob=loop.logprob + jnp.where(kept, verified.logprob, 0.0).sum(axis=1),
        entropy=loop.entropy + jnp.where(kept, verified.entropy, 0.0).sum(axis=1),
        speculation=Speculation(
            rounds=before.rounds + (alive if drafted else 0),
            drafted=before.drafted + jnp.where(alive, judged, 0),
            accepted=before.accepted + accepted * alive,
        ),
    )


def _read(texts: jax.Array, start: jax.Array, count: int) -> jax.Array:
    """`count` tokens of each row from its own place [b] on. -> [b, count]"""
    at = start[:, None] + jnp.arange(count)
    return jnp.take_along_axis(texts, at, axis=1)


def _write(texts: jax.Array, start: jax.Array, tokens: jax.Array) -> jax.Array:
    """`_read` the other way."""
    at = start[:, None] + jnp.arange(tokens.shape[1])
    rows = jnp.arange(texts.shape[0])[:, None]
    return texts.at[rows, at].set(tokens.astype(texts.dtype))

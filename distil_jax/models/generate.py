"""Batched decoding on the device, greedy or sampled, with the scores that filters need.

b batch, s encoder positions, p prompt tokens, n new tokens, v vocabulary, d model width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from distil_jax.mesh import on_one_cpu
from distil_jax.models.decoder_cache import Cache
from distil_jax.models.token_rules import TokenRules
from distil_jax.models.whisper_decoder import Decoder, Steps


class Decoded(NamedTuple):
    """What decoding made of a batch.

    tokens [b, n]: new tokens, the end token included where it came, then padding with it.
    lengths [b]: how many of them count. ended [b]: whether the end token came in time.
    mean_logprob, mean_entropy [b]: nats per new token, the end token included, of the distribution
    that the token was chosen from (after suppression), as in OpenAI's decoding.py.
    no_speech_prob [b]: probability of the no-speech token at the start token, nothing suppressed.
    speculation: how speculative decoding went; None of plain decoding.
    """

    tokens: jax.Array
    lengths: jax.Array
    ended: jax.Array
    mean_logprob: jax.Array
    mean_entropy: jax.Array
    no_speech_prob: jax.Array
    speculation: "Speculation | None" = None


class Speculation(NamedTuple):
    """Of each row [b]: how often the teacher verified; tokens drafted for it; those it accepted.

    Of the last draft only what comes before the end of the text, and the end itself, counts: so a
    draft model that is the teacher has every token accepted.
    """

    rounds: jax.Array
    drafted: jax.Array
    accepted: jax.Array


class Sampling(NamedTuple):
    """Tokens drawn at temperatures [b] above 0. keys [b, 2] uint32: of each row its own."""

    keys: jax.Array
    temperatures: jax.Array

    def draw(self, logits: jax.Array, count: jax.Array) -> jax.Array:
        """Token number `count` of each row, whatever the others are. logits [b, v] -> [b]."""

        def one(key: jax.Array, temperature: jax.Array, row: jax.Array) -> jax.Array:
            key = jax.random.fold_in(jax.random.wrap_key_data(key), count)
            return jax.random.categorical(key, row / temperature)

        return jax.vmap(one)(self.keys, self.temperatures, logits)

    def of_rows(self, rows: jax.Array) -> "Sampling":
        return Sampling(self.keys[rows], self.temperatures[rows])


# So many tokens are decoded with a short cache, and on a CPU without keys and values of what the
# encoder made (tests/benchmarks/decoding.py). Most texts of single sentences end there.
_SHORT_TEXT = 40
# When no more than this share of a batch goes on, it goes on without the others on a CPU.
_FEW_ROWS = 1 / 4


class _Text(NamedTuple):
    """What Decoded is made of, as far as `count` tokens go; scores are sums."""

    count: jax.Array
    tokens: jax.Array
    lengths: jax.Array
    ended: jax.Array
    logprob: jax.Array
    entropy: jax.Array

    def of_rows(self, rows: jax.Array) -> "_Text":
        return _Text(self.count, *(by_row[rows] for by_row in self[1:]))

    def with_rows(self, rows: jax.Array, others: "_Text") -> "_Text":
        """The inverse of `of_rows`: with these rows as they are in `others`."""
        pairs = zip(self[1:], others[1:], strict=True)
        return _Text(others.count, *(whole.at[rows].set(part) for whole, part in pairs))


class _Loop(NamedTuple):
    """logits [b, v]: of the tokens that follow the text."""

    text: _Text
    logits: jax.Array
    cache: Cache

    def of_rows(self, rows: jax.Array) -> "_Loop":
        cache = self.cache.of_rows(rows, len(self.logits))
        return _Loop(self.text.of_rows(rows), self.logits[rows], cache)


def detect_language(
    decoder: Decoder, encoded: jax.Array, start: int, languages: tuple[int, ...]
) -> jax.Array:
    """The likeliest language token after the start token. encoded [b, s, d] -> [b] int32."""
    tokens = jnp.full((encoded.shape[0], 1), start, jnp.int32)
    logits = decoder.logits(decoder(tokens, encoded)[:, 0])
    ids = jnp.asarray(languages, jnp.int32)
    return ids[jnp.argmax(logits[:, ids], axis=-1)]


def generate(
    decoder: Decoder,
    encoded: jax.Array,
    prompt: jax.Array,
    start_position: int,
    rules: TokenRules,
    max_new_tokens: int,
    wanted: jax.Array,
    sampling: Sampling | None = None,
    padding: jax.Array | None = None,
    long_text: jax.Array | bool = False,
) -> Decoded:
    """Decode every row until all have ended: all that are wanted, on this device.

    encoded [b, s, d]; prompt [b, p] (the start token at `start_position`); wanted [b] bool, False
    for rows that only fill up the batch. sampling: None for the likeliest token at each step.
    padding [b]: with so many tokens that do not count a row's prompt begins; None: no prompt does.
    long_text: whether to prepare for one from the first token on; it changes nothing but the time.
    """
    batch, prompt_length = prompt.shape
    short = min(max_new_tokens, _SHORT_TEXT)
    steps, cache = decoder.start(encoded, prompt_length + short, padding)
    hidden, cache = decoder.extend(steps, prompt, cache)
    at_start = jax.nn.softmax(decoder.logits(hidden[:, start_position]), axis=-1)

    def decode(
        steps: Steps,
        limit: jax.Array | int,
        loop: _Loop,
        sampling: Sampling | None = sampling,
        fewest: int = 1,
    ) -> _Loop:
        """Until the text has `limit` tokens, or fewer than `fewest` of its rows go on."""

        def more(loop: _Loop) -> jax.Array:
            return (loop.text.count < limit) & (jnp.sum(~loop.text.ended) >= fewest)

        def step(loop: _Loop) -> _Loop:
            text = _choose(loop.text, loop.logits, rules, sampling)
            rows = text.tokens.shape[0]
            token = jax.lax.dynamic_slice(text.tokens, (0, text.count - 1), (rows, 1))
            hidden, cache = decoder.extend(steps, token, loop.cache)
            return _Loop(text, decoder.logits(hidden[:, 0]), cache)

        return jax.lax.while_loop(more, step, loop)

    def decode_rest(loop: _Loop) -> _Text:
        lasting = decoder.remember(steps, ~loop.text.ended)
        loop = loop._replace(cache=loop.cache.with_room_for(max_new_tokens - short))
        few = int(batch * _FEW_ROWS) if on_one_cpu() else 0
        loop = decode(lasting, max_new_tokens, loop, fewest=few + 1)
        if not few:
            return loop.text
        rows = jnp.argsort(loop.text.ended, stable=True)[:few]
        drawn = sampling and sampling.of_rows(rows)
        rest = decode(lasting.of_rows(rows), max_new_tokens, loop.of_rows(rows), drawn)
        return loop.text.with_rows(rows, rest.text)

    zeros = jnp.zeros(batch)
    text = _Text(
        count=jnp.zeros((), jnp.int32),
        tokens=jnp.full((batch, max_new_tokens), rules.end, jnp.int32),
        lengths=jnp.zeros(batch, jnp.int32),
        ended=~wanted,
        logprob=zeros,
        entropy=zeros,
    )
    first = short if short == max_new_tokens else jnp.where(long_text, 0, short)
    loop = decode(steps, first, _Loop(text, decoder.logits(hidden[:, -1]), cache))
    text = loop.text
    if short < max_new_tokens:
        text = jax.lax.cond(jnp.all(text.ended), lambda loop: loop.text, decode_rest, loop)
    count = jnp.maximum(text.lengths, 1)
    return Decoded(
        tokens=text.tokens,
        lengths=text.lengths,
        ended=text.ended,
        mean_logprob=text.logprob / count,
        mean_entropy=text.entropy / count,
        no_speech_prob=at_start[:, rules.no_speech],
    )


def _choose(text: _Text, logits: jax.Array, rules: TokenRules, sampling: Sampling | None) -> _Text:
    """With a token more of each row, taken from these logits [b, v]."""
    logits = rules.apply(logits, text.tokens, text.count)
    chosen, logprob, entropy = likeliest(logits)
    if sampling is not None:
        best, chosen = chosen, sampling.draw(logits, text.count)
        logprob += logit_of(logits, chosen) - logit_of(logits, best)
    token = jnp.where(text.ended, rules.end, chosen).astype(jnp.int32)
    return _Text(
        count=text.count + 1,
        tokens=jax.lax.dynamic_update_slice(text.tokens, token[:, None], (0, text.count)),
        lengths=text.lengths + ~text.ended,
        ended=text.ended | (token == rules.end),
        logprob=text.logprob + jnp.where(text.ended, 0.0, logprob),
        entropy=text.entropy + jnp.where(text.ended, 0.0, entropy),
    )


def logit_of(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """[b, v], [b] -> [b]"""
    return jnp.take_along_axis(logits, tokens[:, None], axis=1)[:, 0]


def likeliest(logits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """[b, v] -> the first best token, its log-probability, and the entropy in nats; each [b].

    One pass over exponentials serves all three; on a CPU it takes a fifth of jnp.argmax, which is a
    scalar loop there, with log_softmax.
    """
    ids = jnp.arange(logits.shape[-1])
    below = logits - logits.max(axis=-1, keepdims=True)
    first = jnp.min(jnp.where(below == 0, ids, logits.shape[-1]), axis=-1)
    weights = jnp.exp(below)
    total = weights.sum(axis=-1)
    # A forbidden token weighs 0, and 0 times its minus infinity would not be a number.
    weighted = jnp.where(weights > 0, weights * below, 0.0).sum(axis=-1)
    return first, -jnp.log(total), jnp.log(total) - weighted / total

"""Which tokens may come next: suppressed tokens, and Whisper's rules for timestamps.

b batch, n new tokens, v vocabulary.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

_NEVER = -jnp.inf


@dataclass(frozen=True, eq=False)
class TokenRules:
    """What decoding must know of a vocabulary. The ids come from the tokenizer, by name."""

    end: int
    no_speech: int
    vocab_size: int
    suppress: tuple[int, ...] = ()
    begin_suppress: tuple[int, ...] = ()
    timestamps: bool = False
    no_timestamps: int = -1
    first_timestamp: int = -1
    # Index of the latest timestamp that may open a text (50: one second); None: any.
    max_initial_timestamp: int | None = None

    def apply(self, logits: jax.Array, tokens: jax.Array, count: jax.Array) -> jax.Array:
        """Forbid what may not come next.

        logits [b, v] float32; tokens [b, n] of which the first `count` are there. Returns [b, v].
        """
        at_begin = jnp.where(count == 0, self._mask(self.begin_suppress), False)
        logits = jnp.where(self._mask(self.suppress) | at_begin, _NEVER, logits)
        return self._timestamp_rules(logits, tokens, count) if self.timestamps else logits

    def apply_by_row(self, logits: jax.Array, tokens: jax.Array, counts: jax.Array) -> jax.Array:
        """`apply` where every row has a count of its own.

        logits [b, v] and counts [b], or [b, t, v] and [b, t] for several counts of one text.
        """
        one = lambda row, text, count: self.apply(row[None], text[None], count)[0]  # noqa: E731
        one = jax.vmap(one, (0, None, 0)) if counts.ndim == 2 else one
        return jax.vmap(one)(logits, tokens, counts)

    def _mask(self, ids: tuple[int, ...]) -> np.ndarray:
        mask = np.zeros(self.vocab_size, bool)
        mask[list(ids)] = True
        return mask

    def _timestamp_rules(self, logits: jax.Array, tokens: jax.Array, count: jax.Array) -> jax.Array:
        """Timestamps come in pairs, never go back, open the text, and win when likelier than it."""
        ids = jnp.arange(self.vocab_size)[None, :]
        is_timestamp = ids >= self.first_timestamp
        forbidden = ids == self.no_timestamps

        last = self._token_before(tokens, count, 1)
        before_last = self._token_before(tokens, count, 2)
        last_stamps = (count >= 1) & (last >= self.first_timestamp)
        pair_is_closed = (count < 2) | (before_last >= self.first_timestamp)
        forbidden |= (last_stamps & pair_is_closed)[:, None] & is_timestamp
        forbidden |= (last_stamps & ~pair_is_closed)[:, None] & (ids < self.end)

        written = jnp.arange(tokens.shape[1])[None, :] < count
        stamps = jnp.where(written & (tokens >= self.first_timestamp), tokens, -1)
        position = jnp.max(jnp.where(stamps >= 0, jnp.arange(tokens.shape[1]), -1), axis=1)
        latest = jnp.take_along_axis(stamps, jnp.maximum(position, 0)[:, None], axis=1)[:, 0]
        may_repeat = last_stamps & ~pair_is_closed
        earliest = jnp.where(may_repeat, latest, latest + 1)
        earliest = jnp.where(position >= 0, earliest, self.first_timestamp)
        forbidden |= is_timestamp & (ids < earliest[:, None])

        at_begin = ~is_timestamp
        if self.max_initial_timestamp is not None:
            at_begin |= ids > self.first_timestamp + self.max_initial_timestamp
        forbidden |= (count == 0) & at_begin
        logits = jnp.where(forbidden, _NEVER, logits)

        stamp_mass = jax.nn.logsumexp(jnp.where(is_timestamp, logits, _NEVER), axis=-1)
        best_text = jnp.max(jnp.where(is_timestamp, _NEVER, logits), axis=-1)
        return jnp.where((stamp_mass > best_text)[:, None] & ~is_timestamp, _NEVER, logits)

    @staticmethod
    def _token_before(tokens: jax.Array, count: jax.Array, steps: int) -> jax.Array:
        return jnp.take(tokens, jnp.maximum(count - steps, 0), axis=1)

"""Clips and their tokens through a model once more: when each token ends, and how sure it was.

The model reads what it wrote (teacher forcing), so that it needs no weights kept while it decodes,
and so that any tokens may be aligned, another model's too. b batch, t tokens, n heads.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from distil_jax.data.batch import pad_samples
from distil_jax.data.speech import Clip
from distil_jax.labelling.alignment.token_times import ends_by_heads
from distil_jax.labelling.alignment.words import TokenTime
from distil_jax.labelling.decoding import Decoding
from distil_jax.labelling.label import Label
from distil_jax.mesh import split_batch
from distil_jax.models.alignment_heads import Heads
from distil_jax.models.architecture import architecture_of
from distil_jax.models.cross_attention import attend_by_head, text_probabilities
from distil_jax.models.log_mel import CLIP_SAMPLES

_TOKENS_STEP = 64  # programs are compiled for multiples of so many tokens

AnyClip = TypeVar("AnyClip", bound=Clip)


class Spoken(NamedTuple):
    """What is to be aligned: samples [at most 480000], the prompt, and at least one token after it.

    The end token counts as one.
    """

    samples: np.ndarray
    prompt: Sequence[int]
    tokens: Sequence[int]


class Attention(NamedTuple):
    """Of one clip: weights [n, t - 1, s] of the tokens but the last, probabilities [t] of all."""

    weights: np.ndarray
    probabilities: np.ndarray


class TokenTimes(NamedTuple):
    """Of one clip's tokens [t]: seconds into it at which each ends; its probability, of all text.

    The probability of what is no text (timestamps, the end token) is 0.
    """

    ends: np.ndarray
    probabilities: np.ndarray

    def since(self, offset: float) -> list[TokenTime]:
        """In a recording in which the clip begins at `offset`; a token begins where the one before
        ends."""
        ends = [round(end + offset, 2) for end in self.ends.tolist()]
        starts = [round(offset, 2), *ends][: len(ends)]
        probabilities = self.probabilities.tolist()
        return [TokenTime(*each) for each in zip(starts, ends, probabilities, strict=True)]


class Aligner:
    """Aligns with some heads of a model, any parameters of its shape (as `decoding` placed them).

    The encoder runs once more, as in OpenAI's whisper/timing.py.
    """

    def __init__(self, decoding: Decoding, heads: Heads):
        self._decoding, self._heads = decoding, heads

    def of(self, decoding: Decoding) -> "Aligner":
        """The same heads of the same model, decoded in another way."""
        return Aligner(decoding, self._heads)

    def __call__(self, params: dict, spoken: Iterable[Spoken]) -> Iterator[TokenTimes]:
        """In the order of what is spoken."""
        given = iter(spoken)
        while batch := list(islice(given, self._decoding.batch_size)):
            for each, attention in zip(batch, self._attentions(params, batch), strict=True):
                ends = ends_by_heads(attention.weights, len(each.samples))
                yield TokenTimes(ends, attention.probabilities)

    def labels(
        self, params: dict, pairs: Iterable[tuple[AnyClip, Label]]
    ) -> Iterator[tuple[AnyClip, Label, TokenTimes]]:
        """The labels of a Transcriber of the same decoding, with their times."""
        given = iter(pairs)
        while batch := list(islice(given, self._decoding.batch_size)):
            prompts = [self._decoding.prompt(label.language) for _, label in batch]
            spoken = [
                Spoken(clip.samples, prompt, label.tokens)
                for (clip, label), prompt in zip(batch, prompts, strict=True)
            ]
            for (clip, label), times in zip(batch, self(params, spoken), strict=True):
                yield clip, label, times

    def attention(self, params: dict, spoken: Iterable[Spoken]) -> Iterator[Attention]:
        """What the times are made of."""
        given = iter(spoken)
        while batch := list(islice(given, self._decoding.batch_size)):
            yield from self._attentions(params, batch)

    def _attentions(self, params: dict, batch: list[Spoken]) -> Iterator[Attention]:
        decoding = self._decoding
        sequences = [[*each.prompt, *each.tokens] for each in batch]
        samples = pad_samples([each.samples for each in batch], CLIP_SAMPLES)
        filler = ((0, decoding.batch_size - len(batch)), (0, 0))
        host = np.pad(samples, filler), np.pad(self._padded(sequences), filler)
        arrays = jax.device_put(host, split_batch(decoding.mesh, decoding.rules))
        weights, probabilities = jax.tree.map(np.asarray, self._program(params, *arrays))
        for row, each in enumerate(batch):
            first, last = len(each.prompt), len(sequences[row]) - 1
            yield Attention(weights[row, :, first:last], probabilities[row, first - 1 : last])

    def _padded(self, sequences: list[list[int]]) -> np.ndarray:
        """[b, t + 1] int32: what is read, and behind it the token that follows last."""
        read = max(map(len, sequences)) - 1
        length = min(-(-read // _TOKENS_STEP) * _TOKENS_STEP, self._model.max_target_positions)
        padded = np.zeros((len(sequences), length + 1), np.int32)
        for row, sequence in zip(padded, sequences, strict=True):
            row[: len(sequence)] = sequence
        return padded

    @property
    def _model(self) -> Any:
        return self._decoding.model

    @cached_property
    def _program(self) -> Any:
        """(params, samples [b, 480000], tokens [b, t + 1]) -> weights, probabilities [b, t]."""
        decoding, text_tokens = self._decoding, self._decoding.vocabulary.end

        def attend(params: dict, samples: jax.Array, tokens: jax.Array):
            model = architecture_of(self._model).bind(self._model, decoding.compute, params)
            attended = attend_by_head(
                model.decoder, tokens[:, :-1], model.encode(samples), self._heads
            )
            probabilities = text_probabilities(
                model.decoder, attended.hidden, tokens[:, 1:], text_tokens
            )
            return attended.weights, probabilities

        return decoding.mapped(attend)

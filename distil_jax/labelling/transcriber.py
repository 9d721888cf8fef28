"""Clips through a model: text and scores back."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any

import jax
import numpy as np

from distil_jax.data.batch import pad_samples
from distil_jax.data.speech import Clip
from distil_jax.labelling.decoding import DETECT, Decoding
from distil_jax.labelling.draft import counted
from distil_jax.labelling.label import Label, compression_ratio
from distil_jax.labelling.order import Numbered, batches, in_order, windows
from distil_jax.mesh import split_batch
from distil_jax.models.generate import Decoded
from distil_jax.models.log_mel import CLIP_SAMPLES


class Transcriber(Decoding):
    """Decodes clips, batch by batch, with any parameters of one model shape."""

    def __call__(
        self, params: dict, clips: Iterable[Clip], temperatures: Sequence[float] | None = None
    ) -> Iterator[tuple[Clip, Label]]:
        """Labels in the order of the clips. While some are being decoded the next are read.

        temperatures: tried one after the other until a text is good enough; None: greedily first,
        and then as the config's fallback says.
        """
        return in_order(
            done
            for window in windows(clips, self.batch_size)
            for done in self.label(params, window, temperatures)
        )

    def label(
        self,
        params: dict,
        window: Iterable[Numbered],
        temperatures: Sequence[float] | None = None,
    ) -> Iterator[tuple[int, tuple[Clip, Label]]]:
        """Numbered clips, all of which are in memory, with their labels, in any order."""
        if temperatures is None:
            fallback = self.config.fallback
            temperatures = (0.0, *(fallback.temperatures if fallback else ()))
        return self._decode(params, window, temperatures)

    def _decode(
        self, params: dict, window: Iterable[Numbered], temperatures: Sequence[float]
    ) -> Iterator[tuple[int, tuple[Clip, Label]]]:
        """At the first temperature; then, all together, those that came out poor at the next."""
        first, *others = temperatures
        again = []
        for number, clip, label in self._labels(params, window, first):
            if others and self.config.fallback and label.is_poor(self.config.fallback):
                again.append((number, clip))
            else:
                yield number, (clip, label)
        if again:
            yield from self._decode(params, again, others)

    def language_of(self, params: dict, samples: np.ndarray) -> str | None:
        """What is spoken in these float32 [n <= 480000]: its code; None if there is but English.

        Heard only where the config names no language.
        """
        if self.config.language is not None or not self.vocabulary.is_multilingual:
            return self.config.language
        rows = pad_samples([samples] * self.batch_shards, CLIP_SAMPLES)
        found = self.detector(params, jax.device_put(rows, split_batch(self.mesh, self.rules)))
        return self._codes[int(np.asarray(found)[0])]

    def _labels(
        self, params: dict, window: Iterable[Numbered], temperature: float
    ) -> Iterator[tuple[int, Clip, Label]]:
        """Batch after batch. While one is being decoded the samples of the next are sent."""
        running = None
        for batch in batches(window, self.batch_size):
            prepared = self._prepare([clip for _, clip in batch], temperature)
            if running:
                yield from self._finish(*running, temperature)
            running = batch, self.start(params, *prepared)
        if running:
            yield from self._finish(*running, temperature)

    def _prepare(self, clips: list[Clip], temperature: float) -> tuple[tuple[Any, ...], bool]:
        """What `start` takes of a batch, filled up with rows that nobody wants."""
        filler = self.batch_size - len(clips)
        prompts = [self._prompt_of(clip) for clip in clips]
        keys = [_key(clip.id) for clip in clips]
        host = (
            self._sound_of(clips),
            np.array(prompts + prompts[-1:] * filler, np.int32),
            np.arange(self.batch_size) < len(clips),
            np.array(keys + keys[-1:] * filler, np.uint32),
            np.full(self.batch_size, temperature, np.float32),
        )
        detect = any(DETECT in prompt for prompt in prompts)
        arrays = jax.device_put(host, split_batch(self.mesh, self.rules))
        return (arrays if temperature else arrays[:3]), detect

    def _prompt_of(self, clip: Clip) -> list[int]:
        """Of the same length for every clip."""
        return self.prompt(clip.language)

    def _sound_of(self, clips: list[Clip]) -> Any:
        """What `start` takes of a batch's sound, for as many rows as a batch has."""
        filler = [np.zeros(0, np.float32)] * (self.batch_size - len(clips))
        return pad_samples([clip.samples for clip in clips] + filler, CLIP_SAMPLES)

    def _finish(
        self,
        batch: list[Numbered],
        started: tuple[Decoded, jax.Array],
        temperature: float,
    ) -> Iterator[tuple[int, Clip, Label]]:
        decoded, prompts = jax.tree.map(np.asarray, started)
        if decoded.speculation is not None:
            self.drafted.update(counted(decoded.speculation))
        languages = prompts[:, 1 - self.prefix_length]  # behind the start token
        for row, (number, clip) in enumerate(batch):
            tokens = decoded.tokens[row, : decoded.lengths[row]].tolist()
            text = self.vocabulary.decode(tokens).strip()
            label = Label(
                text=text,
                tokens=tokens,
                language=self._codes.get(int(languages[row])) if self._codes else "en",
                ended=bool(decoded.ended[row]),
                mean_logprob=float(decoded.mean_logprob[row]),
                mean_entropy=float(decoded.mean_entropy[row]),
                no_speech_prob=float(decoded.no_speech_prob[row]),
                compression_ratio=compression_ratio(text),
                temperature=temperature,
            )
            yield number, clip, label

    @cached_property
    def _codes(self) -> dict[int, str]:
        """The languages by their tokens; none of an English-only model."""
        return {token: code for code, token in self.vocabulary.languages.items()}


def _key(id: str) -> tuple[int, int]:
    """Of the random numbers of a clip: whatever batch it is in, they are the same."""
    digest = sha256(id.encode()).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")

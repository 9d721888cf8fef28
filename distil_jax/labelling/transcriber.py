"""Clips through a model: batches over the device mesh, text and scores back.

The decoding loop is mapped over the data axis: each device runs its own, and stops when its own
clips are done. b batch, p prompt tokens.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from distil_jax.allocator import return_freed_memory
from distil_jax.data.batch import pad_samples
from distil_jax.data.speech import Clip
from distil_jax.labelling.label import Label, compression_ratio
from distil_jax.labelling.order import Numbered, batches, in_order, windows
from distil_jax.labelling.settings import DecodeConfig
from distil_jax.mesh import Rules, replicated, split_batch
from distil_jax.models.architecture import ModelConfig, architecture_of
from distil_jax.models.generate import Decoded, Sampling, detect_language, generate
from distil_jax.models.layers import Compute
from distil_jax.models.log_mel import CLIP_SAMPLES
from distil_jax.models.quantized import WeightDtype, storage, store
from distil_jax.models.token_rules import TokenRules
from distil_jax.models.vocabulary import Vocabulary

_DETECT = -1  # stands in a prompt where the language is to be detected


class _Prepared(NamedTuple):
    """A batch on the devices: samples, prompts and so on, one row a clip."""

    arrays: tuple[jax.Array, ...]
    detect: bool


@dataclass(frozen=True, eq=False)
class Transcriber:
    """Decodes clips with any parameters of one model shape.

    weights: how they lie on the devices.
    """

    model: ModelConfig
    vocabulary: Vocabulary
    generation_config: dict
    config: DecodeConfig
    mesh: Mesh
    rules: Rules
    compute: Compute
    weights: WeightDtype = "auto"
    _decoders: dict[bool, Callable] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, params: dict, clips: Iterable[Clip]) -> Iterator[tuple[Clip, Label]]:
        """Labels in the order of the clips. While some are being decoded the next are read."""
        return in_order(
            done
            for window in windows(clips, self.batch_size)
            for done in self._decode(params, window, (0.0, *self._other_temperatures))
        )

    @property
    def _other_temperatures(self) -> tuple[float, ...]:
        return self.config.fallback.temperatures if self.config.fallback else ()

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

    def _labels(
        self, params: dict, window: Iterable[Numbered], temperature: float
    ) -> Iterator[tuple[int, Clip, Label]]:
        """Batch after batch. While one is being decoded the samples of the next are sent."""
        running = None
        for batch in batches(window, self.batch_size):
            prepared = self._prepare([clip for _, clip in batch], temperature)
            if running:
                yield from self._finish(*running, temperature)
            running = batch, self._start(params, prepared)
        if running:
            yield from self._finish(*running, temperature)

    @property
    def batch_size(self) -> int:
        """The configured size, rounded up to a multiple of the devices that share a batch."""
        return -(-self.config.batch_size // self.batch_shards) * self.batch_shards

    @property
    def batch_shards(self) -> int:
        """How many devices share a batch."""
        return int(np.prod([self.mesh.shape[axis] for axis in self.rules.batch]))

    def place(self, params: dict) -> dict:
        """Parameters on every device in the dtype of `weights`, as decoding wants them."""
        stored = jax.tree.map(store, params, self._storage(params))
        return jax.device_put(stored, replicated(self.mesh))

    def shapes(self, params: dict) -> dict:
        """What `place` would return, as shapes."""
        where = replicated(self.mesh)
        return jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), self._storage(params)
        )

    def _storage(self, params: dict) -> dict:
        table = architecture_of(self.model).NAME_TABLE
        return storage(table, params, self.weights, self.compute.dtype)

    def lower(self, params: dict) -> jax.stages.Lowered:
        """A batch's decoder for parameters of these shapes, to be compiled where no device is."""
        rows = split_batch(self.mesh, self.rules)

        def array(dtype: Any, *sides: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((self.batch_size, *sides), dtype, sharding=rows)

        prompt = len(self.prompt(next(iter(self.vocabulary.codes))))
        return self._decoder(detect=False).lower(
            params, array(jnp.float32, CLIP_SAMPLES), array(jnp.int32, prompt), array(jnp.bool_)
        )

    def prompt(self, language: str | None) -> list[int]:
        """The tokens that decoding starts from, with a place holder where language is unknown."""
        language = language or self.config.language
        timestamps, task = self.config.timestamps, self.config.task
        if language is None and self.vocabulary.is_multilingual:
            some = next(iter(self.vocabulary.languages))
            prefix = self.vocabulary.prefix(some, task, timestamps)
            return [prefix[0], _DETECT, *prefix[2:]]
        return self.vocabulary.prefix(language, task, timestamps)

    @cached_property
    def token_rules(self) -> TokenRules:
        names = self.vocabulary
        return TokenRules(
            end=names.end,
            no_speech=names.no_speech,
            vocab_size=self.model.vocab_size,
            suppress=names.suppress,
            begin_suppress=names.begin_suppress,
            timestamps=self.config.timestamps,
            no_timestamps=names.no_timestamps,
            first_timestamp=names.first_timestamp,
            max_initial_timestamp=self.generation_config.get("max_initial_timestamp_index"),
        )

    def _prepare(self, clips: list[Clip], temperature: float) -> "_Prepared":
        """On the devices what a batch is decoded from, filled up with rows that nobody wants."""
        filler = self.batch_size - len(clips)
        prompts = [self.prompt(clip.language) for clip in clips]
        samples = [clip.samples for clip in clips] + [np.zeros(0, np.float32)] * filler
        keys = [_key(clip.id) for clip in clips]
        host = (
            pad_samples(samples, CLIP_SAMPLES),
            np.array(prompts + prompts[-1:] * filler, np.int32),
            np.arange(self.batch_size) < len(clips),
            np.array(keys + keys[-1:] * filler, np.uint32),
            np.full(self.batch_size, temperature, np.float32),
        )
        detect = any(_DETECT in prompt for prompt in prompts)
        arrays = jax.device_put(host, split_batch(self.mesh, self.rules))
        return _Prepared(arrays if temperature else arrays[:3], detect)

    def _start(self, params: dict, prepared: "_Prepared") -> tuple[Decoded, jax.Array]:
        known = len(self._decoders)
        started = self._decoder(prepared.detect)(params, *prepared.arrays)
        if len(self._decoders) > known:
            return_freed_memory()  # what compiling took
        return started

    def _finish(
        self,
        batch: list[Numbered],
        started: tuple[Decoded, jax.Array],
        temperature: float,
    ) -> Iterator[tuple[int, Clip, Label]]:
        decoded, prompts = jax.tree.map(np.asarray, started)
        codes = {token: code for code, token in self.vocabulary.languages.items()}
        for row, (number, clip) in enumerate(batch):
            tokens = decoded.tokens[row, : decoded.lengths[row]].tolist()
            text = self.vocabulary.decode(tokens).strip()
            label = Label(
                text=text,
                tokens=tokens,
                language=codes.get(int(prompts[row, 1])) if codes else "en",
                ended=bool(decoded.ended[row]),
                mean_logprob=float(decoded.mean_logprob[row]),
                mean_entropy=float(decoded.mean_entropy[row]),
                no_speech_prob=float(decoded.no_speech_prob[row]),
                compression_ratio=compression_ratio(text),
                temperature=temperature,
            )
            yield number, clip, label

    def _decoder(self, detect: bool) -> Callable:
        """The compiled decoder, with language detection or without."""
        if detect not in self._decoders:
            self._decoders[detect] = self._make_decoder(detect)
        return self._decoders[detect]

    def _make_decoder(self, detect: bool) -> Callable:
        def decode(
            params: dict,
            samples: jax.Array,
            prompt: jax.Array,
            wanted: jax.Array,
            *drawn: jax.Array,
        ):
            model = architecture_of(self.model).bind(self.model, self.compute, params)
            room = self.model.max_target_positions - prompt.shape[1]
            encoded = model.encode(samples)
            if detect:
                languages = tuple(self.vocabulary.languages.values())
                found = detect_language(model.decoder, encoded, self.vocabulary.start, languages)
                prompt = jnp.where(prompt == _DETECT, found[:, None], prompt)
            decoded = generate(
                model.decoder,
                encoded,
                prompt,
                0,
                self.token_rules,
                min(self.config.max_new_tokens, room),
                wanted,
                Sampling(*drawn) if drawn else None,
            )
            return decoded, prompt

        rows = self.rules.spec(["batch"])

        def mapped(params: dict, *arrays: jax.Array) -> tuple[Decoded, jax.Array]:
            return jax.shard_map(
                decode,
                mesh=self.mesh,
                in_specs=(PartitionSpec(), *[rows] * len(arrays)),
                out_specs=rows,
                check_vma=False,
            )(params, *arrays)

        return jax.jit(mapped)


def _key(id: str) -> tuple[int, int]:
    """Of the random numbers of a clip: whatever batch it is in, they are the same."""
    digest = sha256(id.encode()).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")

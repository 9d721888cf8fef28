"""Clips through a model: batches over the device mesh, text and scores back.

The decoding loop is mapped over the data axis: each device runs its own, and stops when its own
clips are done. b batch, p prompt tokens.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from distil_jax.allocator import return_freed_memory
from distil_jax.data.batch import pad_samples
from distil_jax.data.speech import Clip
from distil_jax.labelling.settings import DecodeConfig
from distil_jax.mesh import Rules, replicated, split_batch
from distil_jax.models.architecture import ModelConfig, architecture_of
from distil_jax.models.generate import Decoded, detect_language, greedy
from distil_jax.models.layers import Compute
from distil_jax.models.log_mel import CLIP_SAMPLES
from distil_jax.models.quantized import WeightDtype, storage, store
from distil_jax.models.token_rules import TokenRules
from distil_jax.models.vocabulary import Vocabulary

_DETECT = -1  # stands in a prompt where the language is to be detected


@dataclass(frozen=True)
class Label:
    """What a model made of one clip. Scores as in models.generate.Decoded."""

    text: str
    tokens: list[int]
    language: str | None
    ended: bool
    mean_logprob: float
    mean_entropy: float
    no_speech_prob: float
    compression_ratio: float


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

    def __call__(self, params: dict, clips: Iterable[Clip]) -> Iterator[tuple[Clip, Label]]:
        """Labels in the order of the clips. While one batch is being computed the next is read.

        Only one is on the devices at a time: two would take twice the memory.
        """
        waiting = None
        for number, batch in enumerate(_batches(clips, self.batch_size)):
            if waiting:
                yield from self._finish(*waiting)
            waiting = batch, self._start(params, batch)
            if number == 0:
                return_freed_memory()  # what compiling took
        if waiting:
            yield from self._finish(*waiting)

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
        return self._decoders[False].lower(
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

    def _start(self, params: dict, clips: list[Clip]) -> tuple[Decoded, jax.Array]:
        """Send a batch off, filled up with rows that nobody wants."""
        filler = self.batch_size - len(clips)
        prompts = [self.prompt(clip.language) for clip in clips]
        samples = [clip.samples for clip in clips] + [np.zeros(0, np.float32)] * filler
        host = (
            pad_samples(samples, CLIP_SAMPLES),
            np.array(prompts + prompts[-1:] * filler, np.int32),
            np.arange(self.batch_size) < len(clips),
        )
        detect = any(_DETECT in prompt for prompt in prompts)
        arrays = jax.device_put(host, split_batch(self.mesh, self.rules))
        return self._decoders[detect](params, *arrays)

    def _finish(
        self, clips: list[Clip], started: tuple[Decoded, jax.Array]
    ) -> Iterator[tuple[Clip, Label]]:
        decoded, prompts = jax.tree.map(np.asarray, started)
        codes = {token: code for code, token in self.vocabulary.languages.items()}
        for row, clip in enumerate(clips):
            tokens = decoded.tokens[row, : decoded.lengths[row]].tolist()
            text = self.vocabulary.decode(tokens).strip()
            language = codes.get(int(prompts[row, 1])) if codes else "en"
            yield (
                clip,
                Label(
                    text=text,
                    tokens=tokens,
                    language=language,
                    ended=bool(decoded.ended[row]),
                    mean_logprob=float(decoded.mean_logprob[row]),
                    mean_entropy=float(decoded.mean_entropy[row]),
                    no_speech_prob=float(decoded.no_speech_prob[row]),
                    compression_ratio=compression_ratio(text),
                ),
            )

    @cached_property
    def _decoders(self) -> dict:
        """The compiled decoders, without and with language detection."""
        return {detect: self._make_decoder(detect) for detect in (False, True)}

    def _make_decoder(self, detect: bool):
        def decode(params: dict, samples: jax.Array, prompt: jax.Array, wanted: jax.Array):
            model = architecture_of(self.model).bind(self.model, self.compute, params)
            room = self.model.max_target_positions - prompt.shape[1]
            encoded = model.encode(samples)
            if detect:
                languages = tuple(self.vocabulary.languages.values())
                found = detect_language(model.decoder, encoded, self.vocabulary.start, languages)
                prompt = jnp.where(prompt == _DETECT, found[:, None], prompt)
            decoded = greedy(
                model.decoder,
                encoded,
                prompt,
                0,
                self.token_rules,
                min(self.config.max_new_tokens, room),
                wanted,
            )
            return decoded, prompt

        rows = self.rules.spec(["batch"])
        mapped = jax.shard_map(
            decode,
            mesh=self.mesh,
            in_specs=(PartitionSpec(), rows, rows, rows),
            out_specs=rows,
            check_vma=False,
        )
        return jax.jit(mapped)


def compression_ratio(text: str) -> float:
    """Bytes of the text by bytes of its zlib compression: repetition makes it high (OpenAI)."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _batches(clips: Iterable[Clip], size: int) -> Iterator[list[Clip]]:
    clips = iter(clips)
    while batch := list(islice(clips, size)):
        yield batch

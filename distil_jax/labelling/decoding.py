"""A model's decoding as programs for a device mesh.

The decoding loop is mapped over the data axis: each device runs its own, and stops when its own
clips are done. b batch, p prompt tokens.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from distil_jax.allocator import return_freed_memory
from distil_jax.labelling.draft import Draft
from distil_jax.labelling.settings import DecodeConfig
from distil_jax.mesh import Rules, replicated, split_batch
from distil_jax.models.architecture import ModelConfig, architecture_of
from distil_jax.models.generate import Decoded, Sampling, detect_language, generate
from distil_jax.models.layers import Compute
from distil_jax.models.log_mel import CLIP_SAMPLES, SAMPLE_RATE, Excerpt
from distil_jax.models.quantized import WeightDtype, storage, store
from distil_jax.models.speculative import DraftModel, speculate
from distil_jax.models.token_rules import TokenRules
from distil_jax.models.vocabulary import Vocabulary
from distil_jax.models.whisper import Whisper
from distil_jax.models.whisper_decoder import Decoder

DETECT = -1  # stands in a prompt where the language is to be detected
PADDING = -2  # stands before a prompt with less earlier text than its batch has room for
# Speech of so long has more tokens than decoding can do without keys and values of the encoder's.
_LONG_TEXT_SECONDS = 15


@dataclass(frozen=True, eq=False)
class Decoding:
    """Decodes batches with any parameters of one model shape.

    weights: how they lie on the devices. draft: the model that writes ahead, if there is one;
    drafted: sums by the names of Speculation, of all that was decoded.
    """

    model: ModelConfig
    vocabulary: Vocabulary
    generation_config: dict
    config: DecodeConfig
    mesh: Mesh
    rules: Rules
    compute: Compute
    weights: WeightDtype = "auto"
    draft: Draft | None = None
    drafted: Counter[str] = field(default_factory=Counter, repr=False)
    _decoders: dict[bool, Callable] = field(default_factory=dict, init=False, repr=False)

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

        prompt = array(jnp.int32, self.prefix_length)
        return self.decoder(detect=False).lower(
            (params, None), array(jnp.float32, CLIP_SAMPLES), prompt, array(jnp.bool_)
        )

    def take_drafted(self) -> Counter[str]:
        """What was drafted since the last call; empty without a draft model."""
        taken = Counter(self.drafted)
        self.drafted.clear()
        return taken

    @cached_property
    def prefix_length(self) -> int:
        """How many tokens of a prompt are no earlier text: the start token and those after it."""
        return len(self.prompt(next(iter(self.vocabulary.codes))))

    def prompt(self, language: str | None) -> list[int]:
        """The tokens that decoding starts from, with a place holder where language is unknown."""
        language = language or self.config.language
        timestamps, task = self.config.timestamps, self.config.task
        if language is None and self.vocabulary.is_multilingual:
            some = next(iter(self.vocabulary.languages))
            prefix = self.vocabulary.prefix(some, task, timestamps)
            return [prefix[0], DETECT, *prefix[2:]]
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

    def start(
        self, params: dict, arrays: tuple[jax.Array | Excerpt, ...], detect: bool
    ) -> tuple[Decoded, jax.Array]:
        """Send a batch off; -> what becomes of it, and the prompts [b, p] with their languages.

        arrays: samples [b, 480000] or an Excerpt, prompts [b, p] and which rows are wanted [b];
        where tokens are to be drawn, also the fields of Sampling.
        """
        known = len(self._decoders)
        started = self.decoder(detect)((params, self._draft_params), *arrays)
        if len(self._decoders) > known:
            return_freed_memory()  # what compiling took
        return started

    def decoder(self, detect: bool) -> Callable:
        """The program that `start` runs, with language detection or without.

        (both models' parameters, *arrays) -> Decoded, prompts
        """
        if detect not in self._decoders:
            self._decoders[detect] = self._make_decoder(detect)
        return self._decoders[detect]

    @cached_property
    def detector(self) -> Callable:
        """The program that detects languages: (params, samples [b, 480000]) -> tokens [b]."""

        def detect(params: dict, samples: jax.Array) -> jax.Array:
            model = architecture_of(self.model).bind(self.model, self.compute, params)
            return self._detect(model.decoder, model.encode(samples))

        return self.mapped(detect)

    def _make_decoder(self, detect: bool) -> Callable:
        def decode(
            models: tuple[dict, dict | None],
            sound: jax.Array | Excerpt,
            prompt: jax.Array,
            wanted: jax.Array,
            *drawn: jax.Array,
        ):
            params, drafting = models
            model = architecture_of(self.model).bind(self.model, self.compute, params)
            encoded = _encode(model, sound, wanted)
            if detect:
                found = self._detect(model.decoder, encoded)
                prompt = jnp.where(prompt == DETECT, found[:, None], prompt)
            start = prompt.shape[1] - self.prefix_length
            rest = (
                encoded,
                jnp.where(prompt == PADDING, self.vocabulary.end, prompt),
                start,
                self.token_rules,
                min(self.config.max_new_tokens, self.model.max_target_positions - prompt.shape[1]),
                wanted,
                Sampling(*drawn) if drawn else None,
                jnp.sum(prompt == PADDING, axis=1) if start else None,
            )
            if drafting is None:
                long_text = _expects_long_text(sound, wanted)
                return generate(model.decoder, *rest, long_text=long_text), prompt
            draft = self._draft_model(params, drafting, sound, wanted, encoded)
            return speculate(model.decoder, draft, *rest), prompt

        return self.mapped(decode)

    @cached_property
    def _draft_params(self) -> dict | None:
        """On every device."""
        if self.draft is None:
            return None
        table = architecture_of(self.draft.model).NAME_TABLE
        like = storage(table, self.draft.params, "auto", self.compute.dtype)
        stored = jax.tree.map(store, self.draft.params, like)
        return jax.device_put(stored, replicated(self.mesh))

    def _draft_model(
        self,
        params: dict,
        own: dict,
        sound: jax.Array | Excerpt,
        wanted: jax.Array,
        encoded: jax.Array,
    ) -> DraftModel:
        """encoded: what the teacher's encoder made of the sound; it may be the draft's, too."""
        assert self.draft is not None
        shared = "encoder" not in own
        whole = {"encoder": params["encoder"], **own}
        model = architecture_of(self.draft.model).bind(self.draft.model, self.compute, whole)
        heard = encoded if shared else _encode(model, sound, wanted)
        return DraftModel(model.decoder, heard, self.draft.tokens)

    def _detect(self, decoder: Decoder, encoded: jax.Array) -> jax.Array:
        languages = tuple(self.vocabulary.languages.values())
        return detect_language(decoder, encoded, self.vocabulary.start, languages)

    def mapped(self, function: Callable) -> Callable:
        """function(params, *arrays of [b, ...]) -> [b, ...], on each device for its own rows.

        params: of one model or several.
        """
        rows = self.rules.spec(["batch"])

        def mapped(params: Any, *arrays: jax.Array | Excerpt) -> Any:
            return jax.shard_map(
                function,
                mesh=self.mesh,
                in_specs=(PartitionSpec(), *[rows] * len(arrays)),
                out_specs=rows,
                check_vma=False,
            )(params, *arrays)

        return jax.jit(mapped)


def _encode(model: Whisper, sound: jax.Array | Excerpt, wanted: jax.Array) -> jax.Array:
    if isinstance(sound, Excerpt):
        return model.encode_excerpt(sound, wanted)
    return model.encode(sound, wanted)


def _expects_long_text(sound: jax.Array | Excerpt, wanted: jax.Array) -> jax.Array | bool:
    """Whether a clip that is wanted goes on for so long: clips are padded with zeros."""
    if isinstance(sound, Excerpt):
        return True
    return jnp.any(jnp.any(sound[:, _LONG_TEXT_SECONDS * SAMPLE_RATE :] != 0, axis=1) & wanted)

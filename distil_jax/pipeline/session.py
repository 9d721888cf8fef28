"""What every stage of a run needs, made when first asked for: folder, devices, teacher, corpora."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import jax
from jax.sharding import Mesh

from distil_jax import processes
from distil_jax.allocator import share_freed_memory
from distil_jax.compile_cache import keep_compiled_programs
from distil_jax.config import RunConfig, at_key, dump_config
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip, Corpus, Utterance, clips, open_corpus
from distil_jax.errors import ConfigError
from distil_jax.export.formats import check_exportable
from distil_jax.labelling.draft import Draft, check_vocabulary
from distil_jax.labelling.settings import DecodeConfig
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.mesh import MeshConfig, Rules, make_mesh, platform
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.layers import Compute
from distil_jax.models.pretrained import Pretrained, load_pretrained
from distil_jax.models.quantized import WeightDtype
from distil_jax.run import ONLY_STUDENT, RunFolder, fingerprint, write_text
from distil_jax.settings import AnyDtype, Dtype
from distil_jax.students.layer_copy import check_frozen_layers, copy_layers, student_shape
from distil_jax.training.optimizer import split_frozen

Use = Literal["train", "validation", "evaluation", "long_form"]


@dataclass(frozen=True, eq=False)
class Session:
    """One process's work on one run."""

    config: RunConfig

    def __post_init__(self) -> None:
        if platform() == "cpu":
            share_freed_memory()
        set_up_jax()

    def write_config(self) -> None:
        """Leave the config, defaults and all, in the run folder.

        A stage does it once it knows that what the folder holds was made with the same settings.
        """
        if processes.is_writer():
            write_text(self.folder.config, dump_config(self.config))

    @property
    def folder(self) -> RunFolder:
        return self.config.folder

    @cached_property
    def mesh(self) -> Mesh:
        return make_mesh(self.config.mesh)

    @property
    def batch_shards(self) -> int:
        """How many devices share a batch."""
        return math.prod(self.mesh.shape[axis] for axis in self.config.mesh.rules.batch)

    @cached_property
    def decoding_mesh(self) -> Mesh:
        """Of this process's own devices: each process decodes its own clips, at its own pace."""
        if processes.count() == 1:
            return self.mesh
        return make_mesh(MeshConfig(), jax.local_devices())

    @property
    def _decoding_rules(self) -> Rules:
        alone = self.decoding_mesh is self.mesh
        return self.config.mesh.rules if alone else MeshConfig().rules

    @cached_property
    def quarantine(self) -> Quarantine:
        return Quarantine(self.folder.quarantine)

    @cached_property
    def teacher(self) -> Pretrained:
        teacher = self.config.teacher
        with at_key("teacher.weights"):
            return load_pretrained(teacher.weights, teacher.sha256, teacher.revision)

    @cached_property
    def draft(self) -> Pretrained | None:
        """The model that drafts labels, if there is one."""
        speculative = self.config.label.speculative
        if speculative is None:
            return None
        with at_key("label.speculative.student"):
            return load_pretrained(speculative.student, revision=speculative.revision)

    @cached_property
    def students(self) -> dict[str, ModelConfig]:
        """The shape of each student, by name."""
        shapes = {}
        for name, config in self.config.named_students.items():
            with self._at_student(name):
                shapes[name] = student_shape(self.teacher.config, config)
        return shapes

    def newborn_student(self, name: str) -> dict:
        """A student's parameters before training: copied layers."""
        return copy_layers(self.teacher.params, self.teacher.config, self.students[name])

    def _at_student(self, name: str) -> AbstractContextManager[None]:
        return at_key("student" if name == ONLY_STUDENT else f"students.{name}")

    def for_each_student(self, work: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        """What `work` says of the run's only student; or of each of several, by name."""
        done = {name: work(name) for name in self.students}
        return done.get(ONLY_STUDENT, {"students": done})

    def corpora(self, use: Use) -> dict[str, Corpus]:
        """The config's corpora for one use, by name."""
        opened = {}
        for name, config in getattr(self.config.data, use).items():
            with at_key(f"data.{use}.{name}"):
                opened[name] = open_corpus(name, config)
        return opened

    def clips(self, corpus: str, utterances: Iterable[Utterance]) -> Iterator[Clip]:
        """The clips of a corpus's utterances; what the teacher cannot use is set aside."""
        return clips(corpus, utterances, self.quarantine, self.teacher.vocabulary.codes)

    def check_inputs(self) -> None:
        """Open everything that the config names, so that a mistake is found before the work."""
        for use in get_args(Use):
            self.corpora(use)
        self.check_decoding("label")
        for score in self.config.filter.measured:
            with at_key(f"filter.scores, {score.name}"):
                score.check()
        self.check_training()
        self.check_decoding("evaluate")
        self.check_export()

    def check_decoding(self, section: Literal["label", "evaluate"]) -> None:
        """Raises UserError when the teacher lacks a section's language or task.

        And where the model that drafts labels has another vocabulary.
        """
        decode, vocabulary = getattr(self.config, section), self.teacher.vocabulary
        if decode.language is not None or not vocabulary.is_multilingual:
            with at_key(f"{section}.language"):
                vocabulary.prefix(decode.language, decode.task)
        if section == "label" and self.draft is not None:
            with at_key("label.speculative.student"):
                check_vocabulary(self.draft, self.teacher)

    def check_training(self) -> None:
        """Raises ConfigError when batch, devices, students and what is frozen do not fit."""
        train = self.config.train
        parts = train.accumulation * self.batch_shards
        if train.batch_size % parts:
            raise ConfigError(
                f"train.batch_size: got {train.batch_size}, expected a multiple of {parts} "
                f"(train.accumulation times the devices that share a batch)"
            )
        for name, student in self.students.items():
            split_frozen(self.newborn_student(name), train.freeze)
            with self._at_student(name):
                check_frozen_layers(self.teacher.config, student, train.freeze)
        self._check_signals()

    def check_export(self) -> None:
        """Raises ConfigError when a format of the export cannot hold a student."""
        for shape in self.students.values():
            with at_key("export.formats"):
                check_exportable(shape, self.teacher.vocabulary, self.config.export)

    def _check_signals(self) -> None:
        signals, tokens = self.config.signals, self.teacher.config.vocab_size
        if signals and signals.top_k != "all" and signals.top_k >= tokens:
            raise ConfigError(
                f"signals.top_k: got {signals.top_k}, but the teacher has {tokens} tokens; "
                f"allowed: 1 to {tokens - 1}, or all"
            )

    def labeller(self) -> Transcriber:
        """The teacher as it labels, with the model that drafts for it."""
        plain, label = self.teacher_transcriber(self.config.label), self.config.label
        if self.draft is None or label.speculative is None:
            return plain
        model, teacher, tokens = self.draft, self.teacher, label.speculative.tokens
        draft = Draft.of(model.config, model.params, tokens, teacher.config, teacher.params)
        return replace(plain, draft=draft)

    def teacher_transcriber(self, decode: DecodeConfig) -> Transcriber:
        return self.transcriber(self.teacher.config, decode, self.config.teacher.weight_dtype)

    def transcriber(
        self, model: ModelConfig, decode: DecodeConfig, weights: WeightDtype = "auto"
    ) -> Transcriber:
        return Transcriber(
            model=model,
            vocabulary=self.teacher.vocabulary,
            generation_config=self.teacher.generation_config,
            config=decode,
            mesh=self.decoding_mesh,
            rules=self._decoding_rules,
            compute=Compute(dtype=compute_dtype(decode.dtype), attention=decode.attention),
            weights=weights,
        )

    def transcriber_of(self, model: Pretrained) -> Transcriber:
        """Decodes as the teacher labels, with any model and its own vocabulary."""
        return replace(
            self.transcriber(model.config, self.config.label),
            vocabulary=model.vocabulary,
            generation_config=model.generation_config,
        )

    def label_fingerprint(self, corpus: str) -> str:
        """What the labels of a corpus depend on."""
        how = {"batch_size", "speculative"}
        label = self.config.label.model_dump(mode="json", exclude=how)
        data = self.config.data.train[corpus].model_dump(mode="json")
        weights = self.config.teacher.weight_dtype
        return fingerprint(self.teacher.fingerprint, weights, label, data, *self._drafted_with())

    def _drafted_with(self) -> list[Any]:
        """What labels owe to the model that drafts them.

        Nothing where each token is the likeliest, in float32. Draws are others with other drafts;
        and in bfloat16 tokens may be equally likely, when it takes little to choose the other.
        """
        label = self.config.label
        exact = label.fallback is None and compute_dtype(label.dtype) == "float32"
        if self.draft is None or label.speculative is None or exact:
            return []
        return [self.draft.fingerprint, label.speculative.tokens]


def set_up_jax() -> None:
    """What holds for all programs of a run."""
    if platform() != "cpu":
        # float32 means float32; bfloat16 products are what they are either way.
        jax.config.update("jax_default_matmul_precision", "highest")
    if platform() == jax.default_backend():  # and not compiling for devices elsewhere
        keep_compiled_programs()


def compute_dtype(setting: AnyDtype) -> Dtype:
    """What `auto` means here: bfloat16, but float32 on a CPU."""
    if setting != "auto":
        return setting
    return "float32" if platform() == "cpu" else "bfloat16"

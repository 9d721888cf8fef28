"""What every stage of a run needs: config, folder, devices, teacher; each made when first asked for."""

from dataclasses import dataclass
from functools import cached_property

import jax
from jax.sharding import Mesh

from distil_jax.config import RunConfig, dump_config
from distil_jax.data.speech import Corpus, Quarantine, SpeechConfig, open_corpus
from distil_jax.labelling.settings import DecodeConfig
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.mesh import make_mesh
from distil_jax.models.layers import Compute
from distil_jax.models.pretrained import Pretrained, load_pretrained
from distil_jax.models.whisper import WhisperConfig
from distil_jax.run import RunFolder, fingerprint, write_text
from distil_jax.students.layer_copy import copy_layers, student_shape


@dataclass(frozen=True, eq=False)
class Session:
    """One process's work on one run."""

    config: RunConfig

    def write_config(self) -> None:
        """Leave the config, defaults and all, in the run folder."""
        write_text(self.folder.config, dump_config(self.config))

    @property
    def folder(self) -> RunFolder:
        return self.config.folder

    @cached_property
    def mesh(self) -> Mesh:
        return make_mesh(self.config.mesh)

    @cached_property
    def quarantine(self) -> Quarantine:
        return Quarantine(self.folder.quarantine)

    @cached_property
    def teacher(self) -> Pretrained:
        teacher = self.config.teacher
        return load_pretrained(teacher.weights, teacher.sha256, teacher.revision)

    @cached_property
    def student_config(self) -> WhisperConfig:
        return student_shape(self.teacher.config, self.config.student)

    def newborn_student(self) -> dict:
        """The student's parameters before training: copied layers."""
        return copy_layers(self.teacher.params, self.teacher.config, self.student_config)

    def corpora(self, configs: dict[str, SpeechConfig]) -> dict[str, Corpus]:
        return {name: open_corpus(name, config) for name, config in configs.items()}

    def transcriber(self, model: WhisperConfig, decode: DecodeConfig) -> Transcriber:
        return Transcriber(
            model=model,
            vocabulary=self.teacher.vocabulary,
            generation_config=self.teacher.generation_config,
            config=decode,
            mesh=self.mesh,
            rules=self.config.mesh.rules,
            compute=Compute(dtype=compute_dtype(decode.dtype)),
        )

    def label_fingerprint(self, corpus: str) -> str:
        """What the labels of a corpus depend on."""
        label = self.config.label.model_dump(mode="json", exclude={"batch_size"})
        data = self.config.data.train[corpus].model_dump(mode="json")
        return fingerprint(self.teacher.fingerprint, label, data)


def compute_dtype(setting: str) -> str:
    """What `auto` means here: bfloat16, but float32 on a CPU."""
    if setting != "auto":
        return setting
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"

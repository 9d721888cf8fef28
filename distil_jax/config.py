"""One run, described on one page: each room's own section, put together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from distil_jax.config_file import at_key, dump_config, read_config_file
from distil_jax.data.speech import SpeechConfig
from distil_jax.evaluation.settings import EvaluateConfig
from distil_jax.export.settings import ExportConfig
from distil_jax.labelling.filters import FilterConfig
from distil_jax.labelling.settings import LabelConfig, SignalsConfig
from distil_jax.mesh import MeshConfig
from distil_jax.objectives import AnyObjective, LossTerm
from distil_jax.run import ONLY_STUDENT, RunFolder
from distil_jax.scaling.settings import PlanConfig
from distil_jax.settings import Settings
from distil_jax.students.layer_copy import StudentConfig
from distil_jax.training.settings import TrainConfig

__all__ = ["DataConfig", "RunConfig", "TeacherConfig", "at_key", "dump_config", "load_config"]

# The name of a corpus or a student becomes a folder's, and a step of a dotted override.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class TeacherConfig(Settings):
    # A folder (Hugging Face or CTranslate2), package:NAME/path, a hub id, or the parts of one
    # CTranslate2 model in their order.
    weights: str | list[str]
    # Of the weights' bytes; checked before use. None: not checked.
    sha256: str | None = None
    # A branch, tag or commit of the hub. None: the newest.
    revision: str | None = None
    # How its weights lie on the devices wherever it runs: auto is the dtype of the products there
    # (label.dtype, train.dtype, evaluate.dtype); int8 are linear kernels of 8 bits with a scale an
    # output channel. An encoder that a student shares in training stays in auto.
    weight_dtype: Literal["auto", "float32", "bfloat16", "int8"] = "auto"


class DataConfig(Settings):
    # Labelled, filtered and trained on.
    train: dict[Name, SpeechConfig] = Field(min_length=1)
    # Chooses the checkpoint; never trained on.
    validation: dict[Name, SpeechConfig] = {}
    # Compared at the end, teacher beside student.
    evaluation: dict[Name, SpeechConfig] = {}
    # Recordings of any length with the text of all of it, heard whole (evaluate.long_form says how)
    # and compared like the others.
    long_form: dict[Name, SpeechConfig] = {}

    @model_validator(mode="after")
    def _one_source_a_name(self) -> "DataConfig":
        """Set-aside utterances and results are kept by these names."""
        for use in ("validation", "evaluation", "long_form"):
            sources: dict[str, SpeechConfig] = getattr(self, use)
            for name, source in sources.items():
                same = self.train.get(name, source)
                if (same.path, same.name, same.split) != (source.path, source.name, source.split):
                    raise ValueError(
                        f"{use}.{name} is another source than train.{name}; give it another name"
                    )
        for name in ("summary", "no_speech"):
            if name in self.compared:
                raise ValueError(f"evaluation.{name} is the name of a file of ours; choose another")
        twice = self.evaluation.keys() & self.long_form.keys()
        if twice:
            raise ValueError(f"{min(twice)} is a name in evaluation and in long_form; change one")
        return self

    @property
    def compared(self) -> dict[str, SpeechConfig]:
        """All sets on which teacher and student are compared."""
        return {**self.evaluation, **self.long_form}


class RunConfig(Settings):
    name: str
    # Where everything of this run is kept.
    run_dir: str
    # Of the order of the data and every draw.
    seed: int = Field(default=0, ge=0)
    mesh: MeshConfig = MeshConfig()
    teacher: TeacherConfig
    data: DataConfig
    label: LabelConfig = LabelConfig()
    filter: FilterConfig = FilterConfig()
    # Keep what the teacher shows on disk, and train on that. null: the teacher runs in each step.
    signals: SignalsConfig | None = None
    # One student; or several by name, trained at once, each with a folder in students/ of the run.
    student: StudentConfig | None = None
    students: dict[Name, StudentConfig] = {}
    objectives: tuple[AnyObjective, ...] = Field(min_length=1)
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    export: ExportConfig = ExportConfig()
    plan: PlanConfig = PlanConfig()

    @field_validator("objectives")
    @classmethod
    def _each_once(cls, objectives: tuple[LossTerm, ...]) -> tuple[LossTerm, ...]:
        names = [objective.name for objective in objectives]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice; each may be listed once")
        return objectives

    @model_validator(mode="after")
    def _signals_stay(self) -> "RunConfig":
        """A cache holds one target of each clip, and one encoder's states."""
        if self.signals is None:
            return self
        for key in ("timestamp_probability", "previous_text_probability"):
            chance = getattr(self.train, key)
            if chance not in (0, 1):
                raise ValueError(
                    f"train.{key} is {chance}, so that targets vary from epoch to epoch; with a "
                    f"signals cache it must be 0 or 1 (or signals=null)"
                )
        if self.signals.encoder_states and "encoder" not in self.train.freeze:
            raise ValueError(
                "signals.encoder_states is true, but the student's encoder is trained: the states "
                "of another are of no use. Set it to false, or add encoder to train.freeze"
            )
        return self

    @model_validator(mode="after")
    def _one_student_or_several(self) -> "RunConfig":
        if (self.student is None) == (not self.students):
            got = "both `student` and `students`" if self.students else "no student"
            raise ValueError(
                f"got {got}; expected either `student: {{decoder_layers: 2}}`, or several with "
                f"their names, as `students: {{small: {{decoder_layers: 2}}, ...}}`"
            )
        if ONLY_STUDENT in self.students:
            raise ValueError(f"students.{ONLY_STUDENT}: that is what one without a name is called")
        return self

    @property
    def named_students(self) -> dict[str, StudentConfig]:
        """All students of the run by name; a single one is called ONLY_STUDENT."""
        return {ONLY_STUDENT: self.student} if self.student else self.students

    @property
    def folder(self) -> RunFolder:
        return RunFolder(Path(self.run_dir))


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The config at `path` with dotted `overrides` (`train.steps=200`, values in YAML).

    `path` may be the folder of a run: then its own config is read, and the run is where the folder
    is now, wherever it was made (but an override of run_dir holds).

    Raises:
        ConfigError: names every wrong key by its full path, with what was got and what is allowed.
    """
    config = read_config_file(RunConfig, Path(path), overrides)
    moved = Path(path).is_dir() and not any(each.startswith("run_dir=") for each in overrides)
    return config.model_copy(update={"run_dir": str(path)}) if moved else config

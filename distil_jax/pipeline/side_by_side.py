"""The teacher and the students of a run, and what is measured of them side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from distil_jax import processes
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.train import train_fingerprint, trained_student
from distil_jax.run import ONLY_STUDENT, fingerprint, of_student, read_json, write_json

Role = Literal["teacher", "student"]


@dataclass(frozen=True, eq=False)
class Model:
    """A model ready to decode. params: on the devices; parameters: how many numbers.

    student: its name, where the role is that of a student.
    """

    role: Role
    student: str
    transcriber: Transcriber
    params: dict
    parameters: int

    @classmethod
    def make(
        cls, role: Role, transcriber: Transcriber, params: dict, student: str = ONLY_STUDENT
    ) -> "Model":
        count = sum(int(np.size(a)) for a in jax.tree.leaves(params))
        return cls(role, student, transcriber, transcriber.place(params), count)

    @property
    def name(self) -> str:
        """What a log calls it."""
        return of_student(self.role, self.student)


@dataclass(frozen=True, eq=False)
class Measure:
    """One thing by which the students are compared with the teacher.

    name: of its files in a student's evaluation folder, without the suffix. depends: JSON values
    that change what comes out, beside training, step and the settings of decoding. take: what one
    model shows, by all processes together. compare: both sides' into one JSON value; may write
    tables beside `path`, which is the path of its own JSON file. data: the state of the corpus that
    is heard; None: none, or not known in advance.
    """

    name: str
    depends: tuple[Any, ...]
    take: Callable[[Model], Any]
    compare: Callable[[Mapping[Role, Any], Path], Any]
    data: str | None = None


@dataclass(frozen=True, eq=False)
class SideBySide:
    """The models of a run. steps: of the students' checkpoints, by name."""

    session: Session
    teacher: Model
    students: dict[str, Model]
    steps: dict[str, int]

    @classmethod
    def of(cls, session: Session) -> "SideBySide":
        """All models on the devices. Raises UserError when a student is not trained yet."""
        trained = {name: trained_student(session, name) for name in session.students}
        session.write_config()
        decode = session.config.evaluate
        students = {
            name: Model.make(
                "student", session.transcriber(session.students[name], decode), params, name
            )
            for name, (params, _) in trained.items()
        }
        teacher = Model.make("teacher", session.teacher_transcriber(decode), session.teacher.params)
        return cls(session, teacher, students, {name: step for name, (_, step) in trained.items()})

    def measure(self, measure: Measure) -> dict[str, Any]:
        """What compares each student with the teacher, by the student's name.

        What is known of before is not measured again; the teacher is measured once, however many
        students are compared with it.
        """
        made_with = {name: self._made_with(measure, name) for name in self.students}
        found = {
            name: known(self._path(measure, name), made_with[name], measure.data)
            for name in self.students
        }
        missing = [name for name, compared in found.items() if compared is None]
        taught = measure.take(self.teacher) if missing else None
        for name in missing:
            pair: dict[Role, Any] = {
                "teacher": taught,
                "student": measure.take(self.students[name]),
            }
            path = self._path(measure, name)
            found[name] = measure.compare(pair, path)
            if processes.is_writer():
                told = {"made_with": made_with[name], "data": measure.data, "compared": found[name]}
                write_json(path, told)
        return found

    def _path(self, measure: Measure, student: str) -> Path:
        return self.session.folder.of_student(student).evaluation / f"{measure.name}.json"

    def _made_with(self, measure: Measure, student: str) -> str:
        decoding = self.session.config.evaluate.decoding
        return fingerprint(self._trained, student, self.steps[student], decoding, *measure.depends)

    @cached_property
    def _trained(self) -> str:
        return train_fingerprint(self.session)


def known(path: Path, made_with: str, data: str | None = None) -> Any | None:
    """What a measure left at `path`, if it was made with the same models, settings and data.

    data: None where that is not to be looked at.
    """
    found = read_json(path)
    if found is None or found["made_with"] != made_with or data not in (None, found["data"]):
        return None
    return found["compared"]

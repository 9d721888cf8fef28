"""What a score is: a frozen piece of config that says of every label how far it may be trusted.

A score that needs only what labelling left is a pure function of the label table. One that must
look at the sound again (with a second model, say) measures that once, in columns of its own, and
is then a pure function of these.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from distil_jax.data.speech import Clip
from distil_jax.data.text import count_errors
from distil_jax.settings import Settings

if TYPE_CHECKING:
    from distil_jax.labelling.transcriber import Transcriber
    from distil_jax.models.pretrained import Pretrained

# (row of the label table, its clip) -> {"id", and what the score adds}; clips of which there is
# nothing to say may be left out.
Measurer = Callable[[Iterable[tuple[dict, Clip]]], Iterator[dict[str, Any]]]


@dataclass(frozen=True)
class Models:
    """What scores that listen again may listen with.

    transcriber_of: decodes with the teacher, or a model of the score's own choice, as labels are.
    """

    teacher: "Pretrained"
    transcriber_of: Callable[["Pretrained"], "Transcriber"]


class Score(Settings, ABC):
    """A number for every label. Subclasses give `name` a Literal.

    good: the end at which the good labels are. columns: what it reads of the label table
    (labelling.store.SCHEMA; `errors` and `length` as of error_rate.with_errors).
    """

    name: str
    good: ClassVar[Literal["high", "low"]]
    columns: ClassVar[tuple[str, ...]]

    @abstractmethod
    def of(self, labels: pa.Table) -> np.ndarray:
        """float64 [rows], NaN where the score cannot tell. A pure function of `columns`."""

    def badness(self, labels: pa.Table) -> np.ndarray:
        """The score turned so that low is good, float64 [rows]."""
        return self.of(labels) if self.good == "low" else -self.of(labels)


class MeasuredScore(Score):
    """A score of columns that a stage measures once. adds: these columns, of its own table."""

    adds: ClassVar[tuple[pa.Field, ...]]

    @abstractmethod
    def check(self) -> None:
        """Raises UserError where something that measuring needs is not there."""

    @abstractmethod
    def measurer(self, models: Models) -> Measurer:
        """What measures clips."""


def error_rate(reference: str, text: str, language: str | None) -> float:
    """Percent; an empty reference counts as one word."""
    errors = count_errors(reference, text, language)
    return 100.0 * errors.total / max(1, errors.reference_length)


def numbers(labels: pa.Table, column: str) -> np.ndarray:
    """A column of numbers or truths as float64 [rows]; NaN where there is none."""
    values = labels[column].cast(pa.float64()).to_numpy()
    return np.array(values, np.float64)

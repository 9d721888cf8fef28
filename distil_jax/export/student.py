"""What is exported: a student with all that its files are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from distil_jax.export.config_files import repaired_generation_config
from distil_jax.models.alignment_heads import Heads
from distil_jax.models.architecture import ModelConfig
from distil_jax.models.state_dict import Params
from distil_jax.models.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Student:
    """A student before it is written.

    teacher_generation_config: it is repaired for the student.
    card: the text of README.md.
    alignment_heads: the student's own, for word timestamps; None: unknown, none are named.
    """

    config: ModelConfig
    params: Params
    vocabulary: Vocabulary
    teacher_generation_config: Mapping[str, Any]
    card: str = ""
    alignment_heads: Heads | None = None

    @cached_property
    def generation_config(self) -> dict[str, Any]:
        return repaired_generation_config(
            self.teacher_generation_config, self.config, self.vocabulary, self.alignment_heads
        )

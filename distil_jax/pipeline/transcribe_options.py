"""What the verb transcribe can be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from distil_jax.config_errors import explain
from distil_jax.errors import ConfigError
from distil_jax.labelling.settings import DRAFT_TOKENS, DecodeConfig
from distil_jax.longform.formats import FORMATS, SUBTITLES
from distil_jax.longform.settings import LongFormConfig
from distil_jax.pipeline.outputs import Outputs


@dataclass(frozen=True)
class TranscribeOptions:
    """How recordings are transcribed, and what becomes of it.

    formats: of the files in the folder `output`; without a folder the result alone tells the texts.
    timestamps: decode with them; None: as the config's `evaluate.timestamps`, or where a format
    or the sequential algorithm needs them. draft: what drafts for the model, "student" or a folder
    of weights, and draft_tokens how many tokens at once. words: their times, too, in json or the
    result. Raises ConfigError for what does not go together.
    """

    formats: Sequence[str] = ()
    output: Path | None = None
    timestamps: bool | None = None
    long_form: LongFormConfig = field(default_factory=LongFormConfig)
    draft: str | None = None
    draft_tokens: int = DRAFT_TOKENS
    words: bool = False

    @classmethod
    def of(cls, long_form: Mapping[str, Any] | None = None, **options: Any) -> Self:
        """long_form: values of a LongFormConfig."""
        try:
            return cls(long_form=LongFormConfig.model_validate(long_form or {}), **options)
        except ValidationError as error:
            mistakes = explain(error, LongFormConfig, long_form)
            told = "; ".join(each.removeprefix("the file: ") for each in mistakes)
            raise ConfigError(f"long form: {told}") from None

    def __post_init__(self) -> None:
        if self.timestamps is False and self.long_form.algorithm == "sequential":
            raise ConfigError(
                "--no-timestamps: --long-form sequential finds its way by them; leave one of the "
                "two out"
            )
        unknown = [form for form in self.formats if form not in FORMATS]
        if unknown:
            raise ConfigError(f"--format {unknown[0]}: expected some of {', '.join(FORMATS)}")
        if self.formats and self.output is None:
            raise ConfigError(f"--format {','.join(self.formats)}: give --output DIR for the files")
        if self.output is not None and self.output.exists() and not self.output.is_dir():
            raise ConfigError(f"--output {self.output}: expected a folder, got a file")
        if self.words and self.output is not None and "json" not in self.formats:
            raise ConfigError("--words: of the formats json alone holds them; give --format json")
        subtitles = SUBTITLES.intersection(self.formats)
        if self.timestamps is False and subtitles:
            raise ConfigError(
                f"--no-timestamps: {min(subtitles)} is made of times; leave one of the two out"
            )

    def outputs(self) -> Outputs | None:
        """The files to write."""
        if self.output is None:
            return None
        return Outputs(self.output, tuple(dict.fromkeys(self.formats)) or ("txt",))

    def decoding(self, config: DecodeConfig) -> DecodeConfig:
        """The config's way of decoding, with timestamps as they are wanted."""
        if self.words and config.task == "translate":
            raise ConfigError(
                "--words: words of another language were not said anywhere; they are timed with "
                "evaluate.task=transcribe alone"
            )
        timed = SUBTITLES | {"json"}
        wanted = config.timestamps or self.words or bool(timed.intersection(self.formats))
        wanted = wanted if self.timestamps is None else self.timestamps
        wanted = wanted or self.long_form.algorithm == "sequential"
        return config.model_copy(update={"timestamps": wanted})

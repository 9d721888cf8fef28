"""The settings of evaluation."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from distil_jax.labelling.settings import DecodeConfig
from distil_jax.longform.settings import LongFormConfig
from distil_jax.settings import Settings

NoiseKind = Literal["white", "babble"]
ProbeKind = Literal["silence", "white", "pink", "brown", "hum", "music"]

Decibels = Annotated[float, Field(allow_inf_nan=False)]


class NoSpeechConfig(Settings):
    """Made-up clips in which nobody speaks: every word that a model writes is a false alarm."""

    # Of each kind.
    clips: int = Field(default=20, ge=1)
    # Of each clip.
    seconds: float = Field(default=30.0, ge=1.0, le=30.0)
    kinds: tuple[ProbeKind, ...] = ("silence", "white", "pink", "brown", "hum", "music")

    @field_validator("kinds")
    @classmethod
    def _each_once(cls, kinds: tuple) -> tuple:
        return _distinct(kinds)


class NoiseConfig(Settings):
    """Each evaluation set again, with noise: one pass of all models per kind and level."""

    kinds: tuple[NoiseKind, ...] = ("white", "babble")
    # Power of the clip by power of the noise.
    snr_db: tuple[Decibels, ...] = (40.0, 30.0, 20.0, 15.0, 10.0, 5.0, 0.0, -5.0, -10.0)
    # Voices in the babble: of other clips of the same set.
    talkers: int = Field(default=6, ge=1)

    @field_validator("kinds", "snr_db")
    @classmethod
    def _each_once(cls, values: tuple) -> tuple:
        return _distinct(values)


class LatencyConfig(Settings):
    """How long a clip takes at small batches, on one device."""

    batches: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 4, 16), min_length=1)
    repeats: int = Field(default=5, ge=1)

    @field_validator("batches")
    @classmethod
    def _each_once(cls, batches: tuple) -> tuple:
        return _distinct(batches)


class EvaluateConfig(DecodeConfig):
    """How teacher and student are compared; both decode alike."""

    # Resamples of the bootstrap behind the 95 % intervals.
    resamples: int = Field(default=2000, ge=100)
    # What is measured beside the error rates of each set; null: not measured.
    no_speech: NoSpeechConfig | None = None
    noise: NoiseConfig | None = None
    latency: LatencyConfig | None = None
    # Of the sets in data.long_form.
    long_form: LongFormConfig = LongFormConfig()

    @property
    def decoding(self) -> dict:
        """The settings that the comparison on a set depends on, as a dict."""
        return self.model_dump(exclude={"no_speech", "noise", "latency", "long_form"})


def _distinct(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        raise ValueError("each may be listed once")
    return values

"""Every score that a config may name."""

from collections.abc import Callable
from typing import Annotated, get_args

from pydantic import Field

from distil_jax.labelling.filters.agreement import Agreement
from distil_jax.labelling.filters.base import MeasuredScore, Score
from distil_jax.labelling.filters.decoding import Compression, Confidence, Ended, Entropy, NoSpeech
from distil_jax.labelling.filters.error_rate import ErrorRate
from distil_jax.labelling.filters.language import LanguageMismatch
from distil_jax.labelling.filters.likelihood import Likelihood
from distil_jax.labelling.filters.proxy import Proxy
from distil_jax.labelling.filters.repetition import Repetition
from distil_jax.labelling.filters.speech_rate import SpeechRate
from distil_jax.labelling.filters.synthesis import Synthesis

# A new score is written in a file of its own, and added to one of the two unions: of the scores
# that the label table alone gives, or of those that must look at the sound again.
FromLabels = (
    ErrorRate
    | Confidence
    | Entropy
    | Compression
    | Repetition
    | SpeechRate
    | NoSpeech
    | LanguageMismatch
    | Ended
    | Likelihood
)
Measured = Agreement | Proxy | Synthesis

AnyScore = Annotated[FromLabels | Measured, Field(discriminator="name")]

_FROM_LABELS: tuple[type[Score], ...] = get_args(FromLabels)
_MEASURED: tuple[type[MeasuredScore], ...] = get_args(Measured)


def _name(score: type[Score]) -> str:
    return score.model_fields["name"].default


# Those that need no settings, with their own; they are there whether a config lists them or not.
DEFAULTS: dict[str, Callable[..., Score]] = {_name(score): score for score in _FROM_LABELS}
# Those that are there only where a config lists them.
LISTED_ONLY = tuple(_name(score) for score in _MEASURED)

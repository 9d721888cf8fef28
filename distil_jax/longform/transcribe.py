"""Recordings of any length through a model, by either algorithm."""

from collections.abc import Callable, Iterable, Iterator

from distil_jax.data.audio import MAX_SECONDS
from distil_jax.data.quarantine import Quarantine
from distil_jax.labelling.alignment.aligner import Aligner
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.longform.chunked import transcribe_chunked
from distil_jax.longform.sequential import transcribe_sequential
from distil_jax.longform.settings import LongFormConfig
from distil_jax.longform.transcript import Recording, Transcript


def transcribe(
    config: LongFormConfig,
    transcriber: Transcriber,
    params: dict,
    recordings: Iterable[Recording],
    quarantine: Quarantine,
    heard: Callable[[Recording, float], None] = lambda recording, seconds: None,
    aligner: Aligner | None = None,
) -> Iterator[Transcript]:
    """Transcripts in the order of the recordings; arguments as of the algorithms.

    aligner: for the times of words.
    """
    given = transcriber, params, recordings, quarantine
    if config.algorithm == "sequential":
        before = bool(config.condition_on_previous)
        return transcribe_sequential(*given, before, heard, aligner)
    return transcribe_chunked(*given, config.chunk_seconds or MAX_SECONDS, heard, aligner)

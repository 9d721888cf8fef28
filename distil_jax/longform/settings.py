"""How recordings of any length are heard, as the command line and configs say it."""

from typing import Literal

from pydantic import Field, model_validator

from distil_jax.data.audio import MAX_SECONDS
from distil_jax.longform.windows import SHORTEST_CHUNK
from distil_jax.settings import Settings


class LongFormConfig(Settings):
    """The algorithm, and what it alone can be told."""

    # chunked: in windows that overlap, many at once, which is fast. sequential: from segment to
    # segment, as OpenAI's Whisper does; of several recordings one window each at once.
    algorithm: Literal["chunked", "sequential"] = "chunked"
    # Of a window of the chunked algorithm (null: 30); a sixth of it on each side is heard in its
    # neighbour, too.
    chunk_seconds: float | None = Field(default=None, ge=SHORTEST_CHUNK, le=MAX_SECONDS)
    # Whether the sequential algorithm's model reads the text so far before each window (null: no).
    # Names stay the same; so may a mistake.
    condition_on_previous: bool | None = None

    @model_validator(mode="after")
    def _goes_together(self) -> "LongFormConfig":
        if self.algorithm == "sequential" and self.chunk_seconds is not None:
            raise ValueError(
                f"chunk_seconds {self.chunk_seconds:g}: windows of the sequential algorithm are "
                f"30 s long, and each begins where the text before it ends; leave one of them out"
            )
        if self.algorithm == "chunked" and self.condition_on_previous is not None:
            raise ValueError(
                f"condition_on_previous {str(self.condition_on_previous).lower()}: windows of the "
                f"chunked algorithm are decoded side by side, and none comes before another; take "
                f"the sequential one, or leave it out"
            )
        return self

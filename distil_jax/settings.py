"""The base of every room's config class."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen config section: unknown keys are errors, values are never coerced silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, validate_default=True)

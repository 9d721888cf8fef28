"""The settings of planning."""

from pydantic import Field

from distil_jax.settings import Settings


class PlanConfig(Settings):
    # What an hour of one chip costs, in whatever currency; null leaves the cost out.
    price_per_chip_hour: float | None = Field(default=None, gt=0)

"""The base of every room's config class, and the values that several of them know."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

# Of activations and matrix products.
Dtype = Literal["float32", "bfloat16"]
# The same in a config: auto is bfloat16 on TPU and GPU, float32 on CPU.
AnyDtype = Literal["auto", Dtype]
# What attends without a mask to many positions: what the compiler makes of it, or a TPU kernel.
Kernel = Literal["xla", "splash"]
# What the backward pass recomputes: nothing, all but what linear maps made, all but what attention
# mixed (one [b, t, d] each), or every block.
Remat = Literal["none", "dots", "attention", "full"]


class Settings(BaseModel):
    """A frozen config section: unknown keys are errors, values are never coerced silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, validate_default=True)

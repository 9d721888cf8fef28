"""The settings of training: how long, how fast, how often it looks up."""

from typing import Literal

from pydantic import Field, model_validator

from distil_jax.settings import AnyDtype, Kernel, Remat, Settings


class OptimizerConfig(Settings):
    """AdamW; the schedule counts updates, not micro-batches."""

    learning_rate: float = Field(default=1e-4, gt=0)
    warmup_steps: int = Field(default=500, ge=0)
    # After the warm-up: linear or along a cosine to the last step, or constant.
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    # What of the rate is left at the last step.
    final_share: float = Field(default=0.0, ge=0, le=1)
    b1: float = Field(default=0.9, ge=0, lt=1)
    b2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    # The gradient's global norm is cut down to this, once for the whole accumulated batch.
    clip_norm: float = Field(default=1.0, gt=0)


class TrainConfig(Settings):
    steps: int = Field(default=80_000, ge=1)
    # Clips in an update, over all devices and micro-batches.
    batch_size: int = Field(default=256, ge=1)
    # Micro-batches an update is made of; the result does not depend on it.
    accumulation: int = Field(default=1, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig()
    # Parts of the student that stay as they were copied; dots lead deeper.
    freeze: tuple[str, ...] = ("encoder",)
    # Matrix products: auto is bfloat16 on TPU and GPU, float32 on CPU. Masters are float32 always.
    dtype: AnyDtype = "auto"
    # What the backward pass computes anew: see models.layers.Compute.
    remat: Remat = "none"
    # xla, or splash: on TPUs a kernel for the encoders and for attention to them.
    attention: Kernel = "xla"
    # Target tokens whose logits a device has in memory at once, about.
    loss_chunk: int = Field(default=512, ge=1)
    # A batch is padded to the first of these that holds its longest target: one compilation each.
    target_lengths: tuple[int, ...] = (64, 128, 256, 448)
    # Join the clips of a speaker, in their order, to up to 30 s (see labelling.packing).
    pack_clips: bool = False
    # How often a target keeps its timestamps (where the labels have them).
    timestamp_probability: float = Field(default=0.0, ge=0, le=1)
    # How often the text before, of the same speaker, stands before a target.
    previous_text_probability: float = Field(default=0.0, ge=0, le=1)
    # Clips set apart from the training data for validation, where the config names no such data.
    validation_clips: int = Field(default=64, ge=0)
    log_every: int = Field(default=25, ge=1)
    validate_every: int = Field(default=1000, ge=1)
    save_every: int = Field(default=1000, ge=1)
    keep_latest: int = Field(default=2, ge=1)
    keep_best: int = Field(default=1, ge=1)
    # A gradient norm above this, before clipping, stops the run as exploded.
    exploded_norm: float = Field(default=1e4, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        check_accumulation(self.batch_size, self.accumulation)
        if list(self.target_lengths) != sorted(set(self.target_lengths)):
            raise ValueError(f"target_lengths must increase, got {self.target_lengths}")
        if self.validate_every % self.save_every:
            raise ValueError(
                f"validate_every {self.validate_every} is not a multiple of save_every "
                f"{self.save_every}: every validation is kept with a checkpoint"
            )
        return self


def check_accumulation(batch_size: int, parts: int) -> None:
    """Raises ValueError where a batch is no whole number of clips for each micro-batch."""
    if batch_size % parts:
        raise ValueError(f"batch_size {batch_size} is not a multiple of accumulation {parts}")

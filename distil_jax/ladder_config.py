"""A ladder of language models on one page: the runs that scaling laws are fitted to."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil
from pathlib import Path

from pydantic import Field, model_validator

from distil_jax.mesh import MeshConfig
from distil_jax.models.language_model import LanguageModelConfig, flops, sizes
from distil_jax.objectives import AnyObjective, CrossEntropy, KLDivergence, ZLoss
from distil_jax.settings import AnyDtype, Settings
from distil_jax.training.settings import OptimizerConfig, TrainConfig, check_accumulation


class ModelsConfig(Settings):
    """Models that differ in their layers alone: the width grows with them."""

    # Width over layers: a multiple of the heads' width, which is even.
    aspect: int = Field(default=32, ge=2)
    head_width: int = Field(default=32, ge=2, multiple_of=2)
    # The MLP's width over the model's, rounded up to a multiple of 8.
    mlp_ratio: float = Field(default=8 / 3, gt=0)
    context: int = Field(default=256, ge=2)
    vocabulary: int = Field(default=1024, ge=256)

    @model_validator(mode="after")
    def _whole_heads(self) -> "ModelsConfig":
        if self.aspect % self.head_width:
            raise ValueError(f"aspect {self.aspect} is no multiple of head_width {self.head_width}")
        return self

    def of(self, layers: int) -> LanguageModelConfig:
        width = self.aspect * layers
        return LanguageModelConfig(
            vocab_size=self.vocabulary,
            layers=layers,
            width=width,
            heads=width // self.head_width,
            mlp_width=8 * ceil(width * self.mlp_ratio / 8),
            context=self.context,
        )


class GridConfig(Settings):
    """Every combination is a run. How long they are is said in one of three ways."""

    layers: tuple[int, ...] = Field(min_length=1)
    tokens: tuple[float, ...] = ()
    # Tokens a parameter (embedding and head aside).
    ratios: tuple[float, ...] = ()
    # Operations of a run's own training: IsoFLOP profiles.
    compute: tuple[float, ...] = ()
    # Of the weights; the text comes in one order.
    seeds: tuple[int, ...] = (0,)

    @model_validator(mode="after")
    def _one_length(self) -> "GridConfig":
        given = {name: getattr(self, name) for name in ("tokens", "ratios", "compute")}
        said = [name for name, each in given.items() if each]
        if len(said) != 1:
            raise ValueError(
                f"got {' and '.join(said) or 'none'} of tokens, ratios and compute; expected one"
            )
        if min(given[said[0]]) <= 0:
            raise ValueError(f"{said[0]}: got {min(given[said[0]]):g}, expected more than 0")
        return self

    def lengths(self, model: LanguageModelConfig) -> list[float]:
        """In tokens, of three digits where they follow from the model."""
        if self.tokens:
            return list(self.tokens)
        size, _ = sizes(model)
        a_token = 3 * flops(model, model.context).forward / model.context
        found = [ratio * size for ratio in self.ratios] + [each / a_token for each in self.compute]
        return [float(f"{each:.3g}") for each in found]


class TaughtGridConfig(GridConfig):
    # Runs of `alone`, by name: 4l-2M is that of 4 layers and 2e6 tokens.
    teachers: tuple[str, ...] = Field(min_length=1)


class LadderTrainConfig(Settings):
    # Sequences in an update; a sequence is models.context tokens.
    batch_size: int = Field(default=16, ge=1)
    # Micro-batches an update is made of, for less memory; the result does not depend on it.
    accumulation: int = Field(default=1, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=1e-2, schedule="cosine", final_share=1e-3, weight_decay=1e-4, warmup_steps=0
    )
    # The most runs of one shape and length that go through one program, side by side.
    side_by_side: int = Field(default=8, ge=1)
    # Warm-up as a share of a run's steps, as runs are of any length.
    warmup_share: float = Field(default=0.05, ge=0, le=1)
    # The width whose learning rate that is; the others' follow by muP.
    base_width: int = Field(default=128, ge=1)
    dtype: AnyDtype = "auto"
    loss_chunk: int = Field(default=2048, ge=1)
    save_every: int = Field(default=1000, ge=1)

    @model_validator(mode="after")
    def _whole_parts(self) -> "LadderTrainConfig":
        check_accumulation(self.batch_size, self.accumulation)
        return self

    def of(self, steps: int) -> TrainConfig:
        """The settings of a run of so many updates."""
        warmup = round(self.warmup_share * steps)
        return TrainConfig(
            steps=steps,
            batch_size=self.batch_size,
            accumulation=self.accumulation,
            optimizer=self.optimizer.model_copy(update={"warmup_steps": warmup}),
            freeze=(),
            dtype=self.dtype,
            loss_chunk=self.loss_chunk,
            log_every=max(1, steps // 100),
            save_every=self.save_every,
            validate_every=self.save_every,
            keep_latest=1,
        )


@dataclass(frozen=True)
class Rung:
    """One run of a ladder. teacher: the name of another; None: it learns from the text alone."""

    name: str
    layers: int
    tokens: float
    seed: int
    teacher: str | None = None


class LadderConfig(Settings):
    name: str
    # Where everything of this ladder is kept.
    run_dir: str
    # Of the order of the text.
    seed: int = Field(default=0, ge=0)
    # Plain text, UTF-8 or Windows-1252: files, or folders of .txt files.
    text: tuple[str, ...] = Field(min_length=1)
    models: ModelsConfig = ModelsConfig()
    # Runs without a teacher, among them the teachers.
    alone: tuple[GridConfig, ...] = Field(min_length=1)
    # Runs with one.
    taught: tuple[TaughtGridConfig, ...] = ()
    # What a run without a teacher minimises, and one with a teacher.
    objectives: tuple[AnyObjective, ...] = (CrossEntropy(), ZLoss())
    taught_objectives: tuple[AnyObjective, ...] = (KLDivergence(temperature=1.0), ZLoss())
    train: LadderTrainConfig = LadderTrainConfig()
    mesh: MeshConfig = MeshConfig()

    @model_validator(mode="after")
    def _sound(self) -> "LadderConfig":
        names = [rung.name for rung in self.rungs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice; each run may be made once")
        known = [rung.name for rung in self._rungs_alone()]
        for grid in self.taught:
            lacking = sorted(set(grid.teachers) - set(known))
            if lacking:
                raise ValueError(
                    f"taught.teachers: got {', '.join(lacking)}; `alone` has {', '.join(known)}"
                )
        return self

    @property
    def rungs(self) -> list[Rung]:
        """All runs, teachers before those whom they teach."""
        return [*self._rungs_alone(), *self._rungs_taught()]

    def _rungs_alone(self) -> Iterator[Rung]:
        for grid in self.alone:
            for layers, tokens, seed in self._combined(grid):
                yield Rung(_named(layers, tokens, seed), layers, tokens, seed)

    def _rungs_taught(self) -> Iterator[Rung]:
        for grid in self.taught:
            for (layers, tokens, seed), teacher in product(self._combined(grid), grid.teachers):
                name = f"{_named(layers, tokens, seed)}-of-{teacher}"
                yield Rung(name, layers, tokens, seed, teacher)

    def _combined(self, grid: GridConfig) -> Iterator[tuple[int, float, int]]:
        for layers in grid.layers:
            lengths = grid.lengths(self.models.of(layers))
            for tokens, seed in product(lengths, grid.seeds):
                yield layers, tokens, seed

    @property
    def groups(self) -> list[tuple[Rung, ...]]:
        """Runs that are trained side by side, teachers before those whom they teach."""
        by_shape: dict[tuple, list[Rung]] = {}
        for rung in self.rungs:
            key = rung.teacher is not None, rung.layers, self.steps(rung)
            by_shape.setdefault(key, []).append(rung)
        most = self.train.side_by_side
        return [
            tuple(rungs[first : first + most])
            for rungs in by_shape.values()
            for first in range(0, len(rungs), most)
        ]

    @property
    def settings(self) -> dict:
        """What a run depends on beside its own place in the ladder, and the text."""
        unasked = {"name", "run_dir", "text", "alone", "taught"}
        how = {"accumulation", "save_every", "loss_chunk", "side_by_side"}
        return self.model_dump(mode="json", exclude={**dict.fromkeys(unasked, True), "train": how})

    def steps(self, rung: Rung) -> int:
        """Updates that read about `tokens` tokens."""
        return max(1, round(rung.tokens / (self.train.batch_size * self.models.context)))

    @property
    def folder(self) -> Path:
        return Path(self.run_dir)


def _named(layers: int, tokens: float, seed: int) -> str:
    """2l-500k, 4l-1.5M; another seed than 0 is named, too."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if tokens >= size:
            count = f"{tokens / size:g}{letter}"
            break
    else:
        count = f"{tokens:g}"
    return f"{layers}l-{count}" + (f"-s{seed}" if seed else "")

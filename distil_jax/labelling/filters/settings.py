"""The settings of filtering: which scores there are, and what each must be for a label to stay."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from distil_jax.config_errors import nearest
from distil_jax.labelling.filters.base import MeasuredScore, Score
from distil_jax.labelling.filters.registry import DEFAULTS, LISTED_ONLY, AnyScore
from distil_jax.settings import Settings

_ERROR_RATE = "error_rate"

Threshold = Annotated[float, Field(allow_inf_nan=False)]


class Match(Settings):
    """As many as another filter would keep: one with this score and threshold."""

    score: str
    threshold: Threshold

    def __str__(self) -> str:
        return f"{self.score.replace('_', ' ')} at {self.threshold:g}"


class Filter(Settings):
    """One score, or the mean rank of several, and how far it reaches."""

    # Give one of these two.
    score: str | None = None
    # Each clip's rank by each of these scores, from 0 (best) to 1; their mean is its score.
    rank: tuple[str, ...] = ()
    # And one of these three. threshold: keep what is better than this: below it where low is good,
    # above it where high is good. Not for ranks.
    threshold: Threshold | None = None
    # Keep this part of the clips, the best of them.
    keep_fraction: float | None = Field(default=None, ge=0, le=1)
    # Keep the part that another filter would keep of the clips that it can judge.
    match: Match | None = None
    # Clips that the score says nothing of.
    missing: Literal["keep", "drop"] = "keep"

    @model_validator(mode="after")
    def _one_of_each(self) -> "Filter":
        if (self.score is None) == (not self.rank):
            raise ValueError("expected either `score: NAME` or `rank: [NAME, NAME, ...]`")
        cuts = ("threshold", "keep_fraction", "match")
        given = [name for name in cuts if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of {', '.join(cuts)}, got {' and '.join(given) or '-'}")
        if self.rank and self.threshold is not None:
            raise ValueError("a mean rank has no threshold of its own: give keep_fraction or match")
        if len(set(self.rank)) < len(self.rank):
            raise ValueError(f"rank names a score twice: {', '.join(self.rank)}")
        return self

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the scores that decide."""
        return self.rank or (self.score or "",)

    def __str__(self) -> str:
        names = [name.replace("_", " ") for name in self.scores]
        return f"rank of {', '.join(names)}" if self.rank else names[0]


class FilterConfig(Settings):
    # Lambda: keep a clip if its error rate is below this, in percent. null: no label is too wrong.
    # The same as the filter {score: error_rate, threshold: ...}.
    max_error_rate: float | None = Field(default=10.0, ge=0, allow_inf_nan=False)
    # Drop labels written in capitals only, an artefact of large-v3.
    drop_upper_case: bool = True
    # Clips that have no reference: there is nothing to measure them by.
    unreferenced: Literal["keep", "drop"] = "keep"
    # Settings of scores. Those that need none are there without being listed; those that look at
    # the sound again (agreement, proxy, synthesis) only where they are listed.
    scores: tuple[AnyScore, ...] = ()
    # Each clip must pass all of them. Each looks at all clips, whatever the others drop.
    filters: tuple[Filter, ...] = ()

    @model_validator(mode="after")
    def _scores_are_there(self) -> "FilterConfig":
        names = [score.name for score in self.scores]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"scores: {', '.join(twice)} stands there twice; each may once")
        for number, each in enumerate(self.filters):
            wanted = each.scores if each.match is None else (*each.scores, each.match.score)
            for name in wanted:
                self._check(f"filters.{number}: score '{name}'", name)
        return self

    def _check(self, what: str, name: str) -> None:
        there = [*DEFAULTS, *(score.name for score in self.scores)]
        if name in there:
            return
        if name in LISTED_ONLY:
            raise ValueError(f"{what} must be listed in filter.scores, with its settings")
        known = [*DEFAULTS, *LISTED_ONLY]
        raise ValueError(f"{what}: {nearest(name, known)}expected one of {', '.join(known)}")

    @property
    def available(self) -> dict[str, Score]:
        """Every score that a filter may name, by name; with its settings."""
        defaults = {name: make() for name, make in DEFAULTS.items()}
        return defaults | {score.name: score for score in self.scores}

    @property
    def all_filters(self) -> tuple[Filter, ...]:
        """Those listed, behind the one that max_error_rate stands for."""
        if self.max_error_rate is None:
            return self.filters
        return (Filter(score=_ERROR_RATE, threshold=self.max_error_rate), *self.filters)

    @property
    def lambda_(self) -> float | None:
        """The lowest threshold on the error rate."""
        cuts = [f.threshold for f in self.all_filters if f.score == _ERROR_RATE]
        return min((cut for cut in cuts if cut is not None), default=None)

    @property
    def used(self) -> dict[str, Score]:
        """The scores that decide, by name."""
        names = [name for each in self.all_filters for name in each.scores]
        names += [each.match.score for each in self.filters if each.match]
        return {name: self.available[name] for name in dict.fromkeys(names)}

    @property
    def measured(self) -> tuple[MeasuredScore, ...]:
        """The scores that look at the sound again."""
        return tuple(score for score in self.scores if isinstance(score, MeasuredScore))

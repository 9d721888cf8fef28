"""A fitted law as a file: its coefficients, how sure they are, and where it may be believed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError, model_validator

from distil_jax.errors import UserError
from distil_jax.run import write_text
from distil_jax.scaling.domain import Domain
from distil_jax.scaling.fitted_checks import check_coefficients, check_domain
from distil_jax.scaling.fitting.bootstrap import Sampled
from distil_jax.scaling.fitting.held_out import HeldOut
from distil_jax.scaling.fitting.loss import FitLoss
from distil_jax.scaling.fitting.profile import Profile, profiles
from distil_jax.scaling.fitting.selection import Criteria, criteria
from distil_jax.scaling.language_models import Shape
from distil_jax.scaling.laws import law_named
from distil_jax.settings import Settings


class FittedCoefficient(Settings):
    """interval: what 90 % of the bootstrap's draws lie in. profile: the 90 % interval of the
    profiled likelihood, with null at a side where the runs set no bound. told: whether the runs
    tell it at all; if not, its value means nothing by itself. profile_curve: values, ascending, and
    the likelihood's fall at each; none of files that an older version wrote."""

    value: float
    interval: tuple[float, float] | None
    profile: tuple[float | None, float | None]
    told: bool
    profile_curve: list[tuple[float, float]] = []


class Searched(Settings):
    """How the search ended; the words are those of `Fit`."""

    starts: int
    reached: int
    optima: int
    objective: float
    slope: float
    condition: float | None


@dataclass(frozen=True)
class Standing:
    """Of one law among others. aicc, bic: None where these are of different likelihoods.

    splits: how many kinds of runs were held out from every law; held_out_error: the mean over these
    of the mean relative error; coverage: the share of those runs in their 90 % intervals. Both None
    where nothing was held out.
    """

    law: str
    held_out_error: float | None
    coverage: float | None
    splits: int
    aicc: float | None
    bic: float | None


class FittedLaw(Settings):
    """draws: coefficients of each draw of the bootstrap, in the order that the law has them in.

    residuals: log(predicted) - log(observed) of each run. supervised: of a distillation law, the
    law that says what its students would reach alone; its draws belong to these, one by one.
    shape: of its runs' models, where they say it. compared: laws that were fitted to the same runs,
    this one first.
    """

    law: str
    loss: FitLoss
    runs: int
    coefficients: dict[str, FittedCoefficient]
    search: Searched
    criteria: Criteria
    domain: Domain
    residuals: list[float]
    draws: list[list[float]]
    held_out: list[HeldOut] = []
    compared: list[Standing] = []
    notes: list[str] = []
    supervised: "FittedLaw | None" = None
    shape: Shape | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "FittedLaw":
        law = law_named(self.law)
        check_coefficients(law, self.values, self.draws)
        check_domain(law, self.domain, self.residuals)
        if self.supervised and len(self.supervised.draws) != len(self.draws):
            raise ValueError("draws: expected as many as of the supervised law")
        return self

    @property
    def values(self) -> dict[str, float]:
        return {name: each.value for name, each in self.coefficients.items()}

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Of its runs, what the law predicts from: each [n]."""
        return {name: 10.0 ** np.array(each) for name, each in self.domain.corners.items()}

    def predict(self, columns: Mapping[str, float | np.ndarray]) -> np.ndarray:
        """The loss that the law says of runs."""
        return law_named(self.law).predict(self.values, **columns)

    @property
    def observed(self) -> np.ndarray:
        """Losses of its runs: [n]."""
        return self.predict(self.columns) * np.exp(-np.array(self.residuals))

    def drawn(self) -> list[dict[str, float]]:
        """The coefficients of each draw."""
        names = law_named(self.law).names
        return [dict(zip(names, row, strict=True)) for row in self.draws]

    @classmethod
    def of(cls, sampled: Sampled, **more: Any) -> "FittedLaw":
        """Of a fit and its bootstrap; the profiles are made here."""
        fit, law = sampled.fit, sampled.fit.law
        known = fit.runs.where(fit.runs.counted)
        profiled = profiles(fit)
        draws = np.column_stack([sampled.coefficient(name) for name in law.names])
        draws = draws[np.isfinite(draws).all(axis=1)]
        return cls(
            law=law.name,
            loss=fit.loss,
            runs=len(fit.runs),
            coefficients={
                name: _coefficient(value, sampled, profiled[name])
                for name, value in fit.values.items()
            },
            search=Searched(
                starts=fit.starts,
                reached=fit.reached,
                optima=len(fit.optima),
                objective=fit.objective,
                slope=fit.slope,
                condition=fit.condition,
            ),
            criteria=criteria(fit),
            domain=Domain.of({name: known.columns[name] for name in law.inputs}),
            residuals=fit.residuals.tolist(),
            draws=draws.tolist(),
            **more,
        )

    def write(self, path: Path) -> None:
        write_text(path, self.model_dump_json(indent=1) + "\n")


def read_fitted(path: Path) -> FittedLaw:
    """Raises UserError where it is not what `write` writes."""
    try:
        return FittedLaw.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; `distil-jax fit` writes it") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValidationError, UnicodeDecodeError) as error:
        first = str(error).splitlines()
        raise UserError(
            f"{path}: got something else than a law that `distil-jax fit` wrote: "
            f"{' '.join(first[1:3]).strip() or first[0]}"
        ) from None


def _coefficient(value: float, sampled: Sampled, profile: Profile) -> FittedCoefficient:
    drawn = len(sampled.points) > 0
    return FittedCoefficient(
        value=value,
        interval=sampled.interval(profile.name) if drawn else None,
        profile=(profile.low, profile.high),
        told=profile.is_told,
        profile_curve=profile.points,
    )

"""Plans by a law from a file: kept to where its runs are, and with intervals by its draws."""

from dataclasses import dataclass, field, replace

import numpy as np

from distil_jax.errors import UserError
from distil_jax.scaling.domain import APPLE_DOMAIN, PER_PARAMETER, Domain
from distil_jax.scaling.fitted import FittedLaw
from distil_jax.scaling.language_models import APPLE, Shape
from distil_jax.scaling.laws import DISTILLATION, law_named
from distil_jax.scaling.laws.distillation import SUPERVISED_LOSS, TEACHER_LOSS
from distil_jax.scaling.laws.published import APPLE_DISTILLATION, APPLE_SUPERVISED
from distil_jax.scaling.planner import Choice, Limits, Planner


@dataclass(frozen=True)
class Believed:
    """planner: by the best coefficients. students, teachers: where the laws' runs are.

    drawn, drawn_alone: points [b, p] of the distillation and the supervised law, draw by draw;
    none of published coefficients. noise: of a run's log loss, its standard deviation. shape: of
    the models, by which the planner counts operations. tells_break: whether the runs tell d1.
    trained: N, D and loss [t, 3] of the runs that taught the others; where the losses do not tell
    which did, of all runs without a teacher.
    """

    planner: Planner
    students: Domain
    teachers: Domain
    drawn: np.ndarray
    drawn_alone: np.ndarray
    noise: float = 0.0
    shape: Shape = APPLE
    tells_break: bool = True
    trained: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))

    @classmethod
    def of(cls, fitted: FittedLaw) -> "Believed":
        """Raises UserError for a law that says nothing of teachers."""
        alone = fitted.supervised
        if fitted.law != DISTILLATION.name or alone is None:
            raise UserError(
                f"law {fitted.law!r}: a plan asks which teacher to take, expected a file that "
                f"`distil-jax fit --law distillation` wrote"
            )
        law, shape = law_named(alone.law), fitted.shape or APPLE
        return cls(
            planner=Planner(alone.values, fitted.values, law, shape.forward_flops),
            students=fitted.domain,
            teachers=alone.domain,
            drawn=np.array([DISTILLATION.point(values) for values in fitted.drawn()]),
            drawn_alone=np.array([law.point(values) for values in alone.drawn()]),
            noise=float(np.std(fitted.residuals)),
            shape=shape,
            tells_break=fitted.coefficients["d1"].told,
            trained=_trained(fitted, alone),
        )

    @classmethod
    def published(cls) -> "Believed":
        """By the coefficients of Busbridge et al. 2025: theirs is another tokenizer, other text."""
        planner = Planner(APPLE_SUPERVISED, APPLE_DISTILLATION)
        return cls(planner, APPLE_DOMAIN, APPLE_DOMAIN, np.empty((0, 0)), np.empty((0, 0)))

    def inside(self, size: float) -> Planner:
        """For a student of `size`: it chooses only teachers and tokens such as the runs had."""
        limits = Limits(
            size=self.teachers.ranges["N"],
            tokens=self.teachers.ranges["D"],
            per_parameter=self.teachers.ranges[PER_PARAMETER],
            student_tokens=self.students.tokens_for(size),
            teacher_loss=self.students.ranges[TEACHER_LOSS][0],
        )
        return self.planner.limited(**vars(limits))

    def drawn_planners(self, planner: Planner, most: int = 12) -> list[Planner]:
        """The same planner by the coefficients of some of the draws."""
        law, every = planner.supervised_law, max(1, len(self.drawn) // most)
        pairs = zip(self.drawn_alone[::every], self.drawn[::every], strict=True)
        return [
            replace(planner, supervised=law.named(alone), distillation=DISTILLATION.named(taught))
            for alone, taught in list(pairs)[:most]
        ]

    def outside(self, choice: Choice) -> str:
        """How far a choice is from the runs, in words; empty where it is among them."""
        point = {"N": choice.size, "D": choice.tokens}
        if choice.teacher_loss is None:
            return self.teachers.told(**point)
        return self.students.told(**point, **{TEACHER_LOSS: choice.teacher_loss})

    def drawn_log_losses(self, choice: Choice) -> np.ndarray:
        """Logarithms of the loss [b] that each draw says of a choice.

        A teacher that is still to be trained has in each draw the loss of that draw's law.
        """
        alone = self.planner.supervised_law
        own = alone.predict_log(self.drawn_alone, {"N": choice.size, "D": choice.tokens})
        if choice.teacher_loss is None:
            return own
        heard = np.log(choice.teacher_loss)
        if choice.teacher_tokens is not None:
            given = {"N": choice.teacher_size or 0.0, "D": choice.teacher_tokens}
            heard = alone.predict_log(self.drawn_alone, given)
        columns = {
            "N": choice.size,
            "D": choice.tokens,
            TEACHER_LOSS: np.exp(heard),
            SUPERVISED_LOSS: np.exp(own),
        }
        return DISTILLATION.predict_log(self.drawn, columns)

    def interval(self, choice: Choice, confidence: float = 0.9) -> tuple[float, float] | None:
        """Of the loss that the law says of a choice; None without draws."""
        if not len(self.drawn_alone):
            return None
        sides = (1 - confidence) / 2, (1 + confidence) / 2
        low, high = np.exp(np.nanquantile(self.drawn_log_losses(choice), sides))
        return float(low), float(high)


def _trained(fitted: FittedLaw, alone: FittedLaw) -> np.ndarray:
    """Runs of the law of no teacher that were teachers, by their losses: [t, 3]."""
    if not alone.columns:  # a file of ranges only
        return np.empty((0, 3))
    heard, losses = fitted.columns.get(TEACHER_LOSS, np.empty(0)), alone.observed
    runs = np.column_stack([alone.columns["N"], alone.columns["D"], losses])
    taught = np.isclose(losses[:, None], heard, rtol=1e-6).any(axis=1)
    return runs[taught] if taught.any() else runs

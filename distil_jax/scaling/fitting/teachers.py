"""Teachers that are runs of the tables themselves, and lend their students their loss."""

from collections.abc import Mapping

import numpy as np

from distil_jax.scaling.fitting.cells import is_unfinished

FEWEST_CLUSTERS = 5  # teachers, of which a bootstrap draws some
_UNKNOWN = (
    "no table says the loss of the teacher that is named: add it as a column teacher_loss, or say "
    "which column has the names of the runs, as in --column run=name"
)


def is_clustered(teachers: np.ndarray) -> bool:
    """Whether runs are drawn teacher by teacher: all are named, and there are some of them."""
    return None not in teachers.tolist() and len(set(teachers)) >= FEWEST_CLUSTERS


def lend_losses(
    numbers: Mapping[str, np.ndarray], words: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Of each run [n], the teacher's loss, as it says itself or as a run of that name has it.

    -> nan where there is no teacher, or its loss is not known; and [n] why it is not, else None.
    """
    ended = np.array([not is_unfinished(each) for each in words["status"]], bool)
    lent: dict[str | None, tuple[float, str | None]] = {
        name: _loan(name, words["run"] == name, ended, numbers["loss"])
        for name in set(words["teacher"]) - {None}
    }
    lent[None] = np.nan, None
    losses = numbers["teacher_loss"].copy()
    untold = np.isnan(losses)
    losses[untold] = [lent[name][0] for name in words["teacher"][untold]]
    reasons = np.full(len(losses), None, object)
    reasons[untold] = [lent[name][1] for name in words["teacher"][untold]]
    return losses, reasons


def _loan(
    name: str, there: np.ndarray, ended: np.ndarray, losses: np.ndarray
) -> tuple[float, str | None]:
    """The loss of the runs of that name, which are `there` [n], or why there is none."""
    if not there.any():
        return np.nan, _UNKNOWN
    if not (there & ended).any():
        return np.nan, f"the status of the teacher {name} says that it did not finish"
    sound = there & ended & np.isfinite(losses) & (losses > 0)
    found = np.unique(losses[sound])
    if not len(found):
        return np.nan, f"the teacher {name} has no loss above 0"
    if len(found) > 1:
        return np.nan, (
            f"{sound.sum()} runs are named {name}, with different losses: say which it is, in a "
            f"column teacher_loss"
        )
    return float(found[0]), None

"""Whether a law of a user's own is one that can be fitted."""

from collections import Counter

import numpy as np

from distil_jax.scaling.laws.law import Law


def check(law: Law) -> None:
    """Raises ValueError where it is not, and says why."""
    if not {"N", "D"} <= set(law.inputs):
        raise ValueError(f"law {law.name!r}: got inputs {law.inputs}, expected N and D among them")
    for names in (law.inputs, law.names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"law {law.name!r}: got {twice[0]} more than once")
    for each in law.coefficients:
        begins = [each.low, *each.starts, each.high]
        wrong = not each.starts or sorted(begins)[:: len(begins) - 1] != [each.low, each.high]
        if wrong or each.low >= each.high or (each.log and each.low <= 0):
            above = ", all above 0" if each.log else ""
            raise ValueError(
                f"law {law.name!r}, {each.name}: got starts {each.starts} within {each.low:g} to "
                f"{each.high:g}, expected some from the lower to the higher{above}"
            )
    _check_formula(law)


def _check_formula(law: Law) -> None:
    runs = {name: np.array([1e8, 2e8, 4e8]) for name in law.inputs}
    try:
        found = law.predict_log(law.starts(1)[0], runs)
    except Exception as error:
        raise ValueError(
            f"law {law.name!r}: its log_loss cannot be evaluated: {type(error).__name__}: {error}; "
            f"expected a function of the coefficients {', '.join(law.names)} and of the columns "
            f"{', '.join(law.inputs)}"
        ) from error
    if found.shape != (3,):
        raise ValueError(
            f"law {law.name!r}: of 3 runs its log_loss gave an array of shape {found.shape}, "
            f"expected (3,), a number for each run"
        )

"""What the README says of a ladder's runs, counted from their table.

    python -m tests.ladder_findings runs/scaling_ladder

Of every student: its loss, that of the run of its size and tokens alone, and what its size would
come to alone for the operations of the student with its teacher's forward passes, and with the
teacher's training as well: between the runs alone, by logarithms; "-" beyond the longest of them.
Then in how many cases each is undercut. Needs a folder that `distil-jax ladder` has made.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

Row = dict[str, Any]


def alone_for(runs: list[Row], layers: int, operations: float) -> float:
    """The loss of a size alone for so many operations; nan beyond its runs."""
    own = sorted(
        (r["flops"], r["loss"]) for r in runs if (r["layers"], r["teacher"]) == (layers, None)
    )
    bills, losses = np.array(own).T
    return float(np.interp(np.log(operations), np.log(bills), losses, np.nan, np.nan))


def finding(runs: list[Row], student: Row) -> tuple[float, float, float, float]:
    """(its teacher's loss; losses alone for its tokens, and for its two bills)."""
    named = {row["run_id"]: row for row in runs}
    teacher, alone = named[student["teacher"]], named[student["run_id"].partition("-of-")[0]]
    forward = student["flops"] + student["D"] * teacher["forward_flops"]
    first, second = (
        alone_for(runs, alone["layers"], bill) for bill in (forward, forward + teacher["flops"])
    )
    return teacher["loss"], alone["loss"], first, second


def main() -> None:
    runs = pyarrow.parquet.read_table(Path(sys.argv[1]) / "runs.parquet").to_pylist()
    students = [row for row in runs if row["teacher"] is not None]
    found = np.array([finding(runs, row) for row in students])
    losses = np.array([row["loss"] for row in students])
    print(f"{'':20}{'loss':>7}{'alone':>7}   alone for its bill with forward, with training")
    for row, loss, each in zip(students, losses, found, strict=True):
        alone = "".join("      -" if np.isnan(x) else f"{x:7.3f}" for x in each[1:])
        print(f"{row['run_id']:20}{loss:7.3f}{alone}")
    teacher, alone = found[:, 0], found[:, 1]
    teacher_is_better, gains = teacher < alone, losses < alone
    agree, most = int((gains == teacher_is_better).sum()), max(alone - losses)
    print(f"{agree} of {len(losses)} gain just where the teacher is better, {most:.2f} at most")
    for name, other in zip(("forward passes", "training as well"), found[:, 2:].T, strict=True):
        known = ~np.isnan(other)
        gain = (losses < other)[known].sum()
        print(f"with the teacher's {name} on the bill {gain} of {known.sum()} gain")


if __name__ == "__main__":
    main()

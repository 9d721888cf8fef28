"""Scores find faults planted in labels of real recordings (tests/planted_faults.py says which)."""

import pytest

from tests.planted_faults import COMBINED, FAULTS, run
from tests.real_models import MODELS, compiled_well, model

well = pytest.fixture(scope="module", autouse=True)(compiled_well)


@pytest.mark.very_slow
def test_planted_faults_are_found(repository):
    for name in MODELS:
        model(name)  # or skip
    quickstart = repository / "distil_jax" / "quickstart"
    found, by_fault = run([str(quickstart / "train")], limit=80)
    for row in [*found.rows, *by_fault]:
        print(row)
    auc = {row["filter"]: row["auc"] for row in found.rows}
    assert auc[f"rank of {', '.join(COMBINED).replace('_', ' ')}"] >= 0.95
    combined = by_fault[-1]
    assert min(combined[fault] for fault in FAULTS) > 0.8
    # What each is there for.
    faults = {row["score"]: row for row in by_fault}
    assert faults["repetition"]["repeated"] > 0.9
    assert faults["language_mismatch"]["language"] > 0.9
    assert faults["confidence"]["swapped"] > 0.9
    assert faults["proxy"]["truncated"] > 0.9

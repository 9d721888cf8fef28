"""Scores find faults planted in labels of real recordings (tests/planted_faults.py says which)."""

import jax
import pytest

from distil_jax.errors import UserError
from distil_jax.models.pretrained import load_pretrained
from tests.made_up import DEMO_BASE, DEMO_TINY
from tests.planted_faults import COMBINED, FAULTS, run


@pytest.fixture(scope="module", autouse=True)
def compiled_well():
    """Models of this size compute for longer than the compiler takes."""
    left_off = jax.config.jax_disable_most_optimizations
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", left_off)


@pytest.mark.slow
def test_planted_faults_are_found(repository):
    try:
        for weights in (DEMO_TINY, DEMO_BASE):
            load_pretrained(weights)
    except UserError as error:
        pytest.skip(f"the demo packages are not installed: {error}")
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

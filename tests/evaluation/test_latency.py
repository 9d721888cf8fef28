"""The arithmetic of latency; no test asserts a time."""

import pytest

from distil_jax.evaluation.latency import compare_latency


def test_medians_percentiles_and_their_ratio():
    teacher = {"whole": [4.0, 2.0, 3.0, 9.0, 1.0], "features": [0.1, 0.3, 0.2]}
    student = {"whole": [1.0, 2.0], "features": [0.1]}
    row = compare_latency(4, {"teacher": teacher, "student": student})
    assert row == {
        "batch": 4,
        "teacher": 3.0,
        "teacher_p90": pytest.approx(7.0),
        "student": 1.5,
        "student_p90": pytest.approx(1.9),
        "teacher_features": 0.2,
        "student_features": 0.1,
        "ratio": 2.0,
    }

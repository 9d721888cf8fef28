"""What filters keep: thresholds, parts, as many as another, ranks; ties, and what is not known."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from pydantic import ValidationError

from distil_jax.errors import UserError
from distil_jax.labelling.filters import KEPT, SCHEMA, Filter, FilterConfig, filter_labels
from distil_jax.labelling.filters.decide import mean_rank, ranks
from tests.labelling.made_up_labels import label_table, scored_labels


def decide(labels: pa.Table, *filters: dict, **settings: Any) -> list[str]:
    """The reasons."""
    values = {"max_error_rate": None, "filters": filters, **settings}
    scores, summary = filter_labels(labels, FilterConfig.model_validate(values))
    reasons = scores["reason"].to_pylist()
    assert scores["kept"].to_pylist() == [reason == KEPT for reason in reasons]
    assert summary["kept_clips"] == reasons.count(KEPT)
    return reasons


def confident(*values: float | None) -> pa.Table:
    return label_table([{"mean_logprob": None if v is None else np.log(v)} for v in values])


def entropic(*values: float | None, **more: Any) -> pa.Table:
    return label_table([{"mean_entropy": value, **more} for value in values])


def test_a_threshold_is_kept_neither_by_low_scores_nor_by_high():
    low = decide(entropic(0.5, 1.0, 2.0), {"score": "entropy", "threshold": 1.0})
    assert low == [KEPT, "entropy >= 1", "entropy >= 1"]
    high = decide(entropic(1.0, ended=True), {"score": "ended", "threshold": 1.0})
    assert high == ["ended <= 1"]
    assert decide(confident(0.2, 0.7), {"score": "confidence", "threshold": 0.5}) == [
        "confidence <= 0.5",
        KEPT,
    ]


def test_lambda_is_a_filter_like_any_other():
    labels = scored_labels(60, unreferenced=5)
    tables = [
        filter_labels(labels, FilterConfig.model_validate(config))
        for config in (
            {"max_error_rate": 20.0},
            {"max_error_rate": None, "filters": [{"score": "error_rate", "threshold": 20.0}]},
        )
    ]
    assert tables[0][0].equals(tables[1][0])
    assert tables[0][0].schema == SCHEMA
    assert tables[1][1].pop("cuts") == {"error rate": 20.0}
    assert tables[0][1] == tables[1][1]
    assert tables[0][1]["max_error_rate"] == 20.0


def test_each_clip_must_pass_all_and_the_first_to_drop_it_is_the_reason():
    labels = label_table(
        [
            {"mean_entropy": e, "compression_ratio": c, "reference": "one day we saw"}
            for e, c in ((0.1, 1.0), (0.1, 3.0), (9.0, 1.0), (9.0, 3.0))
        ]
    )
    loops = {"score": "compression", "threshold": 2.4}
    odd = {"score": "entropy", "keep_fraction": 0.5}
    worst = "entropy: not in the best 50 %"
    assert decide(labels, loops, odd) == [KEPT, "compression >= 2.4", worst, "compression >= 2.4"]
    assert decide(labels, odd, loops) == [KEPT, "compression >= 2.4", worst, worst]


@pytest.mark.parametrize("fraction, kept", [(0.0, 0), (0.5, 5), (0.74, 7), (1.0, 10)])
def test_the_best_part_is_kept(fraction: float, kept: int):
    values = np.random.default_rng(0).permutation(10) / 10
    reasons = decide(entropic(*values), {"score": "entropy", "keep_fraction": fraction})
    assert [v for v, r in zip(values, reasons, strict=True) if r == KEPT] == [
        v for v in values if v < kept / 10
    ]


def test_among_equals_no_place_in_the_corpus_comes_first():
    reasons = decide(entropic(*[0.0] * 1000), {"score": "entropy", "keep_fraction": 0.4})
    assert reasons.count(KEPT) == 400
    assert 150 < reasons[:500].count(KEPT) < 250
    assert reasons == decide(entropic(*[0.0] * 1000), {"score": "entropy", "keep_fraction": 0.4})


def test_what_a_score_cannot_tell_of_has_no_part_in_the_fraction():
    labels = entropic(0.1, None, 0.2, None, 0.3, 0.4)
    half = {"score": "entropy", "keep_fraction": 0.5}
    worst = "entropy: not in the best 50 %"
    assert decide(labels, half) == [KEPT, KEPT, KEPT, KEPT, worst, worst]
    assert decide(labels, {**half, "missing": "drop"}) == [KEPT, worst, KEPT, worst, worst, worst]
    low = {"score": "entropy", "threshold": 0.25, "missing": "drop"}
    assert decide(labels, low).count(KEPT) == 2


def test_what_is_dropped_anyway_has_no_part_in_it_either():
    labels = label_table(
        [{"mean_entropy": 0.0, "label": ""}] * 4 + [{"mean_entropy": e} for e in (0.1, 0.2)]
    )
    reasons = decide(labels, {"score": "entropy", "keep_fraction": 0.5})
    assert reasons == ["empty label"] * 4 + [KEPT, "entropy: not in the best 50 %"]


def test_as_many_as_another_filter_keeps():
    labels = scored_labels(90)
    as_many = {"score": "error_rate", "threshold": 20.0}
    supervised = decide(labels, {**as_many})
    matched = decide(labels, {"score": "confidence", "match": as_many})
    assert matched.count(KEPT) == supervised.count(KEPT)
    assert matched != supervised
    share = 100 * supervised.count(KEPT) / 90
    assert set(matched) == {
        KEPT,
        f"confidence: not in the best {share:.4g} % (as many as error rate at 20)",
    }


def test_of_clips_without_reference_the_same_part_is_kept():
    """What the other filter cannot judge does not count in its share."""
    labels = scored_labels(90, unreferenced=30)
    as_many = {"score": "error_rate", "threshold": 20.0}
    share = decide(labels.slice(30), {**as_many}).count(KEPT) / 60
    assert decide(labels, {"score": "confidence", "match": as_many}).count(KEPT) == round(
        share * 90
    )


def test_nothing_to_match():
    match = {"score": "entropy", "match": {"score": "error_rate", "threshold": 80.0}}
    with pytest.raises(UserError, match=r"error_rate says nothing of any of the 2 labels"):
        decide(entropic(0.1, 0.2), match)
    assert decide(label_table([]), match) == []
    assert decide(label_table([{"label": ""}]), match) == ["empty label"]


def test_ranks_are_middle_ranks():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 6, 50).astype(float)
    np.testing.assert_allclose(ranks(values), (scipy.stats.rankdata(values) - 0.5) / 50)
    values[rng.random(50) < 0.3] = np.nan
    known = ~np.isnan(values)
    found = ranks(values)
    assert (np.isnan(found) == ~known).all()
    wanted = (scipy.stats.rankdata(values[known]) - 0.5) / known.sum()
    np.testing.assert_allclose(found[known], wanted)
    assert ranks(np.zeros(0)).shape == (0,)
    assert np.isnan(ranks(np.full(3, np.nan))).all()


def test_the_mean_rank_is_of_the_scores_that_tell():
    first, second = np.array([1.0, 2.0, np.nan, np.nan]), np.array([5.0, np.nan, 1.0, np.nan])
    found = mean_rank([first, second])
    np.testing.assert_allclose(found[:3], [(0.25 + 0.75) / 2, 0.75, 0.25])
    assert np.isnan(found[3])


def test_filters_by_the_mean_rank_of_several_scores():
    labels = label_table(
        [
            {"mean_entropy": e, "mean_logprob": c}
            for e, c in ((0.1, -0.1), (0.2, -0.9), (0.9, -0.2), (0.8, -0.8))
        ]
    )
    reasons = decide(labels, {"rank": ["entropy", "confidence"], "keep_fraction": 0.25})
    assert reasons[0] == KEPT
    assert set(reasons[1:]) == {"rank of entropy, confidence: not in the best 25 %"}


def test_scores_that_decided_are_in_the_table():
    labels = scored_labels(30, unreferenced=2)
    filters = [{"rank": ["entropy", "speech_rate"], "keep_fraction": 0.5}]
    config = FilterConfig.model_validate({"max_error_rate": 50.0, "filters": filters})
    scores, summary = filter_labels(labels, config)
    assert scores.column_names == [*SCHEMA.names, "entropy", "speech_rate"]
    assert scores["entropy"].to_pylist() == labels["mean_entropy"].to_pylist()
    assert summary["max_error_rate"] == 50.0
    assert list(summary["cuts"]) == ["error rate", "rank of entropy, speech rate"]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"threshold": 1.0}, "either `score: NAME` or `rank"),
        ({"score": "entropy", "rank": ["ended"], "threshold": 1.0}, "either `score: NAME`"),
        ({"score": "entropy"}, "one of threshold, keep_fraction, match, got -"),
        ({"score": "entropy", "threshold": 1.0, "keep_fraction": 0.5}, "threshold and keep_frac"),
        ({"rank": ["entropy", "ended"], "threshold": 1.0}, "no threshold of its own"),
        ({"rank": ["entropy", "entropy"], "keep_fraction": 0.5}, "names a score twice"),
        ({"score": "entropy", "threshold": float("nan")}, "finite"),
        ({"score": "entropy", "keep_fraction": 1.1}, "less than or equal to 1"),
    ],
)
def test_a_filter_is_one_score_and_one_cut(wrong: dict, message: str):
    with pytest.raises(ValidationError, match=message):
        Filter.model_validate(wrong)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"filters": [{"score": "entropi", "threshold": 1}]}, "did you mean 'entropy'"),
        ({"filters": [{"rank": ["ended", "proxy"], "keep_fraction": 1}]}, "'proxy' must be listed"),
        (
            {"filters": [{"score": "ended", "match": {"score": "wer", "threshold": 1}}]},
            "filters.0: score 'wer'",
        ),
        ({"scores": [{"name": "likelihood"}, {"name": "likelihood"}]}, "likelihood stands there"),
    ],
)
def test_filters_name_scores_that_are_there(wrong: dict, message: str):
    with pytest.raises(ValidationError, match=message):
        FilterConfig.model_validate(wrong)


def test_a_listed_score_has_its_own_settings():
    config = FilterConfig.model_validate({"scores": [{"name": "repetition", "n": 1}]})
    assert config.available["repetition"].model_dump() == {"name": "repetition", "n": 1}
    labels = label_table([{"label": "no no no"}, {"label": "one day we saw"}])
    few = {"score": "repetition", "threshold": 0.5}
    assert decide(labels, few) == [KEPT, KEPT]
    assert decide(labels, few, scores=[{"name": "repetition", "n": 1}]) == [
        "repetition >= 0.5",
        KEPT,
    ]

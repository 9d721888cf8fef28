"""AUC, average precision and the rest against slow plain versions and scipy's."""

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from distil_jax.errors import UserError
from distil_jax.labelling.filters import FilterConfig, filter_labels
from distil_jax.labelling.filters.audit import (
    auc,
    auc_interval,
    audit,
    average_precision,
    precision_recall,
    tallies,
)
from distil_jax.labelling.filters.charts import write_precision_recall
from tests.labelling.made_up_labels import label_table, scored_labels


def drawn(seed: int, count: int = 60, distinct: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Badness with many ties, and what is wrong."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(count) < 0.3
    return np.round(rng.normal(size=count) * distinct / 4 + wrong), wrong


def pair_count(badness: np.ndarray, wrong: np.ndarray) -> float:
    pairs = [(bad, good) for bad in badness[wrong] for good in badness[~wrong]]
    return sum(1.0 if bad > good else 0.5 if bad == good else 0.0 for bad, good in pairs) / len(
        pairs
    )


def plain_average_precision(badness: np.ndarray, wrong: np.ndarray) -> float:
    total, before = 0.0, 0.0
    for threshold in sorted(set(badness), reverse=True):
        dropped = badness >= threshold
        recall = wrong[dropped].sum() / wrong.sum()
        total += (recall - before) * wrong[dropped].mean()
        before = recall
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("distinct", [1, 8, 1000])
def test_auc_counts_pairs_and_ties_half(seed: int, distinct: int):
    badness, wrong = drawn(seed, distinct=distinct)
    found = auc(tallies(badness, wrong))
    assert found == pytest.approx(pair_count(badness, wrong), abs=1e-12)
    u = scipy.stats.mannwhitneyu(badness[wrong], badness[~wrong]).statistic
    assert found == pytest.approx(u / (wrong.sum() * (~wrong).sum()), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("distinct", [1, 8, 1000])
def test_average_precision_and_its_curve(seed: int, distinct: int):
    badness, wrong = drawn(seed, distinct=distinct)
    counts = tallies(badness, wrong)
    assert average_precision(counts) == pytest.approx(plain_average_precision(badness, wrong))
    precision, recall = precision_recall(counts)
    for threshold, p, r in zip(sorted(set(badness), reverse=True), precision, recall, strict=True):
        dropped = badness >= threshold
        assert p == pytest.approx(wrong[dropped].mean())
        assert r == pytest.approx(wrong[dropped].sum() / wrong.sum())


def test_where_all_are_wrong_or_none_there_is_no_auc():
    values = np.arange(3.0)
    for wrong in (np.ones(3, bool), np.zeros(3, bool)):
        assert auc(tallies(values, wrong)) is None
        assert auc_interval(values, wrong, 0) is None
    assert average_precision(tallies(values, np.zeros(3, bool))) is None
    assert average_precision(tallies(values, np.ones(3, bool))) == 1.0
    nothing = np.zeros(0), np.zeros(0, bool)
    assert auc(tallies(*nothing)) is None
    assert auc_interval(*nothing, 0) is None


def test_the_interval_is_that_of_a_plain_bootstrap():
    badness, wrong = drawn(0, count=80)
    rng = np.random.default_rng(7)
    found = []
    for _ in range(1000):
        chosen = rng.integers(80, size=80)
        found.append(pair_count(badness[chosen], wrong[chosen]))
    assert auc_interval(badness, wrong, 7) == pytest.approx(
        np.percentile(found, [2.5, 97.5]), abs=1e-4
    )


CONFIG = FilterConfig.model_validate(
    {
        "max_error_rate": None,
        "filters": [
            {"score": "confidence", "threshold": 0.5},
            {"rank": ["confidence", "entropy"], "keep_fraction": 0.6},
        ],
    }
)


def rows_of(labels: pa.Table, config: FilterConfig = CONFIG) -> dict[str, dict]:
    return {row["filter"]: row for row in audit(labels, config, 20.0, 0).rows}


def test_a_row_tells_what_the_filter_would_do():
    labels = scored_labels(120)
    found = rows_of(labels)["confidence"]
    scores, _ = filter_labels(labels, CONFIG.model_copy(update={"filters": CONFIG.filters[:1]}))
    rate, kept = scores["score"].to_numpy(), scores["kept"].to_numpy()
    wrong, counted = (
        rate >= 20.0,
        {n: scores[n].to_numpy()[kept].sum() for n in ("errors", "length")},
    )
    confidence = np.exp(labels["mean_logprob"].to_numpy())
    assert found["n"] == 120
    assert found["auc"] == pytest.approx(pair_count(-confidence, wrong), abs=1e-4)
    assert found["interval"][0] < found["auc"] < found["interval"][1]
    assert found["cut"] == 0.5
    assert found["precision"] == pytest.approx(wrong[~kept].mean(), abs=1e-4)
    assert found["recall"] == pytest.approx((wrong & ~kept).sum() / wrong.sum(), abs=1e-4)
    assert found["clips"] == kept.sum()
    hours = labels["duration"].to_numpy()[kept].sum() / 3600
    assert found["hours"] == pytest.approx(hours, abs=1e-4)
    rate_kept = 100 * counted["errors"] / counted["length"]
    assert found["error_rate"] == pytest.approx(rate_kept, abs=1e-4)


def test_every_score_has_a_row_and_so_has_the_rank():
    labels = scored_labels(120)
    found = rows_of(labels)
    names = {name.replace("_", " ") for name in CONFIG.available}
    assert set(found) == {*names, "rank of confidence, entropy"}
    best = found["error rate"]
    assert (best["auc"], best["ap"]) == (1.0, 1.0)
    assert (best["precision"], best["recall"]) == (1.0, 1.0)
    assert found["entropy"]["clips"] == best["clips"]  # no cut of its own: as many
    assert found["ended"]["auc"] == 0.5  # the same for all
    assert found["rank of confidence, entropy"]["clips"] == 72
    alone = audit(labels, FilterConfig(), 20.0, 0).rows
    assert [row["filter"] for row in alone][-1].startswith("rank of confidence, entropy, compress")


def test_only_labels_with_a_reference_are_looked_at():
    labels = scored_labels(120, unreferenced=20)
    found = audit(labels, CONFIG, 20.0, 0)
    assert found.labels == 100
    assert found.wrong == sum(
        rate >= 20 for rate in filter_labels(labels, CONFIG)[0]["score"].to_pylist()[20:]
    )
    assert all(row["clips"] <= 100 and row["n"] == 100 for row in found.rows)


def test_labels_that_are_dropped_anyway_are_not_looked_at():
    rows = [{"label": text, "reference": "one day"} for text in ("one day", "", "...", "ONE DAY")]
    assert audit(label_table(rows), FilterConfig(), 20.0, 0).labels == 1


def test_words_and_characters_are_never_in_one_sum():
    rows = [{"label": "我", "reference": "我", "language": "zh"}, {"reference": "one day we saw"}]
    assert rows_of(label_table(rows))["error rate"]["error_rate"] is None


def test_without_references_there_is_nothing_to_audit():
    for labels in (scored_labels(5, unreferenced=5), label_table([])):
        with pytest.raises(UserError, match="has a reference to be audited by"):
            audit(labels, FilterConfig(), 20.0, 0)


def test_where_nothing_is_wrong_the_figures_are_left_out():
    labels = label_table([{"reference": "one day we saw", "mean_entropy": 0.1}] * 3)
    found = audit(labels, FilterConfig(), 20.0, 0)
    assert found.wrong == 0
    assert {row["auc"] for row in found.rows} == {None}
    assert found.curves == {}


def test_the_curves_are_a_picture(tmp_path):
    for number, labels in enumerate(
        [scored_labels(60), label_table([{"reference": "one day we saw"}])]
    ):
        found = audit(labels, CONFIG, 20.0, 0)
        path = tmp_path / f"{number}.png"
        write_precision_recall(found.curves, found.wrong / found.labels, 20.0, path)
        assert path.read_bytes().startswith(b"\x89PNG\r\n")

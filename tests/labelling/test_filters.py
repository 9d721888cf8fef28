"""The filter: a score for every label, and a decision that can be made again."""

import pyarrow as pa
import pytest
from pydantic import ValidationError

from distil_jax.labelling.filters import KEPT, SCHEMA, FilterConfig, filter_labels, write_histogram

TEN_WORDS = "one day we saw that many old red birds sang"


def row(label: str, reference: str | None = TEN_WORDS, language: str | None = "en") -> dict:
    return {
        "id": "clip",
        "corpus": "corpus",
        "duration": 3600.0,
        "reference": reference,
        "label": label,
        "language": language,
    }


def table(*rows: dict) -> pa.Table:
    columns = ("id", "corpus", "duration", "reference", "label", "language")
    types = {"duration": pa.float64()}
    return pa.Table.from_pylist(
        list(rows), pa.schema([(name, types.get(name, pa.string())) for name in columns])
    )


def reason(label: dict, **config) -> str:
    (scored,) = filter_labels(table(label), FilterConfig(**config))[0].to_pylist()
    assert scored["kept"] == (scored["reason"] == KEPT)
    return scored["reason"]


def test_a_good_label_is_kept():
    assert reason(row(TEN_WORDS)) == KEPT
    assert reason(row("One day, we saw that many old red birds sang!")) == KEPT


def test_the_error_rate_must_lie_below_lambda_not_at_it():
    one_wrong = row(TEN_WORDS.replace("birds", "cows"))
    assert reason(one_wrong, max_error_rate=10.0) == "error rate >= 10"
    assert reason(one_wrong, max_error_rate=10.1) == KEPT
    assert reason(row(TEN_WORDS), max_error_rate=0.0) == "error rate >= 0"


def test_without_lambda_no_label_is_too_wrong():
    assert reason(row("wholly other words"), max_error_rate=None) == KEPT


@pytest.mark.parametrize("label", ["", "  ", "...", "[music]"])
def test_a_label_with_nothing_in_it_is_dropped(label: str):
    assert reason(row(label), max_error_rate=None) == "empty label"
    assert reason(row(label, reference=None), max_error_rate=None) == "empty label"


@pytest.mark.parametrize("reference", ["", " ", "...", "(laughs)"])
def test_an_empty_reference_is_no_measure(reference: str):
    assert reason(row("words", reference=reference), max_error_rate=None) == "empty reference"


def test_clips_without_reference_go_by_their_own_setting():
    unreferenced = row("words", reference=None)
    assert reason(unreferenced, unreferenced="keep", max_error_rate=0.0) == KEPT
    assert reason(unreferenced, unreferenced="drop", max_error_rate=None) == "no reference"


def test_capitals_only_are_dropped_if_asked():
    shouted = row(TEN_WORDS.upper())
    assert reason(shouted) == "upper case"
    assert reason(row(TEN_WORDS.upper() + ". 123!")) == "upper case"
    assert reason(shouted, drop_upper_case=False) == KEPT


@pytest.mark.parametrize(
    "text, language",
    [("今日は公園へ", "ja"), ("आज हम बगीचे", "hi"), ("اليوم ذهبنا", "ar"), ("1984", "en")],
)
def test_scripts_without_case_are_never_upper_case(text: str, language: str):
    assert reason(row(text, reference=text, language=language)) == KEPT


def test_unspaced_languages_are_scored_in_characters():
    scores, _ = filter_labels(table(row("我们去公园", "我们去花园", "zh")), FilterConfig())
    (scored,) = scores.to_pylist()
    assert (scored["errors"], scored["length"], scored["score"]) == (1, 5, 20.0)
    assert scored["unit"] == "character"


def mixed() -> pa.Table:
    return table(
        row(TEN_WORDS),
        row(TEN_WORDS.replace("birds", "cows")),
        row("nothing like it"),
        row(""),
        row("words", reference=None),
    )


def test_every_label_has_its_row_and_its_score_whatever_lambda_is():
    few, _ = filter_labels(mixed(), FilterConfig(max_error_rate=5.0))
    many, _ = filter_labels(mixed(), FilterConfig(max_error_rate=50.0))
    assert few.schema == many.schema == SCHEMA
    assert few["score"].to_pylist() == many["score"].to_pylist() == [0.0, 10.0, 100.0, 100.0, None]
    assert few["kept"].to_pylist() == [True, False, False, False, True]
    assert many["kept"].to_pylist() == [True, True, False, False, True]


def test_the_summary_counts_clips_hours_and_reasons():
    _, summary = filter_labels(mixed(), FilterConfig(max_error_rate=5.0))
    assert summary == {
        "kept_clips": 2,
        "dropped_clips": 3,
        "kept_hours": 2.0,
        "dropped_hours": 3.0,
        "max_error_rate": 5.0,
        "unreferenced_clips": 1,
        "reasons": {"error rate >= 5": 2, "empty label": 1},
    }


def test_a_table_without_rows_is_filtered_too():
    scores, summary = filter_labels(table(), FilterConfig())
    assert scores.num_rows == 0
    assert (summary["kept_clips"], summary["dropped_hours"]) == (0, 0)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_lambda_is_a_number_of_percent(wrong: float):
    with pytest.raises(ValidationError):
        FilterConfig(max_error_rate=wrong)


@pytest.mark.parametrize("labels", [mixed(), table(), table(row("words", reference=None))])
@pytest.mark.parametrize("max_error_rate", [None, 10.0, 300.0])
def test_the_histogram_is_a_picture(labels, max_error_rate, tmp_path):
    scores, _ = filter_labels(labels, FilterConfig(max_error_rate=max_error_rate))
    write_histogram(scores, max_error_rate, tmp_path / "histogram.png")
    assert (tmp_path / "histogram.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert [path.name for path in tmp_path.iterdir()] == ["histogram.png"]

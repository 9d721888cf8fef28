"""Error rates by language: each as if its clips were a set of their own."""

import pytest

from distil_jax.evaluation.error_rates import compare
from distil_jax.evaluation.languages import by_language


def row(language: str | None, reference: str, teacher: str, student: str) -> dict:
    return {
        "language": language,
        "reference": reference,
        "teacher": teacher,
        "student": student,
    }


ENGLISH = [
    row("en", "Mr. Smith can't colour", "mister smith can not color", "mister smith can color"),
    row("English", "we saw birds", "we saw birds", "we saw cows"),
]
HINDI = [row("hi", "हिन्दी में बात", "हिन्दी में बात", "हिन्द में बात")]
CHINESE = [row("zh", "我们去公园", "我们去公园", "我们去花园吧")]


def test_each_language_is_counted_in_its_own_way():
    rows = [CHINESE[0], ENGLISH[0], HINDI[0], ENGLISH[1], row(None, "a b", "a", "b")]
    found = by_language(rows, seed=3, resamples=100)
    assert list(found["by_language"]) == ["en", "hi", "zh"]
    for code, own in (("en", ENGLISH), ("hi", HINDI), ("zh", CHINESE)):
        alone, told = compare(own, 3, 100), found["by_language"][code]
        assert (told["clips"], told["unit"]) == (len(own), alone["student"]["unit"])
        for side in ("teacher", "student", "difference"):
            assert told[side] == {name: alone[side][name] for name in ("error_rate", "interval")}
    rates = {code: each["student"]["error_rate"] for code, each in found["by_language"].items()}
    # One word of five and one of three; one of three; two characters of five.
    assert rates == pytest.approx({"en": 25.0, "hi": 100 / 3, "zh": 40.0}, abs=1e-4)
    assert {each["teacher"]["error_rate"] for each in found["by_language"].values()} == {0.0}
    mean = pytest.approx((25 + 100 / 3 + 40) / 3, abs=1e-3)
    assert found["macro_average"] == {"teacher": 0.0, "student": mean, "difference": mean}


def test_a_language_without_references_is_not_in_the_mean():
    found = by_language([*ENGLISH, row("de", "", "ja", "nein")], seed=0, resamples=100)
    assert found["by_language"]["de"]["student"]["error_rate"] is None
    assert found["macro_average"]["student"] == 25.0


def test_one_language_has_no_table():
    assert by_language(ENGLISH, seed=0, resamples=100) == {}
    assert by_language([*ENGLISH, row(None, "a", "a", "a")], seed=0, resamples=100) == {}
    assert by_language([], seed=0, resamples=100) == {}

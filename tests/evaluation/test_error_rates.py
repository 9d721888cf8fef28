"""Error rates against jiwer's, their intervals against a slow plain loop."""

import random

import jiwer
import numpy as np
import pytest

from distil_jax.evaluation.error_rates import (
    compare,
    corpus_error_rate,
    corpus_unit,
    hallucination_by_clip,
)

ROLES = ("teacher", "student")


def row(reference: str | None, teacher: str, student: str, language: str | None = "en") -> dict:
    return {
        "reference": reference,
        "teacher": teacher,
        "student": student,
        "language": language,
    }


def random_rows(seed: int, count: int = 30) -> list[dict]:
    """Texts that every normaliser leaves as they are."""
    rng = random.Random(seed)
    return [
        row(*(" ".join(rng.choices("bcdf", k=rng.randint(1, 9))) for _ in "rts"))
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_rates_are_jiwers(seed: int):
    rows = random_rows(seed)
    found = compare(rows, seed=0, resamples=100)
    references = [each["reference"] for each in rows]
    for role in ROLES:
        hypotheses = [each[role] for each in rows]
        theirs = jiwer.process_words(references, hypotheses)
        ours = found[role]
        assert ours["error_rate"] == pytest.approx(100 * theirs.wer, abs=1e-4)
        assert ours["substitutions"] == theirs.substitutions
        assert ours["deletions"] == theirs.deletions
        assert ours["insertions"] == theirs.insertions
        assert ours["reference_length"] == sum(len(each.split()) for each in references)
        pairs = zip(references, hypotheses, ["en"] * len(rows), strict=True)
        assert corpus_error_rate(pairs) == pytest.approx(100 * theirs.wer)


def plain_bootstrap(rows: list[dict], seed: int, resamples: int) -> dict[str, list[float]]:
    """Draw clips, put them together, ask jiwer for the rate."""
    rng = np.random.default_rng(seed)
    rates = {"teacher": [], "student": [], "difference": []}
    for _ in range(resamples):
        drawn = [rows[i] for i in rng.integers(len(rows), size=len(rows))]
        references = [each["reference"] for each in drawn]
        teacher, student = (
            100 * jiwer.wer(references, [each[role] for each in drawn]) for role in ROLES
        )
        rates["teacher"].append(teacher)
        rates["student"].append(student)
        rates["difference"].append(student - teacher)
    return {name: np.percentile(each, [2.5, 97.5]).tolist() for name, each in rates.items()}


def test_intervals_are_those_of_a_plain_loop():
    rows = random_rows(7, count=12)
    found = compare(rows, seed=3, resamples=200)
    for name, interval in plain_bootstrap(rows, seed=3, resamples=200).items():
        assert found[name]["interval"] == pytest.approx(interval, abs=1e-4)


def test_the_difference_is_paired():
    """Both models stumble over the same clips: each rate is uncertain, their difference is not."""
    rng = random.Random(0)
    rows = []
    for _ in range(60):
        wrong = rng.randint(0, 9)
        text = ["b"] * 10
        teacher, student = ["c"] * wrong + text[wrong:], ["c"] * (wrong + 1) + text[wrong + 1 :]
        rows.append(row(*(" ".join(each) for each in (text, teacher, student))))
    found = compare(rows, seed=0, resamples=300)
    low, high = found["teacher"]["interval"]
    assert high - low > 5
    assert found["difference"] == {"error_rate": 10.0, "interval": [10.0, 10.0]}


def test_the_same_seed_gives_the_same_figures():
    rows = random_rows(1)
    first = compare(rows, seed=5, resamples=100)
    assert compare(rows, seed=5, resamples=100) == first
    assert (
        compare(rows, seed=6, resamples=100)["teacher"]["interval"] != first["teacher"]["interval"]
    )


def test_a_perfect_student_is_certain():
    found = compare([row("b c", "b c", "b c")] * 4, seed=0, resamples=100)
    assert found["student"]["error_rate"] == 0.0
    assert found["student"]["interval"] == [0.0, 0.0]


def test_english_is_compared_under_its_own_normaliser():
    found = compare([row("Mr. Smith can't colour", "mister smith can not color", "")], 0, 100)
    assert found["teacher"]["error_rate"] == 0.0
    assert found["student"]["deletions"] == found["student"]["reference_length"] == 5


@pytest.mark.parametrize("nothing", [None, "", " ", "[noise]"])
def test_clips_without_reference_do_not_count(nothing: str | None):
    rows = random_rows(2)
    loop = row(nothing, "b " * 50, "c " * 50)
    found, without = compare([*rows, loop], 0, 100), compare(rows, 0, 100)
    assert (found.pop("clips"), found.pop("unreferenced")) == (31, 1)
    assert (without.pop("clips"), without.pop("unreferenced")) == (30, 0)
    assert found == without


def test_without_any_reference_only_repetitions_are_told():
    found = compare([row(None, "b c d f g", "c " * 8)] * 2, seed=0, resamples=100)
    assert found["unreferenced"] == 2
    assert found["difference"] == {"error_rate": None, "interval": None}
    for role in ROLES:
        assert found[role]["error_rate"] is None
        assert found[role]["interval"] is None
    assert found["student"]["repeated_5grams"] == {"corpus": 11, "per_file_mean": 3.0}


def test_no_clips_at_all():
    found = compare([], seed=0, resamples=100)
    assert found["clips"] == 0
    assert found["teacher"]["error_rate"] is None
    assert corpus_error_rate([]) is None
    assert corpus_error_rate([("", "words", "en")]) is None


def test_chinese_is_counted_in_characters():
    found = compare([row("我们 去公园。", "我们去公园", "我们去花园吧", "zh")], 0, 100)
    assert found["teacher"]["error_rate"] == 0.0
    student = found["student"]
    assert (student["substitutions"], student["insertions"]) == (1, 1)
    assert (student["reference_length"], student["unit"]) == (5, "character")


def test_a_mixed_corpus_is_counted_in_characters_throughout():
    rows = [
        row("我们去", "我们去", "我们", "zh"),
        row("birds sang", "birds sang", "bird sang", "en"),
    ]
    student = compare(rows, seed=0, resamples=100)["student"]
    assert (student["unit"], student["reference_length"]) == ("character", 3 + 9)
    assert student["deletions"] == 2
    pairs = [(each["reference"], each["student"], each["language"]) for each in rows]
    assert corpus_error_rate(pairs) == pytest.approx(100 * 2 / 12)


def test_one_clip_taken_for_chinese_does_not_turn_a_corpus_of_words():
    rows = random_rows(3, count=40)
    rows[5]["language"] = "zh"
    found = compare(rows, seed=0, resamples=100)
    assert found["teacher"]["unit"] == "word"
    assert found["teacher"]["reference_length"] == sum(len(r["reference"].split()) for r in rows)


def test_each_clip_s_own_hallucination():
    rows = [
        row("we saw it", "we saw it", "we saw it all"),
        row("", "so " * 8, ""),
        row("3 birds.", "three birds", "3 birds and so and so and so and so"),
    ]
    found = hallucination_by_clip(rows)
    assert [each["student_ier"] for each in found] == [pytest.approx(100 / 3, abs=1e-4), None, 400]
    assert [each["teacher_ier"] for each in found] == [0, None, 0]
    assert [each["teacher_repeated_5grams"] for each in found] == [0, 3, 0]
    assert [each["student_repeated_5grams"] for each in found] == [0, 0, 2]
    assert hallucination_by_clip([]) == []


def test_what_a_corpus_is_counted_in():
    assert corpus_unit(["en", None, "de"]) == "word"
    assert corpus_unit(["Chinese", "ja"]) == "character"
    assert corpus_unit([]) == "word"

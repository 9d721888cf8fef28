"""Hallucination measures: against the paper's script step by step, and counted by hand."""

import json
import random
from importlib.resources import files

import jiwer
import pytest
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from distil_jax.data.text import units
from distil_jax.evaluation.hallucination import hallucination, repeated_ngrams, without_stops


def test_a_loop_is_counted_within_its_text():
    # abcde bcdea cdeab deabc eabcd | abcde again: six 5-grams, five distinct.
    loop = list("abcdeabcde")
    assert repeated_ngrams([loop]) == {"corpus": 1, "per_file_mean": 1.0}
    # One word twenty times: sixteen 5-grams, all the same.
    assert repeated_ngrams([["thanks"] * 20]) == {"corpus": 15, "per_file_mean": 15.0}


def test_the_corpus_is_one_text():
    phrase = ["press", "one", "for", "the", "operator"]
    # Joined: 5-grams at 0..5, of which 0 and 5 are the same.
    assert repeated_ngrams([phrase, phrase]) == {"corpus": 1, "per_file_mean": 0.0}


def test_n_grams_across_texts_count_as_in_the_papers_script():
    texts = [["a", "b", "c"], ["a", "b", "c"], ["a", "b", "c"]]
    joined = [unit for text in texts for unit in text]
    ngrams = [tuple(joined[i : i + 5]) for i in range(5)]
    assert repeated_ngrams(texts)["corpus"] == len(ngrams) - len(set(ngrams)) == 2


def test_the_mean_is_over_all_texts():
    found = repeated_ngrams([["x"] * 7, ["a"], [], list("bcdefg")])
    assert found["per_file_mean"] == 0.5


def test_other_lengths_and_nothing_at_all():
    assert repeated_ngrams([["a", "a", "a"]], n=2) == {"corpus": 1, "per_file_mean": 1.0}
    assert repeated_ngrams([]) == {"corpus": 0, "per_file_mean": 0.0}
    assert repeated_ngrams([["a"] * 4]) == {"corpus": 0, "per_file_mean": 0.0}


def as_in_the_papers_script(predictions: list[str], references: list[str]) -> dict[str, float]:
    """The script's own steps one after the other, with jiwer's counts."""
    normalise = EnglishTextNormalizer(spellings())
    said = [normalise(text).replace(".", "") for text in predictions]
    wanted = [normalise(text) for text in references]
    said = [said[i] for i in range(len(said)) if len(wanted[i]) > 0]
    wanted = [each for each in wanted if len(each) > 0]
    output = jiwer.process_words(wanted, said)
    length = sum(len(each) for each in output.references)
    words = " ".join(said).split()
    fives = list(zip(*(words[i:] for i in range(5)), strict=False))
    return {
        "wer": 100 * output.wer,
        "ier": 100 * output.insertions / length,
        "ser": 100 * output.substitutions / length,
        "der": 100 * output.deletions / length,
        "repeated_5grams": len(fives) - len(set(fives)),
    }


def spellings() -> dict[str, str]:
    table = files("whisper_normalizer").joinpath("normalizers/english.json")
    return json.loads(table.read_text(encoding="utf-8"))


def measured(predictions: list[str], references: list[str]) -> dict:
    ids = [f"clip-{number}" for number in range(len(references))]
    return hallucination(
        ids, [units(each, "en") for each in references], [units(each, "en") for each in predictions]
    )


PIECES = (
    *("thank you for watching", "3.5", "per cent", "U.S.", "Mr. Smith", "colour", "isn't", "the"),
    *("twenty one", "a", "$2.50", "...", "of the", "he's", "no. 7", "grey.", "- so", "1,000.25"),
)


def random_texts(seed: int, count: int = 40) -> tuple[list[str], list[str]]:
    """Predictions that are near their references, run on, or are of nothing at all."""
    rng = random.Random(seed)
    predictions, references = [], []
    for _ in range(count):
        wanted = rng.choices(PIECES, k=rng.randint(1, 12))
        said = [rng.choice(PIECES) if rng.random() < 0.15 else piece for piece in wanted]
        said = said * rng.choice([1, 1, 1, 6]) if rng.random() > 0.05 else []
        predictions.append(" ".join(said))
        references.append("[music]" if rng.random() < 0.1 else " ".join(["well", *wanted]))
    return predictions, references


@pytest.mark.parametrize("seed", range(6))
def test_rates_are_those_of_the_papers_script(seed: int):
    predictions, references = random_texts(seed)
    found = measured(predictions, references)
    for name, value in as_in_the_papers_script(predictions, references).items():
        assert found[name] == pytest.approx(value, abs=5e-5), name
    assert found["repeated_5grams"] > 0


def test_full_stops_go_out_of_the_predictions_only():
    """3.5 against 3.5 is an error, as it is in the script; and so is what it counts."""
    found = measured(["it rose 3.5 times", "yes"], ["It rose 3.5 times.", "Yes."])
    theirs = as_in_the_papers_script(["it rose 3.5 times", "yes"], ["It rose 3.5 times.", "Yes."])
    assert {name: found[name] for name in theirs} == pytest.approx(theirs, abs=5e-5)
    assert (found["ser"], found["ier"]) == (20.0, 0.0)  # "3.5" of five words
    assert without_stops(["3.5", ".", "a.b."]) == ["35", "ab"]


def test_references_of_symbols_alone_do_not_count():
    """The script keeps one that is normalised to a blank, which the jiwer of its day refused."""
    loop = "thank you " * 9
    with_them = measured([loop, loop, "we saw"], ["!!!", "[noise] (hm)", "we saw it"])
    assert with_them == measured(["we saw"], ["we saw it"]) | {"worst_files": []}
    assert with_them["der"] == pytest.approx(100 / 3, abs=5e-5)


def test_each_file_is_judged_by_itself():
    references = ["we saw it", "old red birds", "the sea was calm"]
    loop = "old red birds " * 4
    found = measured(["we saw it all", loop, "the sea was calm"], references)
    # Twelve words have eight 5-grams, of which three differ; nine words too many.
    assert found["worst_files"] == [
        {"id": "clip-1", "ier": 300.0, "insertions": 9, "repeated_5grams": 5},
        {
            "id": "clip-0",
            "ier": pytest.approx(100 / 3, abs=5e-5),
            "insertions": 1,
            "repeated_5grams": 0,
        },
    ]
    assert found["per_file"] == {
        "ier": pytest.approx((100 / 3 + 300 + 0) / 3, abs=1e-4),
        "repeated_5grams": pytest.approx(5 / 3, abs=5e-5),
        "files_with_repeats": 1,
    }
    assert found["ier"] == 100.0


def test_without_any_reference_only_repetitions_are_told():
    found = measured(["so " * 8, "we saw"], ["", ""])
    assert (found["ier"], found["wer"], found["per_file"]["ier"]) == (None, None, None)
    assert found["repeated_5grams"] == 3
    assert [file["id"] for file in found["worst_files"]] == ["clip-0", "clip-1"]
    assert measured([], [])["repeated_5grams"] == 0

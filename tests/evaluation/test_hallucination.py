"""Repeated n-grams, counted by hand and as the paper counts."""

from distil_jax.evaluation.hallucination import repeated_ngrams


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

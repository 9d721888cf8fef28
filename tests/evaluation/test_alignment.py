"""Alignments: pieces that spell both texts, with the fewest edits."""

import random

from distil_jax.data.text import Errors, count_errors
from distil_jax.evaluation.alignment import align, count_edits


def test_pieces_say_where_texts_differ():
    pieces = align(
        ["we", "saw", "old", "red", "birds", "on", "it"],
        ["we", "saw", "red", "cows", "on", "it", "all"],
    )
    assert pieces == [
        ("equal", ["we", "saw"], ["we", "saw"]),
        ("delete", ["old"], []),
        ("equal", ["red"], ["red"]),
        ("substitute", ["birds"], ["cows"]),
        ("equal", ["on", "it"], ["on", "it"]),
        ("insert", [], ["all"]),
    ]
    assert count_edits(pieces) == Errors(1, 1, 1, 7)


def test_empty_texts():
    assert align([], []) == []
    assert align(["a", "b"], []) == [("delete", ["a", "b"], [])]
    assert align([], ["a"]) == [("insert", [], ["a"])]
    assert count_edits([]) == Errors()


def test_pieces_spell_both_texts_and_count_what_the_filter_counts():
    rng = random.Random(0)
    for _ in range(300):
        wanted, got = (rng.choices("abcd", k=rng.randint(0, 12)) for _ in range(2))
        pieces = align(wanted, got)
        assert [unit for piece in pieces for unit in piece.reference] == wanted
        assert [unit for piece in pieces for unit in piece.hypothesis] == got
        assert count_edits(pieces) == count_errors(" ".join(wanted), " ".join(got), None)

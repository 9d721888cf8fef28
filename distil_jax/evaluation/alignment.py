"""Where two texts differ, and how often: an alignment with the fewest edits."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import jiwer

from distil_jax.data.text import Errors

Edit = Literal["equal", "substitute", "delete", "insert"]


class Piece(NamedTuple):
    """A stretch of reference and hypothesis under one kind of edit."""

    edit: Edit
    reference: list[str]
    hypothesis: list[str]


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Piece]:
    """Pieces from first to last. reference, hypothesis: units as of data.text.units."""
    wanted, got = list(reference), list(hypothesis)
    if not wanted or not got:
        whole = [Piece("delete", wanted, []), Piece("insert", [], got)]
        return [piece for piece in whole if piece.reference or piece.hypothesis]
    (chunks,) = jiwer.process_words(" ".join(wanted), " ".join(got)).alignments
    return [
        Piece(
            chunk.type,  # pyright: ignore[reportArgumentType]
            wanted[chunk.ref_start_idx : chunk.ref_end_idx],
            got[chunk.hyp_start_idx : chunk.hyp_end_idx],
        )
        for chunk in chunks
    ]


def count_edits(pieces: Iterable[Piece]) -> Errors:
    """The edits of an alignment, in units of the reference."""
    pieces = list(pieces)
    counts: Counter[Edit] = Counter()
    for piece in pieces:
        counts[piece.edit] += max(len(piece.reference), len(piece.hypothesis))
    length = sum(len(piece.reference) for piece in pieces)
    return Errors(counts["substitute"], counts["delete"], counts["insert"], length)

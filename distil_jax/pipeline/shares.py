"""One process's share of the utterances of a corpus, and the whole of what all made of them."""

from collections.abc import Iterable, Iterator

from distil_jax import processes
from distil_jax.data.speech import Utterance, Utterances


class Share:
    """Every so many-th utterance, one after the other; alone, a process has all of them."""

    def __init__(self, corpus: Utterances):
        self._corpus = corpus
        self._number: dict[str, int] = {}

    @property
    def count(self) -> int | None:
        """How many utterances; None where only reading them all would tell."""
        every = self._corpus.count
        return None if every is None else sum(1 for _ in processes.mine(range(every)))

    def __iter__(self) -> Iterator[Utterance]:
        for number, utterance in processes.mine(enumerate(self._corpus)):
            self._number[utterance.id] = number
            yield utterance

    def gather(self, rows: Iterable[tuple[str, dict]]) -> list[dict]:
        """The rows of all processes, in the order of the corpus. All must call it.

        rows: each with the id of the utterance that it is about, in the order of the share.
        """
        own = [(self._number[utterance], row) for utterance, row in rows]
        numbered = [each for part in processes.gather(own) for each in part]
        return [row for _, row in sorted(numbered, key=lambda each: each[0])]

"""In what order clips are decoded.

In a batch all wait for the longest text, and how long a clip is tells how long its text will be: so
clips of about one length are decoded together.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from distil_jax.data.speech import Clip

T = TypeVar("T")
Numbered = tuple[int, Clip]

# Clips that are read before the first of them is decoded: batches, and at most so many (1.9 MB of
# samples each, if they are of 30 s).
_BATCHES, _CLIPS = 4, 512


def windows(clips: Iterable[Clip], batch_size: int) -> Iterator[list[Numbered]]:
    """Numbered clips in groups of several batches; the next is read while one is worked on."""
    numbered = enumerate(clips)
    size = batch_size * max(1, min(_BATCHES, _CLIPS // batch_size))
    with ThreadPoolExecutor(1) as reader:

        def read() -> list[Numbered]:
            return list(islice(numbered, size))

        coming = reader.submit(read)
        while window := coming.result():
            coming = reader.submit(read)
            yield window


def batches(window: Iterable[Numbered], batch_size: int) -> Iterator[list[Numbered]]:
    """The clips of a window by their length, the longest first."""
    by_length = iter(sorted(window, key=lambda each: -len(each[1].samples)))
    while batch := list(islice(by_length, batch_size)):
        yield batch


def in_order(done: Iterable[tuple[int, T]]) -> Iterator[T]:
    """By number from 0, each as soon as all before it are there."""
    waiting: dict[int, T] = {}
    following = 0
    for number, each in done:
        waiting[number] = each
        while following in waiting:
            yield waiting.pop(following)
            following += 1

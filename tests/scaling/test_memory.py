"""The search for the largest batch, on made-up programs whose memory is known."""

import jax
import jax.numpy as jnp
import pytest

from distil_jax.scaling.memory import Memory, largest_batch, memory_of, shortage_of

GIB = 2**30
ARGUMENTS, ROOM = 4 * GIB, 16 * GIB


def program(per_clip: int, tried: list[int], says_room: bool = True):
    """Memory that grows in a line, and a compiler that tells the room only when it fails."""

    def measure(clips: int) -> Memory:
        tried.append(clips)
        used = ARGUMENTS + clips * per_clip
        if used > ROOM:
            return Memory(used, ROOM if says_room else None)
        return Memory(used, None, ARGUMENTS, clips * per_clip)

    return measure


@pytest.mark.parametrize("first", [1, 8, 40, 64, 200])
@pytest.mark.parametrize("per_clip", [GIB // 1000, GIB // 10, GIB // 5, GIB // 3, 5 * GIB])
def test_the_batch_found_fits_and_the_next_does_not(first, per_clip):
    tried: list[int] = []
    measure = program(per_clip, tried)
    best = largest_batch(measure, program(per_clip, [])(first), first, ROOM)
    most = (ROOM - ARGUMENTS) // per_clip
    assert best == (most if most < 8 else most - most % 8)
    assert best in tried
    assert any(best < clips <= 2 * best for clips in [first, *tried]), "twice was not seen to fail"
    assert len(tried) <= 6


def test_of_a_line_that_bends_the_answer_still_fits():
    """As where much that does not fit shares less of its memory."""
    tried: list[int] = []

    def measure(clips: int) -> Memory:
        tried.append(clips)
        used = ARGUMENTS + clips * GIB // 10
        fits = used <= ROOM
        return Memory(used if fits else 2 * used, ROOM, ARGUMENTS if fits else None, used)

    best = largest_batch(measure, measure(1), 1, ROOM)
    assert 100 <= best <= 120
    assert best in tried
    assert len(tried) <= 8
    assert any(best < clips <= 2 * best for clips in tried), "twice was not seen to fail"


def test_nothing_fits_where_one_clip_is_too_much():
    measure = program(13 * GIB, [])
    assert largest_batch(measure, measure(4), 4, ROOM) == 0


@pytest.mark.parametrize(
    "message,used",
    [
        ("Ran out of memory. Used 20.50G of 15.75G hbm. Exceeded by 4.75G.", 20.5 * GIB),
        ("HLO temporaries (21.00G) exceeds available HBM (15.75G).", 25 * GIB),
    ],
)
def test_the_compilers_words_are_understood(message, used):
    memory = shortage_of("RESOURCE_EXHAUSTED: " + message, ARGUMENTS)
    assert memory == Memory(used, int(15.75 * GIB))
    assert memory
    assert not memory.fits


def test_another_failure_is_not_taken_for_a_shortage():
    assert shortage_of("INTERNAL: something else", ARGUMENTS) is None


def test_a_donated_argument_is_counted_once():
    x = jax.ShapeDtypeStruct((1024,), jnp.float32)
    kept = memory_of(jax.jit(jnp.sin).lower(x).compile(), None)
    given = memory_of(jax.jit(jnp.sin, donate_argnums=0).lower(x).compile(), None)
    assert kept.arguments == given.arguments == 4096
    assert kept.used - given.used == 4096

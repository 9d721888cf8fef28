"""Clips joined to packs: what is in them, and that nothing is lost."""

from functools import partial
from itertools import chain

import numpy as np
import pytest

from distil_jax.data.audio import MAX_SAMPLES, SAMPLE_RATE
from distil_jax.data.loader import Example
from distil_jax.data.targets import build_target
from distil_jax.labelling.packing import Spoken, pack, with_previous
from distil_jax.models.vocabulary import Vocabulary
from distil_jax.pipeline.examples import target_tokens
from tests.made_up import MULTILINGUAL
from tests.made_up_student import made_up_student

LONGEST = 448


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Vocabulary:
    return made_up_student(tmp_path_factory.mktemp("tokenizer"), MULTILINGUAL).vocabulary


def stamp(words: Vocabulary, seconds: float) -> int:
    return words.first_timestamp + round(seconds * 50)


def clip(
    words: Vocabulary,
    id: str,
    samples: int,
    label: list[int],
    speaker: str | None = "anna",
    language: str = "en",
    corpus: str = "some",
) -> Spoken:
    sound = np.random.default_rng(len(id) + samples).normal(size=samples).astype(np.float32)
    example = Example(
        id,
        lambda: sound,
        words.prefix(language, timestamps=True),
        label,
        corpus=corpus,
        seconds=samples / SAMPLE_RATE,
    )
    return Spoken(example, speaker, language)


def text(words: Vocabulary, text: str) -> list[int]:
    return [*words.encode(text), words.end]


def packed(words: Vocabulary, clips: list[Spoken], longest: int = LONGEST) -> list[Example]:
    return [each.example for each in pack(clips, words, longest)]


def test_sound_and_text_of_a_speaker_stand_in_their_order(words):
    clips = [clip(words, f"{n}", 9 * SAMPLE_RATE, text(words, f" number {n}")) for n in range(7)]
    found = packed(words, clips)
    assert [each.id for each in found] == ["0+2", "3+2", "6"]
    assert words.decode(found[0].label) == " number 0 number 1 number 2"
    assert [each.label.count(words.end) for each in found] == [1, 1, 1]
    assert [each.seconds for each in found] == [27, 27, 9]
    sound = np.concatenate([each.example.load() for each in clips[3:6]])
    np.testing.assert_array_equal(found[1].load(), sound)
    assert found[2] == clips[6].example


def test_timestamps_move_with_their_clips(words):
    at = partial(stamp, words)
    one, two = words.encode(" one"), words.encode(" two")
    first = [at(0), *one, at(1.2), words.end]
    second = [at(0.5), *two, at(9), words.end]  # later than the clip ends
    third = [at(0.2), *one]  # and no closing one: the speech went on; nor an end
    sizes = [SAMPLE_RATE * 3 // 2 + 1, 2 * SAMPLE_RATE, SAMPLE_RATE]
    labels = [first, second, third]
    parts = zip("abc", sizes, labels, strict=True)
    [found] = packed(words, [clip(words, *part) for part in parts])
    # The first clip fills up to 1.52 s with silence.
    expected = [at(0), *one, at(1.2), at(2.02), *two, at(3.52), at(3.72), *one, at(4.52)]
    assert found.label == expected
    samples = found.load()
    assert len(samples) == found.seconds * SAMPLE_RATE == 4.52 * SAMPLE_RATE
    assert not samples[sizes[0] : round(1.52 * SAMPLE_RATE)].any()


def test_speakers_languages_and_corpora_stay_apart(words):
    say = text(words, " yes")
    clips = [
        clip(words, "a", 16_000, say),
        clip(words, "b", 16_000, say, speaker="ben"),
        clip(words, "c", 16_000, say),
        clip(words, "d", 16_000, say, language="de"),
        clip(words, "e", 16_000, say, corpus="other"),
        clip(words, "f", 16_000, say, speaker=None),
        clip(words, "g", 16_000, say, speaker=None),
    ]
    assert [e.id for e in packed(words, clips)] == ["a+1", "b", "d", "e", "f+1"]


def test_a_full_window_is_filled_and_not_a_sample_more(words):
    say = text(words, " yes")
    half = MAX_SAMPLES // 2
    assert len(packed(words, [clip(words, n, half, say) for n in "ab"])) == 1
    assert len(packed(words, [clip(words, "a", half, say), clip(words, "b", half + 1, say)])) == 2


def test_a_target_holds_the_whole_text(words):
    """The longest pack, with its text before, loses no token of its label."""
    ids = target_tokens(words, LONGEST)
    say = [*words.encode(" ") * 99, words.end]
    found = packed(words, [clip(words, str(n), 16_000, say) for n in range(9)])
    assert [len(each.label) for each in found] == [397, 397, 100]
    for longest, count in ((404, 4), (401, 4), (400, 4), (399, 3)):
        first = packed(words, [clip(words, str(n), 16_000, say) for n in range(9)], longest)[0]
        assert len(first.label) == count * 99 + 1
        assert len(build_target(ids, first.prefix, first.label)) <= longest


def test_nothing_stands_behind_a_text_that_was_cut_off(words):
    cut = words.encode(" and so")
    clips = [
        clip(words, "a", 16_000, text(words, " yes")),
        clip(words, "b", 16_000, cut),
        clip(words, "c", 16_000, text(words, " no")),
    ]
    found = packed(words, clips)
    assert [words.decode(each.label) for each in found] == [" yes and so", " no"]
    assert found[0].label[-1] != words.end


@pytest.mark.parametrize("language,joined", [("en", " yes no"), ("ja", " yesno")])
def test_texts_are_joined_as_their_language_is_written(words, language, joined):
    labels = [text(words, " yes"), text(words, "no")]
    clips = [clip(words, str(n), 16_000, t, language=language) for n, t in enumerate(labels)]
    [found] = packed(words, clips)
    assert words.decode(found.label) == joined


def test_silence_may_stand_among_speech(words):
    labels = [[words.end], text(words, " yes"), [words.end]]
    clips = [clip(words, str(n), 16_000, t) for n, t in enumerate(labels)]
    [found] = packed(words, clips)
    assert found.label == text(words, " yes")
    assert found.seconds == 3


def test_no_clip_is_lost_and_none_comes_twice(words):
    random = np.random.default_rng(0)
    clips = [
        clip(
            words,
            f"{n}",
            int(random.integers(1600, MAX_SAMPLES + 1)),
            [*random.integers(1000, 2000, random.integers(0, 200)).tolist(), words.end],
            speaker=random.choice(["anna", "ben", "cleo"]),
            language="ja",
        )
        for n in range(300)
    ]
    found = packed(words, clips)
    assert len(found) < len(clips)
    for speaker in ("anna", "ben", "cleo"):
        said = [c.example.label[:-1] for c in clips if c.speaker == speaker]
        own = [p.example.label[:-1] for p in pack(clips, words, LONGEST) if p.speaker == speaker]
        assert list(chain(*own)) == list(chain(*said))
    assert all(len(each.load()) <= MAX_SAMPLES for each in found)


def test_the_text_before_is_that_of_the_pack_before(words):
    clips = [
        clip(words, f"{n}", 16 * SAMPLE_RATE, text(words, f" {n}"), speaker=s)
        for n, s in enumerate(["anna", "ben", "anna", None, None])
    ]
    found = with_previous(pack(clips, words, LONGEST))
    assert [e.previous for e in found] == [None, None, text(words, " 0"), None, None]

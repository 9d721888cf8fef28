"""Labels with a model that drafts them: the teacher's own, on any number of devices."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from distil_jax.errors import UserError
from distil_jax.labelling.draft import Draft, acceptance, check_vocabulary
from distil_jax.labelling.label import Label
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.models.pretrained import Pretrained
from distil_jax.models.vocabulary import Vocabulary
from distil_jax.models.whisper import WhisperConfig, init
from distil_jax.students.layer_copy import StudentConfig, copy_layers, student_shape
from tests.labelling.test_transcriber import (
    ALWAYS,
    CONFIG,
    make_transcriber,
    params,
    some_clips,
    vocabulary,
)
from tests.made_up import ENGLISH

__all__ = ["params", "vocabulary"]  # fixtures

SMALL = CONFIG.model_copy(update={"d_model": 8, "decoder_layers": 1, "encoder_ffn": 12})


def drafts(params: dict, tokens: int = 3) -> dict[str, Draft]:
    """One that hears with the teacher's encoder, and one that hears for itself."""
    fewer = student_shape(CONFIG, StudentConfig(decoder_layers=2))
    of = {"shared": (fewer, copy_layers(params, CONFIG, fewer)), "own": (SMALL, init(SMALL))}
    return {name: Draft.of(*each, tokens, CONFIG, params) for name, each in of.items()}


def labels(transcriber: Transcriber, params: dict, clips: list) -> list[Label]:
    return [label for _, label in transcriber(transcriber.place(params), clips)]


def assert_same(found: list[Label], expected: list[Label]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert (a.text, a.tokens, a.language, a.ended) == (b.text, b.tokens, b.language, b.ended)
        assert a.mean_logprob == pytest.approx(b.mean_logprob, abs=1e-5)
        assert a.mean_entropy == pytest.approx(b.mean_entropy, abs=1e-5)
        assert a.no_speech_prob == pytest.approx(b.no_speech_prob, abs=1e-6)


def test_only_an_encoder_that_is_the_teachers_is_left_to_it(params):
    made = drafts(params)
    assert set(made["shared"].params) == {"decoder"}
    assert set(made["own"].params) == {"encoder", "decoder"}
    other = jax.tree.map(np.copy, params)
    other["encoder"]["norm"]["bias"][3] += 1e-6
    assert "encoder" in Draft.of(CONFIG, other, 3, CONFIG, params).params
    heads = CONFIG.model_copy(update={"encoder_heads": 4})  # of the same weights
    assert "encoder" in Draft.of(heads, params, 3, CONFIG, params).params


@pytest.mark.parametrize(
    "draft,devices,language,timestamps",
    [
        ("shared", 1, "de", False),
        pytest.param("own", 8, None, True, marks=pytest.mark.slow),
        pytest.param("own", 1, "de", False, marks=pytest.mark.slow),
        pytest.param("shared", 8, None, True, marks=pytest.mark.slow),
    ],
)
def test_the_labels_are_those_without_a_draft(
    vocabulary, params, draft, devices, language, timestamps
):
    clips = some_clips(11, language)
    plain = make_transcriber(vocabulary, timestamps=timestamps)
    drafted = replace(
        make_transcriber(vocabulary, devices, timestamps=timestamps), draft=drafts(params)[draft]
    )
    found = labels(drafted, params, clips)
    assert_same(found, labels(plain, params, clips))
    counts = drafted.take_drafted()
    # The first token of a clip comes before any draft, each round gives one that was not drafted.
    assert sum(len(each.tokens) for each in found) <= 11 + counts["accepted"] + counts["rounds"]
    assert counts["rounds"] <= counts["drafted"] <= 3 * counts["rounds"]
    assert not drafted.take_drafted()
    assert not plain.take_drafted()


def test_all_that_the_teacher_itself_drafts_is_accepted(vocabulary, params):
    itself = Draft.of(CONFIG, params, 4, CONFIG, params)
    drafted = replace(make_transcriber(vocabulary), draft=itself)
    labels(drafted, params, some_clips(5))
    assert acceptance(drafted.take_drafted())["acceptance_rate"] == 1


def test_nothing_drafted_has_no_rate():
    assert acceptance({}) == {"drafted": 0, "accepted": 0, "acceptance_rate": None}


@pytest.mark.very_slow
def test_what_is_drawn_with_a_draft_depends_on_no_other_clip(vocabulary, params):
    def drawn(order: int, **settings: Any) -> list[Label]:
        fallback = {"temperatures": [1.0], **ALWAYS}
        made = make_transcriber(vocabulary, fallback=fallback, **settings)
        drafted = replace(made, draft=drafts(params)["shared"])
        return labels(drafted, params, some_clips(11)[::order])

    found = drawn(1)
    assert {label.temperature for label in found} == {1.0}
    others = drawn(-1, devices=8, batch_size=16)
    assert [label.tokens for label in found] == [label.tokens for label in others[::-1]]
    greedy = labels(make_transcriber(vocabulary), params, some_clips(11))
    assert [a.tokens for a in found] != [b.tokens for b in greedy]


def pretrained(names: Vocabulary | None, config: WhisperConfig) -> Pretrained:
    return Pretrained(config, {}, names, {}, "made up", "")


def test_another_vocabulary_is_an_error(vocabulary):
    teacher = pretrained(vocabulary, CONFIG)
    check_vocabulary(teacher, teacher)
    check_vocabulary(pretrained(None, CONFIG), teacher)  # of the same size, without a tokenizer
    english = CONFIG.model_copy(update={"vocab_size": ENGLISH.vocab_size})
    with pytest.raises(UserError, match="51864 tokens, the other 51865"):
        check_vocabulary(pretrained(None, english), teacher)
    model = vocabulary.tokenizer["model"]
    ids = dict(model["vocab"])
    ids["he"], ids["unused300"] = ids["unused300"], ids["he"]
    swapped = {**vocabulary.tokenizer, "model": {**model, "vocab": ids}}
    with pytest.raises(UserError, match="other ids to the same texts"):
        check_vocabulary(pretrained(replace(vocabulary, tokenizer=swapped), CONFIG), teacher)

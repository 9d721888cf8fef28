"""Recordings of the package, and what our own decoding makes of them with real weights."""

import os
from functools import cache

import jax

from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip, SpeechConfig, clips, open_corpus
from distil_jax.labelling.label import Label
from distil_jax.models.pretrained import Pretrained
from tests.decodings import transcriber_of
from tests.made_up import DEMO_TINY
from tests.made_up_student import real_model

COUNT, NEW_TOKENS = 4, 96


@cache
def recordings(count: int = COUNT) -> list[Clip]:
    """The first of the quickstart's test set."""
    source = SpeechConfig(path="package:distil_jax/quickstart/test", language="en", limit=count)
    return list(clips("some", open_corpus("some", source), Quarantine(None)))


def label(model: Pretrained, heard: list[Clip]) -> list[Label]:
    """In float32, greedily and without timestamps."""
    transcriber = transcriber_of(model, batch_size=COUNT, max_new_tokens=NEW_TOKENS)
    return [each for _, each in transcriber(transcriber.place(model.params), heard)]


@cache
def labels() -> list[Label]:
    """Of whisper tiny.en. Compiled well: it computes for longer than the compiler takes."""
    jax.config.update("jax_disable_most_optimizations", False)
    found = label(real_model(DEMO_TINY), recordings())
    left_off = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
    jax.config.update("jax_disable_most_optimizations", left_off)
    return found

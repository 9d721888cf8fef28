"""The demo packages' Whisper models, ours and as transformers loads what we export of them."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import pytest

from distil_jax.data.audio import SAMPLE_RATE, read_audio
from distil_jax.errors import UserError
from distil_jax.export.hugging_face import write_folder
from distil_jax.models.alignment_heads import alignment_heads
from distil_jax.models.pretrained import Pretrained, load_pretrained
from tests.made_up import DEMO_BASE, DEMO_TINY

MODELS = {"tiny.en": DEMO_TINY, "base": DEMO_BASE}


def compiled_well() -> Iterator[None]:
    """For a fixture: models of this size compute for longer than the compiler takes."""
    left_off = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", left_off)


@cache
def model(name: str) -> Pretrained:
    try:
        return load_pretrained(MODELS[name])
    except UserError as error:
        if "is installed here" not in str(error):
            raise
        pytest.skip(f"the demo packages are not installed: {error}")


def of_transformers(name: str, folder: Path) -> tuple[Any, Any]:
    """(model, processor), from the export that this writes to `folder`."""
    import transformers

    ours = model(name)
    heads = alignment_heads(ours.generation_config, ours.config)
    write_folder(
        folder, ours.config, ours.params, ours.vocabulary, ours.generation_config, "", heads
    )
    loaded = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    return loaded.eval(), transformers.WhisperProcessor.from_pretrained(folder)


def segments_of_transformers(
    loaded: tuple[Any, Any], path: Path, previous: bool, **how: Any
) -> list[tuple[float, float, str, list[int]]]:
    """(start, end, text, tokens) of a whole recording's segments, by its sequential algorithm."""
    import torch

    network, processor = loaded
    features = processor(
        read_audio(path),
        sampling_rate=SAMPLE_RATE,
        return_tensors="pt",
        truncation=False,
        padding="longest",
    ).input_features
    with torch.no_grad():
        found = network.generate(
            features,
            return_timestamps=True,
            return_segments=True,
            condition_on_prev_tokens=previous,
            **{"temperature": 0.0, **how},
        )
    return [
        (
            round(float(segment["start"]), 2),
            round(float(segment["end"]), 2),
            processor.tokenizer.decode(segment["tokens"], skip_special_tokens=True),
            segment["tokens"].tolist(),
        )
        for segment in found["segments"][0]
    ]

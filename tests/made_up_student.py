"""Students to be exported: of random weights, none zero or like another; and of real ones."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from distil_jax.errors import UserError
from distil_jax.export.student import Student
from distil_jax.models.alignment_heads import alignment_heads
from distil_jax.models.pretrained import Pretrained, load_pretrained
from distil_jax.models.tokenizer_files import read_tokenizer
from distil_jax.models.vocabulary import make_vocabulary
from distil_jax.models.whisper import WhisperConfig, init
from tests.made_up import Family, write_generation_config, write_tokenizer


def made_up_student(folder: Path, family: Family, **shape: Any) -> Student:
    """Of the family's vocabulary; the tokenizer is written to `folder` on the way."""
    config = WhisperConfig.from_hf({**family.hf_config, **shape})
    write_tokenizer(folder, family)
    generation = write_generation_config(folder, family)
    tokenizer = read_tokenizer({"tokenizer.json": folder / "tokenizer.json"}, "made up")
    vocabulary = make_vocabulary(tokenizer, generation, config.vocab_size, "made up")
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda a: np.asarray(a) + rng.normal(0, 0.3, a.shape).astype(np.float32), init(config)
    )
    return Student(config, params, vocabulary, generation, "# A card", ((0, 1), (2, 0)))


def some_logits(params: dict) -> np.ndarray:
    """Stands for a forward pass: something that depends on a parameter."""
    return np.asarray(params["decoder"]["embedding"][:9], np.float32)


def real_model(locations: str | list[str]) -> Pretrained:
    """Of the extra `demo`; without it the test is left out."""
    import pytest

    try:
        return load_pretrained(locations)
    except UserError as error:
        if "is installed here" not in str(error):
            raise
        pytest.skip(f"the demo packages are not installed: {error}")


def as_it_is(model: Pretrained) -> Student:
    """A student that kept everything of its teacher."""
    generation = model.generation_config
    heads = alignment_heads(generation, model.config)
    return Student(model.config, model.params, model.vocabulary, generation, "", heads)

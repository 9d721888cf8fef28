"""The real models as transformers runs them, each made once a module."""

from functools import cache
from typing import Any

import pytest

from tests.real_models import of_transformers


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """name -> (model, processor) of transformers."""
    return cache(lambda name: of_transformers(name, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="module")
def pipelines(theirs):
    """name -> the pipeline of transformers."""

    @cache
    def load(name: str) -> Any:
        from transformers import AutomaticSpeechRecognitionPipeline

        network, processor = theirs(name)
        parts: Any = {
            "model": network,
            "tokenizer": processor.tokenizer,
            "feature_extractor": processor.feature_extractor,
            "device": "cpu",
        }
        return AutomaticSpeechRecognitionPipeline(**parts)

    return load

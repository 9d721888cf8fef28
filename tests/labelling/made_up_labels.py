"""Label tables made up: texts with errors, and scores that know a little of them."""

import random
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from distil_jax.labelling.filters.base import Models
from distil_jax.labelling.store import SCHEMA
from tests.made_up_run import heard, sentences

# For scores that listen without one.
NO_MODELS = Models(cast(Any, None), lambda model: pytest.fail("no model is needed"))


def label_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of the label table; what they do not say is a plain clip's."""
    usual = {
        **dict.fromkeys(SCHEMA.names),
        "corpus": "corpus",
        "duration": 3.0,
        "language": "en",
        "label": "one day we saw",
        "tokens": [],
        "ended": True,
    }
    named = [{**usual, "id": f"clip-{number}", **row} for number, row in enumerate(rows)]
    return pa.Table.from_pylist(named, SCHEMA)


def scored_labels(count: int, seed: int = 0, unreferenced: int = 0) -> pa.Table:
    """Labels of which a third are bad; decoding's scores know of it, each in its way."""
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    rows = []
    for number, text in enumerate(sentences(count, rng)):
        errors = rng.choice([0.0, 0.1, 0.8])
        rows.append(
            {
                "reference": None if number < unreferenced else text,
                "label": heard(text, rng, errors) or "the",
                "duration": len(text) / 15 * float(noise.lognormal(0, 0.1)),
                "mean_logprob": -0.2 - errors - float(noise.exponential(0.3)),
                # Few distinct values: many clips are equal.
                "mean_entropy": float(round(errors + noise.exponential(0.5), 1)),
                "no_speech_prob": float(noise.uniform(0, 0.1)),
                "compression_ratio": float(noise.uniform(0.7, 1.3)),
            }
        )
    return label_table(rows)

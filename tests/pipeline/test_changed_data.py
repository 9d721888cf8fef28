"""Labels, decisions and data of different days are never mixed."""

import json

import pytest

from distil_jax import pipeline
from distil_jax.config import load_config
from distil_jax.errors import UserError
from distil_jax.labelling.store import LabelStore
from distil_jax.pipeline.filter import check_filtered
from distil_jax.pipeline.session import Session
from tests.made_up_inputs import write_inputs


def test_what_changed_is_told_and_labelled_anew(tmp_path):
    """A transcript that came later, in the second of two shards."""
    config = load_config(write_inputs(tmp_path))
    pipeline.label(config)
    pipeline.filter_labels(config)
    store = LabelStore(config.folder.labels / "noises")
    first, before = store.shard(0).read_bytes(), store.content

    manifest = tmp_path / "train" / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[9]["text"] = "what was said"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"shard-00001.parquet changed since.*Remove it to label"):
        pipeline.label(config)
    store.shard(1).unlink()
    assert pipeline.label(config)["clips"] == {"noises": 13}
    assert store.shard(0).read_bytes() == first
    assert store.content != before
    references = {row["id"]: row["reference"] for row in store.read().to_pylist()}
    assert {id for id, text in references.items() if text} == {"9.wav"}

    with pytest.raises(UserError, match="decided with other labels than these; run `distil-jax f"):
        pipeline.train(config)
    pipeline.filter_labels(config)
    check_filtered(Session(config))

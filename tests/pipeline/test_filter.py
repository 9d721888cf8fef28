"""Scores that look at the sound again, made once; filters by them, and what an audit tells."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from distil_jax import pipeline
from distil_jax.config import RunConfig, load_config
from distil_jax.data.text import count_errors
from distil_jax.errors import UserError
from distil_jax.labelling import corpus
from distil_jax.run import read_json, read_jsonl
from tests.made_up_inputs import write_inputs

CUT = 'filter.filters=[{"score": "proxy", "threshold": 50, "missing": "drop"}]'


def proxy(labelled: Path, **more: str) -> list[str]:
    """A second model that is the teacher itself."""
    settings = {"name": "proxy", "weights": str(labelled.parent / "teacher"), **more}
    return [f"filter.scores={json.dumps([settings])}", "filter.max_error_rate=null", CUT]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """The config of a run that is labelled; two corpora, one of them with transcripts."""
    path = write_inputs(tmp_path_factory.mktemp("made-up"))
    sections = yaml.safe_load(path.read_text())
    sections["data"]["train"]["told"] = sections["data"]["evaluation"].pop("held_out")
    path.write_text(yaml.safe_dump(sections))
    pipeline.label(load_config(path))
    return path


@pytest.fixture(scope="module")
def filtered(labelled, tmp_path_factory) -> Path:
    """The folder of that run, filtered by the proxy."""
    run = tmp_path_factory.mktemp("filtered") / "run"
    shutil.copytree(load_config(labelled).run_dir, run)
    pipeline.filter_labels(load_config(labelled, [f"run_dir={run}", *proxy(labelled)]))
    return run


@pytest.fixture
def configured(labelled, filtered, tmp_path) -> Callable[..., RunConfig]:
    """A config of such a run of one's own."""
    run = shutil.copytree(filtered, tmp_path / "run")
    return lambda *changes: load_config(labelled, [f"run_dir={run}", *changes])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_teacher_agrees_with_itself(filtered):
    scores = pq.read_table(filtered / "filter" / "scores.parquet").to_pylist()
    assert len(scores) == 16
    said = [row for row in scores if row["reason"] != "empty label"]
    assert {row["proxy"] for row in said} == {0.0}
    assert read_json(filtered / "filter" / "summary.json")["cuts"] == {"proxy": 50.0}
    rows = [r for r in read_jsonl(filtered / "compute.jsonl") if r["stage"] == "score proxy"]
    assert sum(row["clips"] for row in rows) == 16
    asked = {row["id"] for row in read_jsonl(filtered / "quarantine.jsonl")}
    assert asked == {"1.wav", "bad.wav"}  # as labelling left it


def test_a_second_model_is_heard_once_and_goes_on_where_it_stopped(
    configured, labelled, monkeypatch
):
    config = configured(*proxy(labelled))
    before = contents(config.folder.scores)
    assert {Path(name).name for name in before} == {
        "made_with.json",
        "finished.json",
        "shard-00000.parquet",
        "shard-00001.parquet",
    }
    read = []
    groups = corpus._groups
    monkeypatch.setattr(corpus, "_groups", lambda all_, size: read.append(1) or groups(all_, size))
    pipeline.filter_labels(config)
    assert not read
    (config.folder.scores / "proxy" / "noises" / "shard-00001.parquet").unlink()
    pipeline.filter_labels(config)
    assert len(read) == 1  # of the other corpus nothing
    assert contents(config.folder.scores) == before


def test_other_settings_are_never_mixed(configured, labelled):
    other = configured(*proxy(labelled, revision="main"))
    with pytest.raises(UserError, match="proxy scores of other labels, or made with other set"):
        pipeline.filter_labels(other)


def test_weights_that_are_not_there_are_told_before_the_work(configured, labelled):
    config = configured(*proxy(labelled, weights="no/such/folder/here"))
    with pytest.raises(UserError, match=r"filter\.scores, proxy: "):
        pipeline.run_all(config)


@pytest.mark.slow
def test_the_teacher_is_heard_at_other_temperatures(configured, labelled):
    """What it draws then is the clip's alone: redone in another batch, it is the same."""
    asked = ['filter.scores=[{"name": "agreement", "temperatures": [0.5, 3]}]']
    asked += ['filter.filters=[{"score": "agreement", "threshold": 50, "missing": "drop"}]']
    config = configured("filter.max_error_rate=null", *asked)
    pipeline.filter_labels(config)
    before = contents(config.folder.scores / "agreement")
    shards = sorted((config.folder.scores / "agreement" / "noises").glob("*.parquet"))
    rows = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
    texts = {row["id"]: row["drawn_texts"] for row in rows}
    assert len(texts) == 13
    assert {len(own) for own in texts.values()} == {2}
    assert len({tuple(own) for own in texts.values()}) > 10
    (config.folder.scores / "agreement" / "noises" / "shard-00001.parquet").unlink()
    pipeline.filter_labels(configured("filter.max_error_rate=null", *asked, "label.batch_size=3"))
    assert contents(config.folder.scores / "agreement") == before


def test_an_audit_decides_nothing(configured, labelled):
    config = configured(*proxy(labelled))
    before = contents(config.folder.filter)
    found = pipeline.audit(config, 50.0)
    assert found["labels"] == 3
    assert {row["filter"] for row in found["filters"]} >= {"proxy", "confidence", "error rate"}
    after = contents(config.folder.filter)
    assert json.loads(after.pop("audit.json"))["filters"] == found["filters"]
    assert after.pop("audit.png").startswith(b"\x89PNG")
    assert after == before
    json.dumps(found, allow_nan=False)


def test_a_run_may_keep_the_best_by_several_scores(configured):
    config = configured(
        "filter.max_error_rate=null",
        'filter.filters=[{"rank": ["confidence", "entropy"], "keep_fraction": 0.75}]',
    )
    kept = pipeline.filter_labels(config)["kept_clips"]
    scores = pq.read_table(config.folder.filter / "scores.parquet")
    assert scores["kept"].to_numpy().sum() == kept
    assert not np.isnan(scores["confidence"].to_numpy()).any()
    rows = [r for r in scores.to_pylist() if r["reference"] is not None]
    assert [r["errors"] for r in rows] == [
        count_errors(r["reference"], r["label"], "en").total for r in rows
    ]

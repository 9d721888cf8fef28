"""A student drafts what the teacher labels and transcribes."""

from pathlib import Path
from typing import Any

import pytest

from distil_jax import pipeline
from distil_jax.config import RunConfig, load_config
from distil_jax.errors import UserError
from distil_jax.export.hugging_face import write_folder
from distil_jax.models.pretrained import load_pretrained
from distil_jax.pipeline.label import all_labels
from distil_jax.pipeline.session import Session
from distil_jax.run import read_jsonl
from distil_jax.students.layer_copy import StudentConfig, copy_layers, student_shape
from tests.made_up_inputs import write_inputs


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="module")
def draft(config) -> Path:
    """The teacher with two of its three layers."""
    folder = config.parent / "draft"
    teacher = load_pretrained(str(config.parent / "teacher"))
    shape = student_shape(teacher.config, StudentConfig(decoder_layers=2))
    params = copy_layers(teacher.params, teacher.config, shape)
    write_folder(folder, shape, params, teacher.vocabulary, teacher.generation_config, "a draft")
    return folder


def changed(config: Path, *changes: str) -> RunConfig:
    return load_config(config, changes)


@pytest.mark.slow
def test_labels_are_the_teachers_and_the_rate_is_told(config, draft, tmp_path):
    speculative = f"label.speculative={{student: {draft}, tokens: 3}}"
    plain = changed(config, f"run_dir={tmp_path / 'plain'}")
    drafted = changed(config, f"run_dir={tmp_path / 'drafted'}", speculative)
    expected, result = pipeline.label(plain), pipeline.label(drafted)
    assert "speculative" not in expected
    ours, theirs = (
        all_labels(Session(each), ["id", "tokens", "label", "ended"]).to_pylist()
        for each in (drafted, plain)
    )
    assert ours == theirs
    rows = read_jsonl(tmp_path / "drafted" / "compute.jsonl")
    counted = sum(row["speculation"]["drafted"] for row in rows)
    assert result["speculative"]["drafted"] == counted > 0
    assert 0 <= result["speculative"]["acceptance_rate"] <= 1
    assert all(row["flops"]["student_forward"] > 0 for row in rows)
    assert pipeline.label(drafted) == result
    # The labels may go on without the draft model, as with another batch size.
    alone = changed(config, f"run_dir={tmp_path / 'drafted'}")
    assert pipeline.label(alone)["clips"] == expected["clips"]


def test_labels_are_another_models_only_where_draws_or_ties_are_the_drafts(config, draft):
    def made_with(*changes: str) -> str:
        return Session(changed(config, *changes)).label_fingerprint("noises")

    speculative = f"label.speculative={{student: {draft}}}"
    assert made_with(speculative) == made_with()
    for other in ("label.fallback={}", "label.dtype=bfloat16"):
        more = f"label.speculative={{student: {draft}, tokens: 6}}"
        assert len({made_with(other), made_with(other, speculative), made_with(other, more)}) == 3


def test_a_draft_of_another_vocabulary_is_told_before_the_work(config, draft, tmp_path):
    (other := tmp_path / "other").mkdir()
    for path in draft.iterdir():
        content = path.read_bytes()
        if path.name == "tokenizer.json":
            content = content.replace(b'"unused300"', b'"swapped"')
        (other / path.name).write_bytes(content)
    run = changed(config, f"run_dir={tmp_path / 'run'}", f"label.speculative.student={other}")
    with pytest.raises(UserError, match=r"label\.speculative\.student.*vocabulary is another"):
        pipeline.run_all(run)
    assert not (tmp_path / "run").exists()


@pytest.mark.very_slow
def test_transcripts_are_the_teachers_and_the_rate_is_told(config, draft, tmp_path):
    run = changed(config, f"run_dir={tmp_path / 'run'}", "student.decoder_layers=2")
    for stage in (pipeline.label, pipeline.filter_labels, pipeline.train):
        stage(run)
    audio = [config.parent / "test"]

    def told(**options: Any) -> dict:
        return pipeline.transcribe(run, audio, "teacher", **options)

    expected = told()
    assert "speculative" not in expected
    for name in ("student", str(draft)):
        found = told(draft=name, draft_tokens=2)
        assert found["recordings"] == expected["recordings"]
        assert found["draft"] == name
        assert found["speculative"]["drafted"] > 0
    with pytest.raises(UserError, match="cannot draft for itself"):
        pipeline.transcribe(run, audio, "student", draft="student")

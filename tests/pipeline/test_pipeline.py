"""A whole run of a made-up teacher on made-up sounds, on eight devices; and runs that go wrong."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from distil_jax import pipeline
from distil_jax.config import load_config
from distil_jax.errors import UserError
from distil_jax.models import ARCHITECTURES
from distil_jax.models.pretrained import load_pretrained
from distil_jax.run import read_jsonl
from tests.made_up_inputs import write_inputs, write_sounds

# In one process: they share a run.
pytestmark = pytest.mark.xdist_group("pipeline")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="module")
def whole(config) -> tuple[Path, dict[str, Any]]:
    result = pipeline.run_all(load_config(config))
    return Path(load_config(config).run_dir), result


@pytest.fixture
def run(whole, tmp_path) -> Path:
    """A finished run of one's own, to spoil."""
    return shutil.copytree(whole[0], tmp_path / "run")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_everything_that_a_run_leaves_is_there(whole):
    folder, result = whole
    assert set(result) == {"label", "filter", "train", "evaluate", "export", "report"}
    assert Path(result["report"]).read_text().startswith("<!")
    assert result["evaluate"]["sets"]["held_out"]["clips"] == 3
    assert load_pretrained(str(folder / "export")).config.decoder_layers == 1
    assert result["export"]["max_logit_difference"] == 0
    compute = read_jsonl(folder / "compute.jsonl")
    stages = {"label", "train", "evaluate teacher", "evaluate student"}
    assert {row["stage"] for row in compute if sum(row["flops"].values()) > 0} == stages
    steps = [row for row in compute if row["stage"] == "train" and "clips" in row]
    assert [(row["clips"], row["audio_seconds"]) for row in steps] == [(8, 8.0), (8, 8.0)]


def test_nothing_vanishes(whole):
    """Of 15 utterances 13 are labelled; the others stand in the quarantine with their reasons."""
    folder, result = whole
    aside = {row["id"]: row["reason"] for row in read_jsonl(folder / "quarantine.jsonl")}
    assert set(aside) == {"1.wav", "bad.wav"}
    assert aside["1.wav"] == "language 'yue' is none that the model knows"
    assert result["label"]["clips"] == {"noises": 13}


def test_a_finished_run_is_left_as_it_is(whole):
    folder, result = whole
    before = contents(folder)
    assert pipeline.run_all(load_config(folder)) == {
        **result,
        **{"label": {**result["label"]}, "report": str(folder / "report.html")},
    }
    after = contents(folder)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {"config.yaml", "report.html", "filter/histogram.png"}


@pytest.mark.slow
def test_an_architecture_of_ones_own_runs_as_any_other(config, whole, tmp_path, monkeypatch):
    """It is one file and one line, as the README says: the line."""
    monkeypatch.setitem(ARCHITECTURES, "halved", "tests.made_up_architecture:HalvedConfig")
    shutil.copytree(config.parent / "teacher", tmp_path / "teacher")
    described = json.loads((tmp_path / "teacher" / "config.json").read_text())
    described["model_type"] = "halved"
    (tmp_path / "teacher" / "config.json").write_text(json.dumps(described))
    changes = [f"teacher.weights={tmp_path / 'teacher'}", f"run_dir={tmp_path / 'run'}"]
    result = pipeline.run_all(load_config(config, changes))
    exported = load_pretrained(str(tmp_path / "run" / "export"))
    assert type(exported.config).__name__ == "HalvedConfig"
    assert result["train"]["loss"] != whole[1]["train"]["loss"]


@pytest.mark.slow
def test_a_teacher_of_int8_goes_through_every_stage(config, whole, tmp_path):
    """The student's encoder is the exact one, not what int8 would have made of it."""
    changes = ["teacher.weight_dtype=int8", f"run_dir={tmp_path / 'run'}"]
    result = pipeline.run_all(load_config(config, changes))
    assert result["evaluate"]["sets"]["held_out"]["clips"] == 3
    assert result["train"]["loss"] != whole[1]["train"]["loss"]
    exported, teacher = (
        load_pretrained(str(folder)).params
        for folder in (tmp_path / "run" / "export", config.parent / "teacher")
    )
    jax.tree.map(np.testing.assert_array_equal, exported["encoder"], teacher["encoder"])
    assert pipeline.transcribe(load_config(tmp_path / "run"), [], "teacher")["recordings"] == []


@pytest.mark.slow
def test_a_stream_trains_the_same_student_as_a_table(config, tmp_path):
    """Of a stream the recordings are kept once each, by themselves, and read one at a time."""
    rng = np.random.default_rng(0)
    audio = []
    for seconds in [1.0] * 12 + [31.0]:  # the last is cut in two
        sound = io.BytesIO()
        noise = rng.normal(0, 0.1, int(seconds * 16_000)).astype(np.float32)
        soundfile.write(sound, noise, 16_000, format="FLAC")
        audio.append({"bytes": sound.getvalue(), "path": None})
    audio[3]["bytes"] = b"fLaC"  # no recording
    pq.write_table(pa.table({"audio": audio}), tmp_path / "sounds.parquet")
    students = []
    for stream in ("true", "false"):
        run = tmp_path / stream
        source = f"data.train.noises={{path: {tmp_path}/sounds.parquet, streaming: {stream}}}"
        changes = [source, f"run_dir={run}", "label.language=en", "train.pack_clips=true"]
        pipeline.run_all(load_config(config, changes))
        students.append((run / "export" / "model.safetensors").read_bytes())
    assert students[0] == students[1]
    kept = sorted((tmp_path / "true" / "labels" / "noises").glob("audio-*.parquet"))
    rows = [row for path in kept for row in pq.read_table(path).to_pylist()]
    assert [row["audio"] for row in rows] == [a["bytes"] for a in audio if len(a["bytes"]) > 4]
    assert not list((tmp_path / "false" / "labels" / "noises").glob("audio-*"))


@pytest.mark.parametrize(
    "verb,first",
    [
        ("filter_labels", "label"),
        ("train", "filter"),
        ("evaluate", "filter"),
        ("export", "filter"),
    ],
)
def test_a_verb_before_its_turn_says_what_to_run_first(verb, first, config, tmp_path):
    empty = load_config(config, [f"run_dir={tmp_path}"])
    with pytest.raises(UserError, match=f"run `distil-jax {first}` first"):
        getattr(pipeline, verb)(empty)


@pytest.mark.parametrize(
    "verb,change,message",
    [
        ("label", "label.max_new_tokens=7", "holds labels made with another"),
        ("label", "teacher.weight_dtype=int8", "holds labels made with another"),
        ("filter_labels", "label.max_new_tokens=7", "holds labels made with another"),
        ("train", "label.max_new_tokens=7", "holds labels made with another"),
        ("train", "filter.unreferenced=drop", "decided with other settings than these; run"),
        ("train", "train.optimizer.learning_rate=1", "checkpoints of a training with other"),
        ("train", "train.steps=1", "checkpoints of a training with other"),
        ("evaluate", "seed=1", "checkpoints of a training with other"),
        ("export", "student.decoder_layers=2", "checkpoints of a training with other"),
        ("filter_labels", "filter.unreferenced=drop", "trained on other clips"),
        ("run_all", "filter.unreferenced=drop", "trained on other clips"),
        ("run_all", "train.steps=1", "checkpoints of a training with other"),
    ],
)
def test_what_was_made_otherwise_is_refused_and_nothing_changes(run, verb, change, message):
    before = contents(run)
    with pytest.raises(UserError, match=message):
        getattr(pipeline, verb)(load_config(run, [change]))
    after = contents(run)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {"filter/histogram.png"}  # drawn again


@pytest.mark.slow
def test_a_trained_student_may_be_decoded_otherwise(run):
    changed = load_config(run, ["evaluate.max_new_tokens=3", "evaluate.language=de"])
    assert pipeline.evaluate(changed)["sets"]["held_out"]["clips"] == 3
    assert pipeline.transcribe(changed, [], "student")["recordings"] == []


def test_settings_that_were_refused_leave_no_mark(config, tmp_path):
    changed = load_config(config, [f"run_dir={tmp_path / 'run'}", "label.language=german"])
    with pytest.raises(UserError, match=r"label.language: language 'german'"):
        pipeline.label(changed)
    assert not (tmp_path / "run").exists()


def test_a_corpus_may_be_empty_beside_another(config, tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "manifest.jsonl").write_text("")
    none = f"data.train.none.path={tmp_path / 'none'}"
    both = load_config(config, [f"run_dir={tmp_path / 'run'}", none])
    assert pipeline.label(both)["clips"] == {"noises": 13, "none": 0}
    assert pipeline.filter_labels(both)["kept_clips"] > 0


def test_a_removed_shard_is_labelled_anew_to_the_same_bytes(run):
    shard = run / "labels" / "noises" / "shard-00001.parquet"
    before = contents(run / "labels")
    shard.write_bytes(b"PAR1 damaged")
    with pytest.raises(UserError, match=r"shard-00001.parquet cannot be read.*remove it"):
        pipeline.label(load_config(run))
    shard.unlink()
    pipeline.label(load_config(run))
    assert contents(run / "labels") == before


def test_a_recording_that_came_later_is_told(run, config):
    late = shutil.copytree(config.parent / "train", run.parent / "train")
    with open(late / "manifest.jsonl", "a") as manifest:
        manifest.write(json.dumps({"audio": "0.wav", "id": "again"}) + "\n")
    path = run.parent / "late.yaml"
    path.write_text(config.read_text().replace(str(config.parent / "train"), str(late)))
    fresh = load_config(path, [f"run_dir={run.parent / 'fresh'}", "label.shard_size=100"])
    pipeline.label(fresh)
    with open(late / "manifest.jsonl", "a") as manifest:
        manifest.write(json.dumps({"audio": "2.wav", "id": "and again"}) + "\n")
    with pytest.raises(UserError, match=r"recordings or transcripts of .*00000.parquet changed"):
        pipeline.label(fresh)


def test_an_export_that_lost_its_weights_is_written_again(run):
    weights = run / "export" / "model.safetensors"
    before = weights.read_bytes()
    shutil.rmtree(run / "export")
    pipeline.export(load_config(run))
    assert weights.read_bytes() == before


@pytest.mark.slow
def test_another_format_is_exported_of_the_same_student(run):
    weights = (run / "export" / "model.safetensors").read_bytes()
    changes = ["export.formats=[hugging_face, ctranslate2]", "export.ctranslate2_weights=int8"]
    result = pipeline.export(load_config(run, changes))
    assert (run / "export" / "model.safetensors").read_bytes() == weights
    differences = {n: each["max_logit_difference"] for n, each in result["formats"].items()}
    assert differences["hugging_face"] == 0 < differences["ctranslate2"]
    assert "`ctranslate2` holds it for faster-whisper" in (run / "export/README.md").read_text()
    page = Path(pipeline.report(run)["report"]).read_text()
    assert "ctranslate2 (int8, " in page
    (run / "export" / "ctranslate2" / "model.bin").unlink()
    assert pipeline.export(load_config(run)) == result
    assert (run / "export" / "ctranslate2" / "model.bin").exists()


def test_the_model_card_names_no_figures_of_another_student(run):
    path = run / "evaluation" / "held_out.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "made_with": "otherwise"}))
    pipeline.export(load_config(run))
    assert "held_out" not in (run / "export" / "README.md").read_text()


@pytest.mark.parametrize(
    "change,message",
    [
        ("train.batch_size=12", r"train.batch_size: got 12, expected a multiple of 8"),
        ("train.freeze=[encodr]", r"train.freeze: got 'encodr'"),
        ("label.language=yue", r"label.language: language 'yue': expected one of"),
        ("evaluate.language=xx", r"evaluate.language: language 'xx': expected one of"),
        ("export.formats=[ggml]", r"export.formats: whisper.cpp expects MLPs four times as wide"),
        ("seed=-1", r"seed: got -1"),
        ("data.evaluation.noises.path=elsewhere", r"evaluation.noises is another source than"),
        ("student.decoder_layers=9", r"student.decoder_layers: got 9"),
        ("data.train.noises.path=nowhere", r"data.train.noises.path: no file or folder"),
        ("data.train.noises.language=xx", r"data.train.noises.language: language 'xx' is none"),
    ],
)
def test_mistakes_are_told_before_the_work(change, message, config, tmp_path):
    with pytest.raises(UserError, match=message):
        pipeline.run_all(load_config(config, [f"run_dir={tmp_path / 'run'}", change]))
    assert not (tmp_path / "run").exists()


def test_transcripts_beside_long_recordings_do_not_matter(whole, tmp_path):
    write_sounds(tmp_path / "talks", [31.0], texts=True)
    write_sounds(tmp_path / "more", [1.0], texts=True)
    folders = [str(tmp_path / name) for name in ("talks", "more")]
    for folder in folders:
        (Path(folder) / "bad.wav").write_bytes(b"RIFF")
    told = pipeline.transcribe(load_config(whole[0]), [Path(f) for f in folders], "student")
    assert [(row["source"], row["id"], row["duration"]) for row in told["recordings"]] == [
        (folders[0], "0.wav", 31),
        (folders[1], "0.wav", 1),
    ]
    assert [(row["corpus"], row["id"]) for row in told["set_aside"]] == [
        (folder, "bad.wav") for folder in folders
    ]
    with pytest.raises(UserError, match=r"nowhere\.wav: no such file"):
        pipeline.transcribe(load_config(whole[0]), [tmp_path / "nowhere.wav"], "student")


def test_transcripts_become_files(whole, tmp_path):
    """Windows of all recordings are decoded in one batch; each file has those of its own."""
    write_sounds(tmp_path / "talks", [45.0, 1.0], texts=False)
    (tmp_path / "talks" / "manifest.jsonl").unlink()
    made = {"formats": ["srt", "json"], "output": tmp_path / "texts"}
    talks = [tmp_path / "talks", tmp_path / "talks" / "1.wav"]
    told = pipeline.transcribe(load_config(whole[0]), talks, "student", **made)
    assert [row["id"] for row in told["recordings"]] == ["0.wav", "1.wav", "1.wav"]
    assert [Path(file).name for row in told["recordings"] for file in row["files"]] == [
        f"{stem}.{form}" for stem in ("0", "1", "1-2") for form in made["formats"]
    ]
    assert [row["id"] for row in told["set_aside"]] == ["bad.wav"]
    texts = [json.loads((tmp_path / "texts" / f"{n}.json").read_text()) for n in ("0", "1", "1-2")]
    assert [text["duration"] for text in texts] == [45, 1, 1]
    assert texts[1]["text"] == texts[2]["text"]
    for text in texts:
        assert all(segment["start"] >= 0 for segment in text["segments"])
    printed = pipeline.transcribe(load_config(whole[0]), talks[1:], "student", timestamps=True)
    assert printed["recordings"][0]["text"] == texts[1]["text"]
    assert {"source", "id", "start", "end", "language", "text"} >= {*printed["segments"][0]}


@pytest.mark.slow
def test_words_are_timed_by_heads_that_were_found(whole, tmp_path):
    """The student's one layer has none of the teacher's heads; the export names its own."""
    folder, result = whole
    exported = json.loads((folder / "export" / "generation_config.json").read_text())
    heads = result["export"]["alignment"]["heads"]
    assert exported["alignment_heads"] == [list(head) for head in heads] != []
    assert all(layer == 0 for layer, _ in heads)
    write_sounds(tmp_path / "talks", [45.0, 1.0], texts=False)
    made = {"formats": ["json"], "output": tmp_path / "texts", "words": True}
    for model in ("student", "teacher", str(folder / "export")):
        pipeline.transcribe(load_config(folder), [tmp_path / "talks"], model, **made)
        for segment in json.loads((tmp_path / "texts" / "0.json").read_text())["segments"]:
            words = segment["words"]
            assert "".join(word["word"] for word in words).split() == segment["text"].split()
            assert all(0 <= word["start"] <= word["end"] <= 45 for word in words)
            assert all(0 <= word["probability"] <= 1 for word in words)


def test_words_of_a_student_without_known_heads_are_refused(run):
    (run / "export.json").unlink()
    with pytest.raises(UserError, match="--words: no alignment heads are known of this student"):
        pipeline.transcribe(load_config(run), [], "student", words=True)


def test_transcripts_are_made_from_segment_to_segment(whole, tmp_path):
    write_sounds(tmp_path / "talks", [45.0, 1.0], texts=False)
    (tmp_path / "talks" / "manifest.jsonl").unlink()
    way = {"algorithm": "sequential", "condition_on_previous": True}
    talks = [tmp_path / "talks"]
    told = pipeline.transcribe(load_config(whole[0]), talks, "student", long_form=way)
    assert [(row["id"], row["duration"]) for row in told["recordings"]] == [
        ("0.wav", 45),
        ("1.wav", 1),
    ]
    assert [row["id"] for row in told["set_aside"]] == ["bad.wav"]
    assert all(segment["start"] <= segment["end"] for segment in told["segments"])


def test_each_label_stands_once(whole):
    shards = sorted((whole[0] / "labels" / "noises").glob("*.parquet"))
    ids = [id for shard in shards for id in pq.read_table(shard)["id"].to_pylist()]
    assert sorted(ids) == sorted({f"{n}.wav" for n in range(14)} - {"1.wav"})


SEVERAL = ["student=null", "students={small: {decoder_layers: 1}, large: {decoder_layers: 2}}"]


@pytest.fixture(scope="module")
def several(config, whole, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """A whole run of two students on the labels of the run of one."""
    run = tmp_path_factory.mktemp("several") / "run"
    for made in ("labels", "filter"):
        shutil.copytree(whole[0] / made, run / made)
    return run, pipeline.run_all(load_config(config, [*SEVERAL, f"run_dir={run}"]))


@pytest.mark.slow
def test_each_student_leaves_what_a_run_leaves(several, whole):
    folder, result = several
    own = {"metrics.jsonl", "evaluation", "export", "export.json"}
    assert not own & {path.name for path in folder.iterdir()}
    for number, name in enumerate(("small", "large"), 1):
        student = folder / "students" / name
        assert {path.name for path in student.iterdir()} == own
        assert load_pretrained(str(student / "export")).config.decoder_layers == number
        assert result["export"]["students"][name]["max_logit_difference"] == 0
        assert f"# made-up-{name}\n" in (student / "export" / "README.md").read_text()
        assert result["evaluate"]["students"][name]["sets"]["held_out"]["clips"] == 3
        assert result["train"]["students"][name]["best_step"] == 2
    compute = read_jsonl(folder / "compute.jsonl")
    stages = [row["stage"] for row in compute if row["stage"] != "train"]
    assert stages == ["evaluate teacher", "evaluate student.small", "evaluate student.large"]
    page = Path(result["report"]).read_text()
    assert "held_out, student small" in page
    assert "held_out, student large" in page
    assert 'class="absent">Nothing' not in page


@pytest.mark.slow
def test_a_student_among_others_becomes_what_it_becomes_alone(several, whole):
    small = several[0] / "students" / "small"
    for ours, theirs in zip(
        read_jsonl(small / "metrics.jsonl"), read_jsonl(whole[0] / "metrics.jsonl"), strict=True
    ):
        assert ours.pop("kind") == theirs.pop("kind")
        assert ours == pytest.approx(theirs, rel=1e-6)
    ours, theirs = (load_pretrained(str(run / "export")).params for run in (small, whole[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, theirs)


@pytest.mark.slow
def test_a_finished_run_of_several_students_is_left_as_it_is(several):
    folder, result = several
    before = contents(folder)
    assert pipeline.run_all(load_config(folder)) == result
    after = contents(folder)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {"config.yaml", "report.html", "filter/histogram.png"}


@pytest.mark.slow
def test_one_of_several_students_is_chosen_by_its_name(several, whole, config):
    audio = [config.parent / "test"]
    run = load_config(several[0])
    assert len(pipeline.transcribe(run, audio, "student", "large")["recordings"]) == 3
    for student, message in (
        (None, "which student.*--student NAME, one of small, large"),
        ("middle", "--student middle: no such student.*one of small, large"),
    ):
        with pytest.raises(UserError, match=message):
            pipeline.transcribe(run, audio, "student", student)
    with pytest.raises(UserError, match="--model student or --draft student only"):
        pipeline.transcribe(run, audio, "teacher", "small")
    with pytest.raises(UserError, match="one student without a name"):
        pipeline.transcribe(load_config(whole[0]), audio, "student", "small")


def test_a_mistaken_student_is_told_by_its_name(config, tmp_path):
    changes = [*SEVERAL, "students.large.decoder_layers=9", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(UserError, match=r"students.large.decoder_layers: got 9"):
        pipeline.run_all(load_config(config, changes))

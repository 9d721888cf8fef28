"""Runs with a signals cache: the same student as without, whenever and wherever it was made."""

import importlib
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from distil_jax import pipeline
from distil_jax.config import load_config
from distil_jax.errors import ConfigError, UserError
from distil_jax.labelling.signal_store import SignalStore
from distil_jax.pipeline.planned import PlannedSession
from distil_jax.run import RunFolder, read_jsonl
from distil_jax.topology import local_target
from tests.made_up_inputs import write_sounds, write_teacher
from tests.pipeline.test_pipeline import contents

# In one process: they share a run that is labelled.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("signals cache")]

EXACT = "signals={top_k: all, dtype: float32, encoder_states: true, shard_size: 5}"
SMALL = "signals={top_k: 4, shard_size: 5}"
SHARDS = [f"shard-{number:05d}.safetensors" for number in range(3)]  # of 5, 5 and 2 clips


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """Thirteen clips, of which one is set apart for validation."""
    folder = tmp_path_factory.mktemp("made-up")
    write_teacher(folder / "teacher")
    write_sounds(folder / "train", [1.0] * 14, texts=False)
    sections = {
        "name": "made-up",
        "run_dir": str(folder / "labelled"),
        "teacher": {"weights": str(folder / "teacher")},
        "data": {"train": {"noises": {"path": str(folder / "train")}}},
        "label": {"batch_size": 8, "max_new_tokens": 6, "shard_size": 8},
        "student": {"decoder_layers": 1},
        "objectives": [{"name": "cross_entropy"}, {"name": "kl"}],
        "train": {
            "steps": 3,
            "batch_size": 8,
            "loss_chunk": 64,
            "target_lengths": [16],
            "validation_clips": 1,
            "log_every": 1,
            "validate_every": 3,
            "save_every": 3,
        },
        "evaluate": {"batch_size": 8, "max_new_tokens": 6},
    }
    path = folder / "made_up.yaml"
    path.write_text(yaml.safe_dump(sections))
    pipeline.label(load_config(path))
    pipeline.filter_labels(load_config(path))
    return path


def fresh(config: Path, folder: Path, *changes: str) -> Any:
    """A run whose labels are there, and nothing after them."""
    shutil.copytree(config.parent / "labelled", folder)
    return load_config(config, [f"run_dir={folder}", *changes])


@pytest.fixture(scope="module")
def live(config, tmp_path_factory) -> list[dict]:
    """The metrics of a run without a cache."""
    run = fresh(config, tmp_path_factory.mktemp("runs") / "live")
    pipeline.train(run)
    return read_jsonl(run.folder.metrics)


@pytest.fixture(scope="module")
def cached(config, tmp_path_factory) -> tuple[RunFolder, dict, list[str]]:
    """(a run that keeps everything, the result of its cache stage, what it said)."""
    run = fresh(config, tmp_path_factory.mktemp("runs") / "cached", EXACT)
    said: list[str] = []
    handler = SimpleNamespace(level=0, handle=lambda record: said.append(record.getMessage()))
    logger = logging.getLogger("distil_jax.pipeline.cache")
    logger.addHandler(handler)  # pyright: ignore[reportArgumentType]
    logger.setLevel(logging.INFO)
    try:
        result = pipeline.cache(run)
    finally:
        logger.removeHandler(handler)  # pyright: ignore[reportArgumentType]
    pipeline.train(run)
    return run.folder, result, said


def losses(rows: list[dict]) -> list[float]:
    names = ("loss", "kl", "cross_entropy", "grad_norm", "error_rate")
    return [row[name] for row in rows for name in names if name in row]


def test_its_student_is_that_of_a_run_without(cached, live):
    folder, _, _ = cached
    assert losses(read_jsonl(folder.metrics)) == pytest.approx(losses(live), rel=1e-5)
    assert len(losses(live)) == 3 * 4 + 1


def test_its_work_is_logged_once(cached):
    rows = read_jsonl(cached[0].compute)
    stage = [row for row in rows if row["stage"] == "cache"]
    assert [(row["step"], row["clips"], row["audio_seconds"]) for row in stage] == [
        (1, 5, 5.0),
        (2, 5, 5.0),
        (3, 2, 2.0),
    ]
    assert all(min(row["flops"].values()) > 0 for row in stage)
    steps = [row["flops"] for row in rows if row["stage"] == "train" and "clips" in row]
    assert [(f["encoder_forward"], f["teacher_forward"]) for f in steps] == [(0, 0)] * 3
    assert min(f["student_forward"] for f in steps) > 0


def test_its_bytes_are_said_before_it_starts(cached):
    folder, result, said = cached
    (line,) = said
    sizes = [(folder.signals / name).stat().st_size for name in SHARDS]
    headers = sum(
        int.from_bytes((folder.signals / n).read_bytes()[:8], "little") + 8 for n in SHARDS
    )
    assert result["bytes_per_clip"] == round((sum(sizes) - headers) / 12)
    assert result["clips"] == 12
    assert f"{(sum(sizes) - headers) // 12} bytes a clip" in line
    assert "for 12 clips" in line


def test_training_reads_no_sound(config, cached, tmp_path, monkeypatch, live):
    """But for the clip that validates: the others' cannot be read any more."""
    run = fresh(config, tmp_path / "run", EXACT, f"signals.path={cached[0].root}")
    assert pipeline.cache(run)["signals"] == str(cached[0].signals)
    from distil_jax.pipeline import examples

    real, read = examples._samples, []
    monkeypatch.setattr(examples, "_samples", lambda *args: (read.append(args[1]), real(*args))[1])
    pipeline.train(run)
    assert losses(read_jsonl(run.folder.metrics)) == pytest.approx(losses(live), rel=1e-5)
    assert len(set(read)) == 1
    assert not run.folder.signals.exists()


@pytest.mark.parametrize("killed_at", [0, 2])
def test_a_killed_stage_goes_on_to_the_same_bytes(config, cached, tmp_path, monkeypatch, killed_at):
    run = fresh(config, tmp_path / "run", EXACT)
    write = SignalStore.write

    def dies(self: SignalStore, index: int, *rest: Any) -> None:
        if index == killed_at:
            raise KeyboardInterrupt
        write(self, index, *rest)

    monkeypatch.setattr(SignalStore, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        pipeline.cache(run)
    assert [path.name for path in sorted(run.folder.signals.glob("shard-*"))] == SHARDS[:killed_at]
    with pytest.raises(UserError, match=r"(lacks|has no signals).* `distil-jax cache`"):
        pipeline.train(run)
    made: list[int] = []
    monkeypatch.setattr(
        SignalStore, "write", lambda self, i, *rest: (made.append(i), write(self, i, *rest))
    )
    pipeline.cache(run)
    assert made == [0, 1, 2][killed_at:]
    assert contents(run.folder.signals) == contents(cached[0].signals)


@pytest.fixture
def small(config, tmp_path) -> Any:
    run = fresh(config, tmp_path / "small", SMALL)
    pipeline.cache(run)
    return run


def test_a_damaged_shard_is_made_anew(small):
    before = contents(small.folder.signals)
    path = small.folder.signals / SHARDS[1]
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"00001.safetensors cannot be read .*`distil-jax cache`"):
        pipeline.train(small)
    pipeline.cache(small)
    assert contents(small.folder.signals) == before


def test_a_finished_cache_is_left_as_it_is(small, monkeypatch):
    monkeypatch.setattr(SignalStore, "write", None)
    pipeline.cache(small)


def test_top_k_trains_with_sound_and_without_the_teacher(small, live):
    pipeline.train(small)
    rows = read_jsonl(small.folder.metrics)
    assert rows[0]["cross_entropy"] == pytest.approx(live[0]["cross_entropy"], rel=1e-5)
    assert 0 < rows[0]["kl"] <= live[0]["kl"]
    steps = [r["flops"] for r in read_jsonl(small.folder.compute) if r["stage"] == "train"]
    assert all(each["teacher_forward"] == 0 < each["encoder_forward"] for each in steps if each)


@pytest.mark.parametrize(
    "changes,differs",
    [
        (["signals.top_k=5"], "signals.top_k is 4 there and 5 here"),
        (["objectives.1.temperature=1"], "temperature of kl is 2.0 there and 1.0 here"),
        (["signals.dtype=float32"], "signals.dtype is 'float16' there and 'float32' here"),
        (["train.previous_text_probability=1"], "train.previous_text_probability is 0.0 there"),
    ],
)
def test_another_run_s_cache_must_be_of_the_same(small, config, tmp_path, changes, differs):
    for each in ([], [f"signals.path={small.folder.root}"]):
        run = fresh(config, tmp_path / f"other{len(each)}", SMALL, *changes, *each)
        if not each:
            shutil.copytree(small.folder.signals, run.folder.signals)
        with pytest.raises(UserError, match="was made otherwise"):
            pipeline.cache(run)
        with pytest.raises(UserError) as caught:
            pipeline.train(run)
        assert differs in str(caught.value)


def test_another_run_s_cache_must_be_of_the_same_labels(small, config, tmp_path):
    changes = [SMALL, "label.max_new_tokens=5", f"signals.path={small.folder.root}"]
    run = load_config(config, [f"run_dir={tmp_path}", *changes])
    pipeline.label(run)
    pipeline.filter_labels(run)
    for verb in (pipeline.cache, pipeline.train):
        with pytest.raises(UserError, match="labels of noises is '"):
            verb(run)


def test_a_run_that_kept_more_clips_finds_some_lacking(small, config, tmp_path):
    """With one clip less for validation it trains on one more."""
    path = f"signals.path={small.folder.root}"
    more = fresh(config, tmp_path / "more", SMALL, path, "train.validation_clips=0")
    with pytest.raises(UserError, match=r"lacks 1 of 13 clips, the first of them '\d+.wav'"):
        pipeline.cache(more)


def test_other_clips_of_ones_own_are_made_anew(config, small):
    """As after another filter: shards of clips that moved are written over."""
    more = load_config(small.folder.root, ["train.validation_clips=0"])
    assert pipeline.cache(more)["clips"] == 13
    assert pipeline.cache(load_config(small.folder.root, ["signals.shard_size=20"]))["clips"] == 13
    assert [path.name for path in small.folder.signals.glob("shard-*")] == SHARDS[:1]


def test_a_full_disk_is_told_before_the_work(config, tmp_path, monkeypatch):
    run = fresh(config, tmp_path / "run", EXACT)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"takes 0\.\d+ GiB more, and .*signals has 0.000 GiB free"):
        pipeline.cache(run)
    assert not list(run.folder.signals.glob("shard-*"))


def test_without_the_section_there_is_nothing_to_do(config, tmp_path):
    with pytest.raises(ConfigError, match=r"signals is null: .* as signals.top_k=32"):
        pipeline.cache(fresh(config, tmp_path / "run"))


@pytest.mark.parametrize(
    "changes,message",
    [
        (["train.timestamp_probability=0.5"], r"train.timestamp_probability is 0.5, so that targ"),
        (["train.previous_text_probability=0.1"], r"train.previous_text_probability is 0.1, so"),
        (
            ["signals.encoder_states=true", "train.freeze=[]"],
            r"signals.encoder_states is true, but the student's encoder is trained",
        ),
        (["signals.top_k=0"], r"signals.top_k: got 0"),
        (["signals.top_k=many"], r'signals.top_k: got "many"'),
    ],
)
def test_what_a_cache_cannot_be_is_told_with_the_config(config, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_config(config, [SMALL, *changes])


def test_more_tokens_than_there_are_is_told_before_the_work(config, tmp_path):
    run = load_config(config, [SMALL, "signals.top_k=51865", f"run_dir={tmp_path / 'run'}"])
    with pytest.raises(ConfigError, match=r"signals.top_k: got 51865, .*1 to 51864, or all"):
        pipeline.run_all(run)
    assert not (tmp_path / "run").exists()


def test_it_stands_between_filter_and_train(config, tmp_path):
    run = fresh(config, tmp_path / "run", SMALL)
    result = pipeline.run_all(run)
    assert list(result)[:4] == ["label", "filter", "cache", "train"]
    assert result["cache"]["clips"] == 12
    assert pipeline.run_all(load_config(run.folder.root))["cache"] == result["cache"]


def test_the_plan_is_of_the_step_that_will_run(config):
    """Its batch carries the signals, and neither sound nor teacher where none is needed."""
    planning = importlib.import_module("distil_jax.pipeline.plan")

    def planned(*changes: str) -> float:
        session = PlannedSession(load_config(config, list(changes)), local_target())
        return planning._plan_training(session)["memory_gib"]["arguments"]

    assert planned("signals.encoder_states=true") < planned(SMALL) < planned()

"""Several processes on this machine, talking over the network, against one: for real."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from distil_jax import pipeline
from distil_jax.config import load_config
from distil_jax.run import RunFolder, read_jsonl
from tests.five_steps import MESHES, five_steps
from tests.made_up_inputs import write_inputs
from tests.made_up_training import ONE_DEVICE
from tests.pipeline.test_measures import ALL as MEASURES
from tests.pipeline.test_pipeline import SEVERAL
from tests.several_processes import Several, together

# One after the other: each test takes all cores.
pytestmark = [pytest.mark.xdist_group("several processes"), pytest.mark.slow]
LABEL = ("label.shard_size=3", "label.batch_size=4")  # 5 shards of the 15 utterances
ROLES = ("teacher", "student")
LONGER = (
    "train.steps=8",
    "train.save_every=4",
    "train.validate_every=4",
    "train.validation_clips=2",
    "train.optimizer={learning_rate: 1e-3, warmup_steps: 1}",
)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="module")
def labelled(config, tmp_path_factory) -> dict[int, Path]:
    """Run folders with labels, by the number of processes that made them.

    One process here has 8 devices, two have 4 each: either way each device has a clip at a time,
    so that scores, too, come out in the same bits.
    """
    folders = {count: tmp_path_factory.mktemp(f"by-{count}") / "run" for count in (1, 2)}
    alone = pipeline.label(load_config(config, [*LABEL, f"run_dir={folders[1]}"]))
    said = together(2, "label", config, *LABEL, f"run_dir={folders[2]}", "--json")
    assert json.loads(said[0].out) == {**alone, "labels": str(folders[2] / "labels")}
    assert (said[1].out, said[1].err) == ("", "")
    return folders


def labels(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "labels" / "noises").iterdir()}


def same_but_for_the_order(one: Path, other: Path) -> None:
    rows = [sorted(read_jsonl(run / "quarantine.jsonl"), key=str) for run in (one, other)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 2


def test_two_processes_write_the_labels_of_one(labelled):
    assert labels(labelled[2]) == labels(labelled[1])
    assert len(labels(labelled[1])) == 5 + 2
    same_but_for_the_order(labelled[1], labelled[2])
    clips = [
        sum(r["clips"] for r in read_jsonl(run / "compute.jsonl")) for run in labelled.values()
    ]
    assert clips == [13, 13]
    assert sorted(path.name for path in labelled[2].iterdir()) == sorted(
        path.name for path in labelled[1].iterdir()
    )


def test_four_processes_write_the_labels_of_one(labelled, config, tmp_path):
    together(4, "label", config, *LABEL, f"run_dir={tmp_path}")
    assert labels(tmp_path) == labels(labelled[1])
    same_but_for_the_order(labelled[1], tmp_path)


def test_what_one_process_cannot_read_ends_all_with_its_words(labelled, config, tmp_path):
    """Shard 1 is of process 1, and only it looks inside."""
    run = shutil.copytree(labelled[2], tmp_path / "run")
    (run / "labels" / "noises" / "finished.json").unlink()
    (run / "labels" / "noises" / "shard-00001.parquet").write_bytes(b"PAR1 damaged")
    first, second = Several(2, "label", config, *LABEL, f"run_dir={run}").ended()
    assert (first.code, second.code) == (1, 1)
    told = second.err.splitlines()
    assert told[0].startswith("Error: ")
    assert "shard-00001.parquet cannot be read" in told[0]
    assert first.err.splitlines() == [
        "Process 1 of 2 failed, so all of them end. It said:",
        *told,
    ]


def test_a_recording_that_one_process_misses_ends_all_with_its_words(ready, config, tmp_path):
    """In the middle of the training, when the other waits for its part of a step."""
    run = shutil.copytree(ready, tmp_path / "run")
    copied = shutil.copytree(config.parent, tmp_path / "inputs")
    source = f"data.train.noises.path={config.parent / 'train'}"
    gone = config.parent / "train" / "5.wav"
    gone.unlink()
    try:
        each = Several(2, "train", config, *LABEL, *LONGER, source, f"run_dir={run}").ended()
    finally:
        shutil.copy(copied / "train" / "5.wav", gone)
    assert [process.code for process in each] == [1, 1]
    for process in each:
        assert "5.wav was fit to use before and is no longer" in process.err
    assert any(process.err.splitlines()[-1].startswith("Error: ") for process in each)
    assert not any("absl" in process.err for process in each)


@pytest.fixture(scope="module")
def one_device() -> dict[str, np.ndarray]:
    return five_steps(ONE_DEVICE)


def assert_near(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("five") / "steps.npz"
    together(2, path, module="tests.five_steps")
    with np.load(path) as found:
        return dict(found)


@pytest.mark.parametrize("name", MESHES)
def test_five_steps_are_those_of_one_device(name, one_device, of_two_processes):
    """Losses, gradients (in Adam's momentum after the first step) and states."""
    assert_near(five_steps(MESHES[name]), one_device)
    own = {key: v for key, v in of_two_processes.items() if key.startswith(f"{name}: ")}
    assert_near({key.removeprefix(f"{name}: "): v for key, v in own.items()}, one_device)


@pytest.fixture(scope="module")
def ready(config, labelled, tmp_path_factory) -> Path:
    """A run folder that waits to be trained in."""
    run = shutil.copytree(labelled[1], tmp_path_factory.mktemp("ready") / "run")
    pipeline.filter_labels(load_config(config, [*LABEL, f"run_dir={run}"]))
    return run


def metrics(run: Path) -> list[dict]:
    return read_jsonl(run / "metrics.jsonl")


def assert_near_metrics(found: list[dict], expected: list[dict]) -> None:
    assert [(r["step"], r["kind"]) for r in found] == [(r["step"], r["kind"]) for r in expected]
    for one, other in zip(found, expected, strict=True):
        for name in other.keys() - {"kind"}:
            assert one[name] == pytest.approx(other[name], rel=1e-5, abs=1e-5), (other, name)


def test_one_of_two_is_killed_and_the_run_goes_on(ready, config, tmp_path):
    """As it was, to the same bits; or in one process with other shardings, to the same numbers."""
    whole, cut, alone = (shutil.copytree(ready, tmp_path / n) for n in ("whole", "cut", "alone"))

    def train(run: Path, *more: str) -> tuple:
        return ("train", config, *LABEL, *LONGER, *more, f"run_dir={run}", "--json")

    first, _ = together(2, *train(whole), devices=2)
    rate = json.loads(first.out)["validation_error_rate"]

    running = Several(2, *train(cut), devices=2)
    running.wait_until((cut / "checkpoints" / "4").exists)
    running.kill(1)
    left, killed = running.ended()
    assert killed.code == -9
    assert left.code not in (0, -9)
    assert left.err.splitlines()[-1].startswith("Error: process 1 was lost: it was killed")
    assert "absl" not in left.err
    assert len(metrics(cut)) < len(metrics(whole))
    shutil.copytree(cut, alone, dirs_exist_ok=True)

    again, _ = together(2, *train(cut), devices=2)
    assert (cut / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert json.loads(again.out)["validation_error_rate"] == rate

    mesh = "mesh={strategy: fsdp, shape: [2, 2, 1]}"
    together(1, *train(alone, mesh), devices=4)
    assert_near_metrics(metrics(alone), metrics(whole))
    steps = [row for row in read_jsonl(whole / "compute.jsonl") if row["stage"] == "train"]
    assert sum(row.get("clips", 0) for row in steps) == 8 * 8
    assert sum(row.get("audio_seconds", 0) for row in steps) == 8 * 8.0


@pytest.mark.very_slow
def test_two_processes_make_the_students_of_one(config, labelled, tmp_path):
    """Train, measure and export several at once."""
    one, two = (shutil.copytree(labelled[1], tmp_path / name) for name in ("one", "two"))
    for count, run in ((1, one), (2, two)):
        more = (*LABEL, *SEVERAL, *MEASURES, f"run_dir={run}", "--json")
        together(count, "run", config, *more, devices=4 // count)
    for name in ("small", "large"):
        own = [RunFolder(run).of_student(name) for run in (one, two)]
        assert_same_evaluation(*(each.evaluation for each in own))
        assert_near_metrics(*(read_jsonl(each.metrics) for each in own))
        assert_same_names(*(each.root for each in own))
    assert_same_names(one, two)

    small = ("transcribe", two, "--student", "small", "--audio", config.parent / "test", "--json")
    heard = together(2, *small)
    rows = json.loads(heard[0].out)["recordings"]
    assert [row["id"] for row in rows] == ["0.wav", "1.wav", "2.wav"]
    assert heard[1].out == ""


def assert_same_names(one: Path, other: Path) -> None:
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in other.iterdir())


def assert_same_evaluation(one: Path, other: Path) -> None:
    names = sorted(path.relative_to(one) for path in one.glob("**/*.parquet"))
    assert len(names) == 1 + 4 + 1  # the set, the levels of noise, what is no speech
    for name in names:
        tables = [pq.read_table(folder / name).select(["id", *ROLES]) for folder in (one, other)]
        assert tables[0].equals(tables[1]), name
    told = [json.loads((folder / "summary.json").read_text()) for folder in (one, other)]
    rates = [each["held_out"]["student"]["error_rate"] for each in told]
    assert rates[0] == rates[1]

"""Planning: what a run would take, without its weights, its data or its devices."""

import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest
import yaml

from distil_jax import pipeline
from distil_jax.config import load_config
from distil_jax.errors import ConfigError
from distil_jax.models.published import published_shape
from distil_jax.models.whisper import init
from distil_jax.pipeline.compiled import Step
from distil_jax.scaling.chips import TPU_CHIPS
from distil_jax.topology import local_target

# A folder that `pip install --target` put libtpu into: it only compiles, no TPU is needed.
LIBTPU = os.environ.get("DISTIL_JAX_LIBTPU", "")
needs_libtpu = pytest.mark.skipif(not LIBTPU, reason="DISTIL_JAX_LIBTPU names no folder of libtpu")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Whisper tiny by its hub id, whose weights are not here."""
    sections = {
        "name": "planned",
        "run_dir": str(tmp_path / "run"),
        "teacher": {"weights": "openai/whisper-tiny"},
        "data": {"train": {"speech": {"path": "/nowhere"}}},
        "label": {"batch_size": 8, "max_new_tokens": 4},
        "student": {"decoder_layers": 1},
        "objectives": [{"name": "cross_entropy"}, {"name": "kl"}],
        "train": {"batch_size": 16, "target_lengths": [16], "steps": 100},
        "plan": {"price_per_chip_hour": 2.0},
    }
    path = tmp_path / "planned.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def test_this_machine_is_a_target_and_nothing_is_left_behind(config: Path, tmp_path: Path):
    plan = pipeline.plan(load_config(config), None)
    train, label = plan["train"], plan["label"]
    assert (plan["target"], plan["chips"]) == ("cpu", 8)
    assert (train["clips"], train["clips_per_device"], label["clips_per_device"]) == (16, 2, 1)
    assert train["fits"]
    assert train["largest"] is None  # nobody says how much memory a CPU device has
    # The teacher in float32, the student's decoder three times, on every device.
    assert 0.15 < train["memory_gib"]["arguments"] < 0.6
    assert 0.1 < label["memory_gib"]["arguments"] < 0.2
    sums = [each for each in train["collectives"] if each["kind"] == "all-reduce"]
    trained = 4 * sum(a.size for a in jax.tree.leaves(_decoder_of_one_layer()))
    assert trained <= sum(each["bytes"] * each["times"] for each in sums) < 2.2 * trained
    json.dumps(plan)
    assert not (tmp_path / "run").exists()


def test_the_table_has_every_parameter_once(config: Path):
    overrides = ["mesh.shape=[1,4,2]", "mesh.strategy=fsdp+tensor", "mesh.teacher_strategy=dp"]
    rows = pipeline.plan(load_config(config, overrides), None, True)["parameters"]
    names = [(row["part"], row["parameter"]) for row in rows]
    assert len(names) == len(set(names))
    assert {row["part"] for row in rows} == {"teacher", "trained"}
    by_name = dict(zip(names, rows, strict=True))
    up = "decoder.blocks.mlp.up.kernel"
    assert by_name["teacher", up]["layout"] == ["-", "-", "-"]
    assert by_name["trained", up]["layout"] == ["-", "fsdp", "tensor"]
    assert by_name["trained", up]["bytes_per_device"] == 384 * 1536 * 4 // 8
    teacher = sum(row["bytes_per_device"] for row in rows if row["part"] == "teacher")
    shape = published_shape("openai/whisper-tiny")
    everything = jax.tree.leaves(jax.eval_shape(lambda: init(shape)))  # pyright: ignore[reportArgumentType]
    assert teacher == 4 * sum(a.size for a in everything)


def test_of_several_students_the_table_has_their_names(config: Path):
    several = ["student=null", "students={small: {decoder_layers: 1}, large: {decoder_layers: 2}}"]
    rows = pipeline.plan(load_config(config, several), None, True)["parameters"]
    names = [(row["part"], row["parameter"]) for row in rows]
    assert len(names) == len(set(names))
    whose = {name.partition(".")[0] for part, name in names if part == "trained"}
    assert whose == {"small", "large"}
    assert {name.partition(".")[0] for part, name in names if part == "teacher"} == {
        "encoder",
        "decoder",
    }


@pytest.mark.parametrize(
    "override,words",
    [
        # The five ways to get the layout wrong; typos in a table are test_mesh's.
        ("mesh.strategy={embed: [fdsp]}", ["mesh.strategy", "fdsp", "'data', 'fsdp' or 'tensor'"]),
        ("mesh.strategy={embd: [fsdp]}", ["mesh.strategy", "embd", "batch, embed"]),
        ("mesh.strategy={embed: [fsdp], mlp: [fsdp]}", ["mlp", "divided twice over fsdp"]),
        ("mesh.shape=[3,1,1]", ["mesh.shape", "8 devices"]),
        ("mesh.strategy={vocab: [fsdp]}", ["decoder.embedding", "51865", "may_replicate: [vocab]"]),
        ("train.batch_size=12", ["train.batch_size", "got 12", "multiple of 8"]),
    ],
)
def test_a_wrong_layout_is_named_before_anything_is_compiled(config: Path, override, words):
    overrides = [override]
    if "strategy" in override:
        overrides.append("mesh.shape=[1,8,1]")
    with pytest.raises(ConfigError) as error:
        pipeline.plan(load_config(config, overrides), None)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("name", ["v5e", "v7:4x4", "v5e:4x", "../etc"])
def test_a_wrong_topology_is_named(config: Path, name):
    with pytest.raises(ConfigError, match="expected generation:shape as v5e:16x16"):
        pipeline.plan(load_config(config), name)


def test_the_bill_is_of_the_roofline_on_all_chips(config: Path, monkeypatch):
    """With this machine's devices for those of a chip whose peaks are known."""
    here, planning = local_target(), importlib.import_module("distil_jax.pipeline.plan")
    monkeypatch.setattr(planning, "local_target", lambda: replace(here, chip=TPU_CHIPS["v5e"]))
    monkeypatch.setattr(Step, "largest", lambda *_: None)
    train = pipeline.plan(load_config(config), None)["train"]
    assert train["fits"]
    assert train["step_seconds"] == max(train["roofline_seconds"].values()) > 0
    assert train["clips_per_second"] == pytest.approx(16 / train["step_seconds"])
    assert train["chip_hours"] == pytest.approx(100 * train["step_seconds"] * 8 / 3600)
    assert train["cost"] == pytest.approx(2 * train["chip_hours"])


@pytest.mark.slow
@needs_libtpu
def test_a_slice_that_is_not_here(config: Path):
    plan, said = plan_for(config, "v5e:2x2", "train.batch_size=8192")
    train, largest = plan["train"], plan["train"]["largest"]
    assert (plan["target"], plan["chips"]) == ("v5e:2x2", 4)
    assert (train["fits"], train["clips_per_device"]) == (False, 2048)
    assert train["memory_gib"]["too_much"] > 1
    assert 64 < largest["clips_per_device"] < 2048
    parts = -(-2048 // largest["clips_per_device"])
    assert f"train.accumulation={parts}" in train["change"]
    assert largest["fits"]
    assert 0 < largest["memory_gib"]["used"] < largest["memory_gib"]["available"] == 16
    refused = re.findall(r"training step of (\d+) clips a device: .*, too much \(compiled in", said)
    assert largest["clips_per_device"] < min(map(int, refused)) <= 2 * largest["clips_per_device"]
    assert largest["step_seconds"] == max(largest["roofline_seconds"].values())
    assert plan["label"]["fits"]


def plan_for(config: Path, topology: str, *overrides: str) -> tuple[dict[str, Any], str]:
    """The plan, and what was said on the way. In a process that alone has libtpu."""
    command = [sys.executable, "-m", "distil_jax", "plan", str(config), *overrides]
    path = os.pathsep.join([LIBTPU, str(Path(__file__).parents[2])])
    done = subprocess.run(
        [*command, "--topology", topology, "--json"],
        env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def _decoder_of_one_layer() -> dict:
    shape = published_shape("openai/whisper-tiny")
    assert shape is not None
    return jax.eval_shape(lambda: init(shape.model_copy(update={"decoder_layers": 1})))["decoder"]

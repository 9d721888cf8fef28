"""What a run writes down: metrics, compute, and where its seconds went."""

import json
import time

import jax
import jax.numpy as jnp
import pytest

from distil_jax.run import append_jsonl, read_jsonl
from distil_jax.training.telemetry import MetricsLog, Stopwatch, compute_row

KINDS = ["compile", "data_wait", "step", "evaluation", "checkpoint"]


def test_seconds_are_told_apart_by_kind():
    watch = Stopwatch()
    for kind, seconds in (("step", 0.05), ("data_wait", 0.02), ("step", 0.05)):
        with watch.measure(kind):
            time.sleep(seconds)
    taken = watch.take()
    assert list(taken) == KINDS
    assert 0.1 <= taken["step"] < 1
    assert 0.02 <= taken["data_wait"] < 1
    assert taken["evaluation"] == taken["checkpoint"] == 0


def test_taking_begins_anew():
    watch = Stopwatch()
    with watch.measure("step"):
        time.sleep(0.01)
    assert watch.take()["step"] > 0
    assert set(watch.take().values()) == {0}


def test_compiling_is_told_apart_from_the_step_around_it():
    def slow_to_compile(x: jax.Array) -> jax.Array:
        for i in range(150):
            x = jnp.sin(x @ x) + i
        return x

    watch, step, x = Stopwatch(), jax.jit(slow_to_compile), jnp.ones((2, 2))
    start = time.perf_counter()
    with watch.measure("step"):
        step(x).block_until_ready()
    wall, first = time.perf_counter() - start, watch.take()
    with watch.measure("step"):
        step(x).block_until_ready()
    again = watch.take()
    assert first["compile"] > 0.05
    assert first["step"] + first["compile"] == pytest.approx(wall, abs=0.01)
    assert again["compile"] == 0


def test_seconds_are_counted_when_the_block_fails():
    watch = Stopwatch()
    with pytest.raises(ValueError), watch.measure("step"):
        time.sleep(-1)
    assert watch.seconds["step"] > 0


def test_a_compute_row_says_what_was_done_by_what():
    seconds = dict.fromkeys(KINDS, 1.5)
    row = compute_row(
        "train", 25, {"clips": 64, "audio_seconds": 1920.0}, {"step": 1e9}, seconds, {"loss": 2.5}
    )
    assert json.loads(json.dumps(row)) == {
        "stage": "train",
        "step": 25,
        "clips": 64,
        "audio_seconds": 1920.0,
        "flops": {"step": 1e9},
        "seconds": seconds,
        "device": {"kind": "cpu", "count": 8},
        "losses": {"loss": 2.5},
    }
    assert compute_row("label", 0, {}, {}, {})["losses"] == {}


@pytest.fixture
def metrics(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (5, 10, 15):
        log.write(step, "train", {"loss": 1 / step})
    log.write(10, "validation", {"error_rate": 12.5})
    return path


def test_a_row_has_its_step_and_kind(metrics):
    rows = read_jsonl(metrics)
    assert rows[0] == {"step": 5, "kind": "train", "loss": 0.2}
    assert rows[3] == {"step": 10, "kind": "validation", "error_rate": 12.5}


@pytest.mark.parametrize("step,kept", [(0, []), (5, [5]), (12, [5, 10, 10]), (15, [5, 10, 15, 10])])
def test_the_log_is_cut_back_to_the_restored_step(metrics, step, kept):
    before = read_jsonl(metrics)
    MetricsLog(metrics).rewind(step)
    after = read_jsonl(metrics)
    assert [row["step"] for row in after] == kept
    assert after == [row for row in before if row["step"] <= step]


def test_a_line_torn_by_a_kill_is_no_row(metrics):
    with open(metrics, "a", encoding="utf-8") as file:
        file.write('{"step": 12, "ki')
    MetricsLog(metrics).rewind(10)
    MetricsLog(metrics).write(15, "train", {"loss": 0.5})
    assert [row["step"] for row in read_jsonl(metrics)] == [5, 10, 10, 15]


def test_killed_and_run_again_the_log_is_byte_for_byte_the_same(metrics):
    whole = metrics.read_bytes()
    log = MetricsLog(metrics)
    log.rewind(5)
    append_jsonl(metrics, [])
    for step in (10, 15):
        log.write(step, "train", {"loss": 1 / step})
    log.write(10, "validation", {"error_rate": 12.5})
    assert metrics.read_bytes() == whole


def test_a_first_run_begins_with_an_empty_log(tmp_path):
    log = MetricsLog(tmp_path / "new" / "metrics.jsonl")
    log.rewind(0)
    assert (tmp_path / "new" / "metrics.jsonl").read_bytes() == b""

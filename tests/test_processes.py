"""Who a process is among several, what falls to it, and what the C++ of jax says in words."""

import pytest

from distil_jax import processes
from distil_jax.errors import ConfigError
from distil_jax.processes import Place
from distil_jax.processes.ending import _may_come_from_another
from distil_jax.processes.native import tidied
from distil_jax.processes.parts import merge_parts, own_part, read_parts
from distil_jax.processes.start import given_addresses, start
from distil_jax.run import append_jsonl, read_jsonl

NAMES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
OF_CLUSTERS = ("SLURM_STEP_NODELIST", "OMPI_COMM_WORLD_SIZE", "JOB_COMPLETION_INDEX")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No cluster around, and the place of a single process again afterwards."""
    for name in (*NAMES, *OF_CLUSTERS, "TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    yield
    processes.take(Place())


def given(monkeypatch, *values: str) -> None:
    for name, value in zip(NAMES, values, strict=True):
        if value:
            monkeypatch.setenv(name, value)


def test_alone_a_process_has_everything_and_waits_for_nobody():
    start()
    assert (processes.index(), processes.count(), processes.is_writer()) == (0, 1, True)
    assert [*processes.mine("abc")] == ["a", "b", "c"]
    assert processes.gather({"a": 1.5}) == [{"a": 1.5}]
    processes.barrier("nobody else")


def test_every_piece_falls_to_one_process():
    dealt = []
    for index in range(3):
        processes.take(Place(index, 3))
        own = [*processes.mine(range(10))]
        assert own == [number for number in range(10) if processes.is_mine(number)]
        dealt += own
    assert sorted(dealt) == [*range(10)]


def test_given_addresses_are_read(monkeypatch):
    assert given_addresses() is None
    given(monkeypatch, "10.0.0.1:8476", "4", "3")
    expected = {"coordinator_address": "10.0.0.1:8476", "num_processes": 4, "process_id": 3}
    assert given_addresses() == expected


def test_one_process_by_its_own_word_starts_nothing(monkeypatch):
    given(monkeypatch, "localhost:1", "1", "0")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "a,b")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    start()
    assert processes.count() == 1


def test_a_cluster_s_coordinator_may_be_given_alone(monkeypatch):
    given(monkeypatch, "10.0.0.1:8476", "", "")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "a,b")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert given_addresses() is None


@pytest.mark.parametrize(
    "values,message",
    [
        (("h:1", "", "0"), "JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID are set, JAX_NUM_PROCESSES is"),
        (("h:1", "", ""), "ADDRESS is set, JAX_NUM_PROCESSES, JAX_PROCESS_ID are not"),
        (("", "2", "0"), "JAX_NUM_PROCESSES, JAX_PROCESS_ID are set, JAX_COORDINATOR_ADDRESS is"),
        (("h:1", "2", "2"), "JAX_PROCESS_ID: got 2, expected 0 to 1"),
        (("h:1", "two", "0"), "JAX_NUM_PROCESSES: got 'two', expected a whole number"),
        (("h", "2", "0"), "JAX_COORDINATOR_ADDRESS: got 'h', expected host:port"),
    ],
)
def test_addresses_that_will_not_do_are_told(monkeypatch, values, message):
    given(monkeypatch, *values)
    with pytest.raises(ConfigError, match=message):
        start()


def test_the_parts_of_a_log_become_one(tmp_path):
    """Also when a kill let a part be merged and not removed."""
    log, rows = tmp_path / "log.jsonl", [{"n": number} for number in range(4)]
    for index, row in enumerate(rows[:3]):
        processes.take(Place(index, 3))
        append_jsonl(own_part(log), [row])
    append_jsonl(log, [rows[2]])  # its part was merged before
    append_jsonl(tmp_path / "logs.00001.jsonl", [rows[3]])  # another log's
    assert read_jsonl(log) == [rows[0], rows[2]]
    assert [*map(str, read_parts(log))] == [*map(str, [rows[0], rows[2], rows[1], rows[2]])]
    processes.take(Place())
    merge_parts(log)
    assert read_jsonl(log) == [rows[0], rows[2], rows[1]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "logs.00001.jsonl"]


FATAL = (
    "F1121 23:50:28.877281   12316 client.h:80] Terminating process because the JAX distributed "
    "service detected fatal errors. This most likely indicates that another task died; "
)
STACK = "*** Check failure stack trace: ***\n    @  0x7fc0c7040634  absl::log_internal::Flush()\n"


@pytest.mark.parametrize(
    "words,lost",
    [
        ("absl::Status: UNAVAILABLE: The following tasks are unhealthy (stopped sending "
         "heartbeats):\n3\n1\nThe tasks have crashed.\n", "1, 3"),
        ("absl::Status: UNAVAILABLE: Failed to send RPC to coordination service. Either the "
         "leader task was preempted\n", "0"),
    ],
)  # fmt: skip
def test_the_last_words_of_jax_name_the_process_that_was_lost(words, lost):
    lines = ["kept\n", "[Gloo] Rank 0 is connected to 2 peer ranks\n", *f"{FATAL}{words}{STACK}"
             .splitlines(keepends=True)]  # fmt: skip
    kept, sentence = tidied(lines)
    assert kept == "kept\n"
    assert sentence.startswith(f"Error: process {lost} was lost: ")
    assert "The same command, in all processes, goes on where the run stopped." in sentence


def test_last_words_that_are_new_to_us_are_left_as_they_are():
    lines = [f"{FATAL}something else\n", *STACK.splitlines(keepends=True)]
    assert "".join(tidied(lines)) == "".join(lines)


def test_what_may_come_from_another_process_is_told_apart():
    broken = ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer")
    own = OSError("https://example.org is unavailable: connection refused")
    assert _may_come_from_another(broken)
    assert not _may_come_from_another(own)
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("a checkpoint cannot be read") from broken
    assert _may_come_from_another(caught.value)

"""Asked to stop: the step is saved, the exit code says so, and the rest is the same bits."""

import contextlib
import signal
import subprocess
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from distil_jax.run import read_jsonl
from distil_jax.training.preemption import SIGNALS, StopRequest
from tests.made_up_loop import CONFIG, PATIENCE, finished, started, state


def until_paused(process: subprocess.Popen, folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not (folder / "paused").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def until_heard(process: subprocess.Popen, number: int) -> None:
    """Until Python's handler has run: the process no longer catches the signal."""
    while True:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        if not int(caught.split()[1], 16) & 1 << (number - 1):
            return
        time.sleep(0.01)


def stopped(folder: Path, step: int, number: int = signal.SIGTERM) -> tuple[int, str]:
    process = started(folder, "--pause-at", str(step))
    until_paused(process, folder)
    process.send_signal(number)
    until_heard(process, number)
    (folder / "go").touch()
    _, words = process.communicate(timeout=PATIENCE)
    return process.returncode, words


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    code, words = finished(folder)
    assert code == 0, words
    return folder


@pytest.mark.parametrize(
    "number,step",
    [
        pytest.param(signal.SIGTERM, 3, id="before the first save"),
        pytest.param(signal.SIGUSR1, 6, id="by Slurm's signal", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 8, id="where it validates", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 12, id="at the last step", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_asked_to_stop_ends_in_the_same_bits(whole, tmp_path, number, step):
    folder = tmp_path / "run"
    code, words = stopped(folder, step, number)
    assert code == 143, words
    expected = f"stopped by {signal.Signals(number).name} after step {step} of 12, which is saved"
    assert expected in words
    assert "same command" in words
    assert "Traceback" not in words
    assert int(state(folder).step) == step
    code, words = finished(folder)
    assert code == 0, words
    again, first = (path / "metrics.jsonl" for path in (folder, whole))
    assert again.read_bytes() == first.read_bytes()
    jax.tree.map(np.testing.assert_array_equal, state(folder), state(whole))
    compute = read_jsonl(folder / "compute.jsonl")
    assert sum(row.get("clips", 0) for row in compute) == CONFIG.steps


def test_a_second_signal_kills_at_once(whole, tmp_path):
    folder = tmp_path / "run"
    process = started(folder, "--pause-at", "6")
    until_paused(process, folder)
    process.terminate()
    until_heard(process, signal.SIGTERM)
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGTERM
    assert finished(folder)[0] == 0
    jax.tree.map(np.testing.assert_array_equal, state(folder), state(whole))


@pytest.fixture
def heard():
    """The signals that reach the handlers of before."""
    numbers = []
    before = {n: signal.signal(n, lambda number, _: numbers.append(number)) for n in SIGNALS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_an_answer_the_second_goes_where_it_went_before(heard, number):
    with contextlib.suppress(ZeroDivisionError), StopRequest() as request:
        assert not request.reached(1)
        signal.raise_signal(number)
        assert request.reached(2)
        assert request.name == signal.Signals(number).name
        assert heard == []
        signal.raise_signal(number)
        assert heard == [number]
        raise ZeroDivisionError
    assert heard == [number]
    signal.raise_signal(number)
    assert heard == [number] * 2


def test_a_signal_that_was_not_acted_upon_is_handed_on(heard):
    with StopRequest():
        signal.raise_signal(signal.SIGTERM)
        assert heard == []
    assert heard == [signal.SIGTERM]


def test_outside_the_main_thread_nothing_is_changed(heard):
    answers = []

    def work() -> None:
        with StopRequest() as request:
            signal.raise_signal(signal.SIGTERM)
            answers.append(request.reached(1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [False]
    assert heard == [signal.SIGTERM]

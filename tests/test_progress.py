"""Progress of long work, in a terminal and in a log."""

import io

import pytest

from distil_jax import progress as module
from distil_jax.progress import clock, progress


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, to be set by the test."""
    time = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: time[0])
    return time


def test_a_log_gets_few_lines_and_a_last_one(now: list[float], capsys: pytest.CaptureFixture):
    for _ in progress(range(60), description="label", unit="clips"):
        now[0] += 0.5
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "label: 20/60 clips (33%), 2 clips/s, 0:20 left",
        "label: 40/60 clips (66%), 2 clips/s, 0:10 left",
        "label: 60/60 clips (100%), 2 clips/s, took 0:30",
    ]


def test_earlier_work_counts_as_done_and_not_as_speed(
    now: list[float], capsys: pytest.CaptureFixture
):
    with progress(total=100, description="train", unit="steps", done=50) as bar:
        now[0] += 10
        bar.advance(5, note="loss 1.5")
    assert capsys.readouterr().err.splitlines()[0] == (
        "train: 55/100 steps (55%), 0.5 steps/s, 1:30 left, loss 1.5"
    )


def test_an_unknown_total_has_a_rate_and_no_end(now: list[float], capsys: pytest.CaptureFixture):
    with progress(description="read", unit="clips") as bar:
        now[0] += 2
        bar.advance(3)
    assert capsys.readouterr().err == "read: 3 clips, 1.5 clips/s, took 0:02\n"


def test_a_failure_leaves_the_last_line_and_goes_on_up(capsys: pytest.CaptureFixture):
    def work() -> None:
        with progress(total=4, description="x") as bar:
            bar.advance()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert "x: 1/4 items" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(module.sys, "stderr", terminal := Terminal())
    module.stderr_console.cache_clear()
    with progress(total=2, description="[label]", unit="clips") as bar:
        bar.advance(2, note="[bold]a.wav")
    module.stderr_console.cache_clear()
    assert "━" in terminal.getvalue()
    assert "[label]" in terminal.getvalue()
    assert "[bold]a.wav" in terminal.getvalue()


def test_walking_needs_something_to_walk():
    with pytest.raises(TypeError, match="advance"):
        list(progress(total=3))


@pytest.mark.parametrize("seconds, text", [(7.4, "0:07"), (754, "12:34"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str):
    assert clock(seconds) == text

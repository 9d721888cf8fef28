"""Start the same command in several processes on this machine, as several hosts would."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax

REPOSITORY = Path(__file__).parent.parent
SECONDS = 900.0  # after which what still runs is killed


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it printed."""

    code: int
    out: str
    err: str


class Several:
    """`python -m MODULE ARGUMENTS` in `count` processes with `devices` CPU devices each."""

    def __init__(
        self,
        count: int,
        *arguments: object,
        module: str = "distil_jax",
        devices: int = 4,
        environment: Mapping[str, str] | None = None,
    ):
        self._until = time.monotonic() + SECONDS
        command = [sys.executable, "-m", module, *map(str, arguments)]
        common = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
            # What one process compiled, the next ones find.
            "JAX_COMPILATION_CACHE_DIR": jax.config.values["jax_compilation_cache_dir"] or "",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "DISTIL_JAX_HEARTBEAT_SECONDS": "10",
            **(environment or {}),
        }
        if count > 1:
            common["JAX_COORDINATOR_ADDRESS"] = f"localhost:{_free_port()}"
            common["JAX_NUM_PROCESSES"] = str(count)
        self._folder = tempfile.TemporaryDirectory()
        self._processes: list[subprocess.Popen] = []
        for index in range(count):
            own = {**common, **({"JAX_PROCESS_ID": str(index)} if count > 1 else {})}
            with (
                open(self._words(index, "out"), "wb") as out,
                open(self._words(index, "err"), "wb") as err,
            ):
                process = subprocess.Popen(command, env=own, stdout=out, stderr=err)
            self._processes.append(process)

    def _words(self, index: int, kind: str) -> Path:
        return Path(self._folder.name) / f"{index}.{kind}"

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Wait until it happened, or a process ended, or the time is over."""
        while not happened() and time.monotonic() < self._until:
            if any(process.poll() is not None for process in self._processes):
                return
            time.sleep(0.002)

    def kill(self, index: int) -> None:
        """With SIGKILL."""
        self._processes[index].kill()

    def ended(self) -> list[Ended]:
        """Wait for all of them, and kill what takes too long (its code is -9 then)."""
        for process in self._processes:
            try:
                process.wait(max(0.0, self._until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return [
            Ended(
                process.returncode,
                *(self._words(index, kind).read_text(errors="replace") for kind in ("out", "err")),
            )
            for index, process in enumerate(self._processes)
        ]


def together(count: int, *arguments: object, **how) -> list[Ended]:
    """Run the command in `count` processes to its end, which must be a good one."""
    ended = Several(count, *arguments, **how).ended()
    assert [each.code for each in ended] == [0] * count, ended
    return ended


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]

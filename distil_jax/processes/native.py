"""What the C++ of jax prints where several processes work: its noise left out, its end in words.

    python -m distil_jax.processes.native INDEX < what a process's C++ prints

When a process is lost, jax ends the others from a thread of its own, in which no Python runs:
a page of stack frames, and they are gone. So a small process reads along and says what it meant.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator

_NOISE = re.compile(
    r"\[Gloo\] Rank|[WE]\d{4} .*(coordination_service|preemption_sync_manager)"
    r"|The tasks have crashed\.|Additional GRPC error information|:UNKNOWN:Error received|\d+$"
)
_END = "Terminating process because the JAX distributed service detected fatal errors"
_LOST = re.compile(r"unhealthy \(stopped sending heartbeats\):\n((?:.*\d+\n)+)")
_LEADER = "Failed to send RPC to coordination service"


def tidy() -> None:
    """Lead what C++ prints from here on through a reader; Python prints where it did before."""
    read, write = os.pipe()
    out, err = os.dup(1), os.dup(2)
    command = [sys.executable, "-m", "distil_jax.processes.native"]
    # A session of its own: Ctrl-C is for the process it reads from, which it outlives.
    subprocess.Popen(command, stdin=read, stdout=err, start_new_session=True)
    sys.stdout.flush()
    sys.stderr.flush()
    for number in (1, 2):
        os.dup2(write, number)
    os.close(read)
    os.close(write)
    sys.stdout = os.fdopen(out, "w", buffering=1, encoding="utf-8")
    sys.stderr = os.fdopen(err, "w", buffering=1, encoding="utf-8")


def tidied(lines: Iterable[str]) -> Iterator[str]:
    """The lines without noise; from jax's last words on, what they mean."""
    lines = iter(lines)
    for line in lines:
        if _END in line:
            yield _meaning("".join([line, *lines]))
        elif not _NOISE.match(line):
            yield line


def _meaning(words: str) -> str:
    found = _LOST.search(words)
    if found:
        lost = ", ".join(sorted(set(re.findall(r"\d+(?=\n)", found[1])), key=int))
    elif _LEADER in words:
        lost = "0"
    else:
        return words
    return (
        f"Error: process {lost} was lost: it was killed, ran out of memory, or its machine went "
        f"away; what it printed last may say more. All processes end. The same command, in all "
        f"processes, goes on where the run stopped.\n"
    )


def main() -> None:
    sys.stdin.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    for line in tidied(sys.stdin):
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()

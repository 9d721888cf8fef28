"""Logs that every process writes to: each has a file of its own, and at the end they are one."""

from pathlib import Path

from distil_jax import processes
from distil_jax.run import append_jsonl, read_jsonl


def own_part(path: Path) -> Path:
    """Where this process writes what belongs into the JSON-lines file `path`."""
    if processes.is_writer():
        return path
    return path.with_name(f"{path.stem}.{processes.index():05d}{path.suffix}")


def read_parts(path: Path) -> list[dict]:
    """The rows of all processes: those merged already or of process 0, then the others' in turn."""
    return [row for part in (path, *_others(path)) for row in read_jsonl(part)]


def merge_parts(path: Path) -> None:
    """Put the rows of all processes, also those a killed run left, into `path`. A barrier, too."""
    processes.barrier("written")
    if processes.is_writer():
        for part in _others(path):
            known = read_jsonl(path)  # a kill between the next two lines leaves rows in both
            append_jsonl(path, [row for row in read_jsonl(part) if row not in known])
            part.unlink()
    processes.barrier("merged")


def _others(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.stem}.[0-9][0-9][0-9][0-9][0-9]{path.suffix}"))

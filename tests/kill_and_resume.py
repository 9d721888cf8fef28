"""Kill a run with SIGKILL again and again; what it makes in the end must not show it.

    python -m tests.kill_and_resume configs/quickstart.yaml train.steps=8 train.save_every=2

One run is left alone, another of the same config is killed and started again. Most kills come at
random moments of a stage; the last of each stage is aimed at a file being written. Then labels,
kept clips, metrics, transcripts and the exported student of the two are compared, byte by byte.
Exit code 0: all the same. Takes one run, and for each kill a start and the part that was lost.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distil_jax.config import load_config

# Each stage: how many of ten kills, what it leaves when it is done, what is there while it writes.
STAGES = {
    "label": (3, "filter/summary.json", "labels/*/.shard-*.partial.parquet"),
    "train": (4, "checkpoints/{steps}", "checkpoints/*.orbax-checkpoint-tmp"),
    "evaluate": (1, "evaluation/summary.json", "evaluation/.*.partial.parquet"),
    "export": (2, "export.json", ".export.partial/model.safetensors"),
}
# The model card names the run folder; all else is compared as it stands.
COMPARED = (
    "labels/*/*.parquet",
    "filter/scores.parquet",
    "quarantine.jsonl",
    "metrics.jsonl",
    "evaluation/*.parquet",
    "export/*.json",
    "export/*.txt",
    "export/*.safetensors",
)


@dataclass(frozen=True)
class Kill:
    stage: str
    aimed: bool
    share: float  # of the stage's time that goes by first

    def __str__(self) -> str:
        how = "while it writes" if self.aimed else f"{self.share:.0%} through a start and the stage"
        return f"{self.stage}, {how}"


def plan(kills: int, seed: int) -> list[Kill]:
    """Kills in the order of the stages."""
    chance = random.Random(seed)
    ten = [stage for stage, (share, *_) in STAGES.items() for _ in range(share)]
    drawn = sorted((ten * (kills // 10 + 1))[:kills], key=list(STAGES).index)
    following = [*drawn[1:], None]
    return [
        Kill(stage, aimed=stage != after, share=chance.random())
        for stage, after in zip(drawn, following, strict=True)
    ]


class Run:
    """A run in a process group of its own; its words go to a file beside its folder."""

    def __init__(self, arguments: list[str], folder: Path):
        self.folder = folder
        self.words = folder.with_suffix(".log")
        self._steps = load_config(Path(arguments[0]), arguments[1:]).train.steps
        command = [sys.executable, "-m", "distil_jax", "run", *arguments, f"run_dir={folder}"]
        with open(self.words, "ab") as words:
            self._process = subprocess.Popen(command, stderr=words, start_new_session=True)

    def wait_until(self, happened: Callable[[], bool]) -> bool:
        """Wait until it happened or the run ended. Whether the run still runs."""
        while self._process.poll() is None and not happened():
            time.sleep(0.002)
        return self._process.poll() is None

    def is_done(self, stage: str) -> bool:
        return (self.folder / STAGES[stage][1].format(steps=self._steps)).exists()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def finish(self) -> None:
        if self._process.wait():
            sys.exit(f"the run failed:\n{self.words.read_text()[-3000:]}")


def left_alone(arguments: list[str], folder: Path) -> dict[str, float]:
    """Run without a kill; seconds that each stage takes with the start before it."""
    start, run = time.monotonic(), Run(arguments, folder)
    run.wait_until(lambda: any(folder.glob("labels/*")))
    begun, seconds = time.monotonic(), {}
    for stage in STAGES:
        since = time.monotonic()
        run.wait_until(lambda stage=stage: run.is_done(stage))
        seconds[stage] = begun - start + time.monotonic() - since
    run.finish()
    return seconds


def wait_for_moment(run: Run, kill: Kill, seconds: dict[str, float]) -> bool:
    """Whether the run still runs at the moment of the kill: at the latest when its stage ends."""
    if kill.aimed:
        writing = STAGES[kill.stage][2]
        earlier = files(run.folder, writing)
        return run.wait_until(
            lambda: bool(files(run.folder, writing) - earlier) or run.is_done(kill.stage)
        )
    before = list(STAGES)[: list(STAGES).index(kill.stage)]
    run.wait_until(lambda: all(run.is_done(stage) for stage in before))
    end = time.monotonic() + kill.share * seconds[kill.stage]
    return run.wait_until(lambda: time.monotonic() > end or run.is_done(kill.stage))


def files(folder: Path, pattern: str) -> set[tuple[Path, int]]:
    """What matches, each with the time it was written: what an earlier kill left is not new."""
    found = set()
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            found.add((path, path.stat().st_mtime_ns))
    return found


def killed(arguments: list[str], folder: Path, kills: list[Kill], seconds: dict) -> None:
    """Run to the end through all kills, and tell of each."""
    for number, kill in enumerate(kills, 1):
        start, run = time.monotonic(), Run(arguments, folder)
        runs = wait_for_moment(run, kill, seconds)
        run.kill()
        left = [path.name for *_, half in STAGES.values() for path, _ in files(folder, half)]
        what = f"half-written: {', '.join(left) or 'nothing'}" if runs else "too late, it had ended"
        say(f"{number:3}. {kill}: after {time.monotonic() - start:.1f} s; {what}")
    Run(arguments, folder).finish()


def differences(whole: Path, cut: Path) -> list[str]:
    """The compared files that are not the same bytes in both folders."""
    names = {
        str(path.relative_to(folder))
        for folder in (whole, cut)
        for pattern in COMPARED
        for path in folder.glob(pattern)
    }
    say(f"{len(names)} files compared")
    if not any(name.endswith(".safetensors") for name in names):
        return ["no exported student"]
    pairs = {name: (whole / name, cut / name) for name in sorted(names)}
    return [
        name
        for name, (a, b) in pairs.items()
        if not (a.exists() and b.exists() and a.read_bytes() == b.read_bytes())
    ]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a config file, and overrides after it", nargs="+")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        whole, cut = Path(name) / "whole", Path(name) / "cut"
        seconds = left_alone(options.config, whole)
        say("left alone: " + ", ".join(f"{k} {v:.1f} s" for k, v in seconds.items()))
        killed(options.config, cut, plan(options.kills, options.seed), seconds)
        different = differences(whole, cut)
    say("different: " + ", ".join(different) if different else "all the same")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()

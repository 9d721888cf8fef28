"""Where this program came from."""

import subprocess
from functools import cache
from pathlib import Path

import distil_jax

_ROOT = Path(distil_jax.__file__).parents[1]


@cache
def commit(root: Path = _ROOT) -> str | None:
    """The commit that `root` is a checkout of, "-dirty" after it where files differ from it.

    None where it is none (an installed package, even inside somebody's repository), or git is not
    to be had.
    """
    if not (root / ".git").exists():
        return None
    # The folder is named, as the environment (of a git hook, say) may name another.
    folders = [f"--git-dir={root / '.git'}", f"--work-tree={root}"]
    command = ["git", "--no-optional-locks", *folders]
    command += ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

"""Compiled programs kept on disk by JAX, so that a run that goes on compiles nothing anew.

JAX tells programs apart by their text, versions, flags and devices, but not by what instructions a
CPU has: a home shared by unlike machines could hand one of them a program that it cannot run. So on
CPU each kind of machine has a folder of its own. On GPU the choices of autotuning are kept as well.

Several processes may share the folder. A kill while an entry is being written leaves it torn: JAX
warns of it and compiles that program, until the entry is removed.
"""

import hashlib
import logging
import os
import platform
from pathlib import Path

import jax

log = logging.getLogger(__name__)


def keep_compiled_programs() -> None:
    """From here on use the user's cache folder, where JAX was not told of another one.

    JAX_COMPILATION_CACHE_DIR names another one; set and empty, it turns this off.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # a home that is read-only, or none at all
        log.info("compiled programs are not kept: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/distil_jax/compiled, or the same in ~/.cache; on CPU, a part of it."""
    home = os.environ.get("XDG_CACHE_HOME")
    kept = (Path(home) if home else Path.home() / ".cache") / "distil_jax" / "compiled"
    return kept / f"cpu-{_machine()}" if jax.default_backend() == "cpu" else kept


def _machine() -> str:
    """Short hash of what its CPUs can do and how many may be used; else of its name."""
    cpus = Path("/proc/cpuinfo")
    if not cpus.exists():
        return _short(platform.node())
    lines = cpus.read_text(encoding="utf-8").splitlines()
    kinds = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return _short(*kinds, str(len(os.sched_getaffinity(0))))


def _short(*texts: str) -> str:
    return hashlib.sha256("\n".join([platform.machine(), *texts]).encode()).hexdigest()[:12]

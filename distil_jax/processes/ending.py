"""All processes of a run end together, and each says why the first of them failed.

Who fails leaves his message in the key-value store of jax's coordination service (process 0 has
it), where the others look every second. Who is killed leaves none: jax misses his heartbeat and
ends the others, with words that `native` puts into a sentence.
"""

import contextlib
import os
import sys
import threading
import time
from typing import Any, NoReturn

from distil_jax import processes
from distil_jax.progress import stderr_console

_FAILED, _HEARD = "distil_jax/failed", "distil_jax/heard"
_LOOK_SECONDS, _HEARD_SECONDS = 1.0, 10.0

# In errors that one process has because another ended; the second only where jax says them.
_BROKEN = ("gloo", "nccl", "coordination service", "coordination_service")
_BROKEN_OF_JAX = ("unavailable", "deadline_exceeded", "aborted", "cancelled", "barrier")


def heartbeat_seconds() -> int:
    """After how long without a sign of life a process counts as lost."""
    return int(os.environ.get("DISTIL_JAX_HEARTBEAT_SECONDS") or 30)


def watch() -> None:
    """Look for failures of other processes from here on, in a thread."""
    threading.Thread(target=_watch, daemon=True, name="watch other processes").start()


def fail(message: str, code: int, error: BaseException) -> NoReturn:
    """End this process with `message`, and all others with the same.

    An error that may be the consequence of another process's end waits for that to be told.
    """
    if _may_come_from_another(error):
        time.sleep(heartbeat_seconds() + 2 * _LOOK_SECONDS)  # the watch, or jax, ends us in it
    _tell(_FAILED, message)
    _leave(message, code)


def finish() -> None:
    """Part from the others at the end of the work."""
    if processes.count() > 1:
        import jax

        processes.barrier("end")
        jax.distributed.shutdown()


def _client() -> Any:
    from orbax.checkpoint import multihost

    return multihost.get_jax_distributed_client()


def _tell(what: str, message: str) -> None:
    import jax

    with contextlib.suppress(jax.errors.JaxRuntimeError):  # without the service none can hear it
        _client().key_value_set(f"{what}/{processes.index()}", message)


def _told(what: str) -> dict[int, str]:
    """What was told so far, by process."""
    import jax

    with contextlib.suppress(jax.errors.JaxRuntimeError, ValueError):  # parted from it, or it ended
        found = _client().key_value_dir_get(what)
        return {int(key.rpartition("/")[2]): message for key, message in found}
    return {}


def _watch() -> None:
    while not (failed := _told(_FAILED)):
        time.sleep(_LOOK_SECONDS)
    if processes.index() not in failed:
        first = min(failed)
        _leave(
            f"Process {first} of {processes.count()} failed, so all of them end. It said:\n"
            f"{failed[first]}",
            1,
        )


def _leave(message: str, code: int) -> NoReturn:
    """Not by way of sys.exit: whatever jax does at an exit waits for the others."""
    stderr_console().show_cursor()  # a running bar hides it
    print(message, file=sys.stderr)  # noqa: T201
    _tell(_HEARD, "yes")
    end = time.monotonic() + _HEARD_SECONDS
    while processes.is_writer() and time.monotonic() < end:  # the store ends with process 0
        if len(_told(_HEARD)) == processes.count():
            break
        time.sleep(0.05)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _may_come_from_another(error: BaseException | None) -> bool:
    """Whether it, or what led to it, looks like a broken connection between processes."""
    import jax

    while error is not None:
        words = _BROKEN + _BROKEN_OF_JAX * isinstance(error, jax.errors.JaxRuntimeError)
        if any(word in str(error).lower() for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False

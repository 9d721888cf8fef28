"""How the C library hands out memory. It matters on CPU, where XLA allocates at every execution.

All of it is for glibc; without it these functions do nothing.
"""

import ctypes
import sys
from collections.abc import Callable

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def share_freed_memory() -> None:
    """One arena, so that a buffer freed by one thread serves another. To be called early on.

    Not for programs of many small buffers, whose threads would wait for each other.
    """
    _call("mallopt", _M_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """From here on keep what is freed for the next allocation, and not give it to the kernel.

    By default every large buffer is mapped anew, and each of its pages costs a fault and is
    cleared: a [12000, 384] x [384, 1536] product with GELU takes twice as long.
    """
    _call("mallopt", _M_MMAP_MAX, 0)
    _call("mallopt", _M_TRIM_THRESHOLD, -1)


def return_freed_memory() -> None:
    """Give to the kernel what is free now. Compiling leaves a good 0.1 GB of it."""
    _call("malloc_trim", 0)


def _call(function: str, *arguments: int) -> None:
    of_glibc: Callable[..., int] | None = None
    if sys.platform == "linux":
        of_glibc = getattr(ctypes.CDLL(None), function, None)
    if of_glibc is not None:
        of_glibc(*arguments)

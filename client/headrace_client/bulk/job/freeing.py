"""Memory that was freed goes back to the system."""

import ctypes
import sys
from contextlib import suppress

import pyarrow as pa


def give_back_memory() -> None:
    """Give back what allocators keep for later.

    Some tens of mebibytes: what lies between small objects that live on is free, but no use for an
    array. Takes a few milliseconds.
    """
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        # Other C libraries than glibc do not have it.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)

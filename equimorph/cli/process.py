"""What the command may set for its whole process, and a library that is imported may not."""

from __future__ import annotations

import ctypes
import os
import sys

# Of glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_LARGEST = 2**31 - 1
_MMAP_CHOICES = (2**30, 2**25)  # the latter is the most that older versions take


def keep_freed_memory() -> bool:
    """Let the process keep the memory that a training step frees, for the next one to use.

    As it comes, Linux's C library hands large blocks back at once and asks for them again in the next step, when every
    page of them is cleared anew. The same memory is used either way. Does nothing on other systems, nor where the
    environment has settings of its own (MALLOC_...).

    Returns:
        Whether it was set.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    kept = bool(set_option(_TRIM_THRESHOLD, _LARGEST))
    return any(set_option(_MMAP_THRESHOLD, size) for size in _MMAP_CHOICES) and kept

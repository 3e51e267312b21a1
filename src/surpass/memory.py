"""Memory that a pass through a network frees stays with the process, for the next pass.

The C library gives large blocks back to the system as they are freed, and the system fills them with zeros when they
are wanted again: with tensors of a few megabytes, thousands of times a second. One step of training the 1.1 million
parameters of `surpass bench pretrain` on two cores met some 13,000 page faults (`getrusage`), and a few hundred with
it. The price is that a process keeps the most that it has needed. So this is for processes that are ours, the command
`surpass` and the workers it starts: a program that imports the library says itself how it keeps memory. Only where the
C library is glibc; elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
from functools import cache

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # names of malloc.h


@cache
def keep_freed() -> None:
    """Tell the C library so, once in a process."""
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    tell(TRIM_THRESHOLD, 2**31 - 1)
    tell(TOP_PAD, 2**26)
    tell(MMAP_THRESHOLD, 2**25)  # the most that it takes

"""What is freed is used again, where the C library can be told so."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from surpass.memory import keep_freed

PAGES, TENSORS = 1024, 16  # of each tensor; so many at once


def faults() -> int:
    """Fill and free tensors; return how many pages the system had to find for them."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for one in [torch.ones(PAGES * resource.getpagesize(), dtype=torch.uint8) for _ in range(TENSORS)]:
        assert one[-1] == 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's allocator")
def test_a_second_pass_finds_the_memory_of_the_first() -> None:
    keep_freed()
    faults()
    assert min(faults() for _ in range(3)) < TENSORS * PAGES / 10

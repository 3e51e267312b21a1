"""One thread of torch, where the last digits of an answer must not depend on how many there are.

Matrix products and factorisations in two threads are rounded otherwise than in one; whoever goes on from the result
(a learner, an optimiser) makes another run of the difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread of torch, then in as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

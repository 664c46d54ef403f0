"""A process that may open no more files."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_more_descriptors(but: int = 0) -> Iterator[None]:
    """Whatever wants a descriptor gets EMFILE.

    Args:
        but: so many can still be had.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    try:
        # The limit is on numbers, so the gaps below it are filled.
        top = max(int(name) for name in os.listdir("/proc/self/fd")) + 8
        while (descriptor := os.open(os.devnull, os.O_RDONLY)) < top:
            held.append(descriptor)
        held.append(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptor + 1 + but, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)

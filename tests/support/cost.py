"""What things cost, compared on a machine that does other things too."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable

# A machine that is busy spoils some tries; what costs too much does so in each of them.
_TRIES = 10


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this thread, so that what others do in the meantime does not count."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def assert_cheaper(
    cost: Callable[[], float], than: float, other: Callable[[], float], *, at_least: float = 0.0
) -> None:
    """Assert that a cost is less than so many times another one, each at its best of some tries.

    Args:
        at_least: what the other costs at the least, where it may be too little for the clock.
    """
    best, best_other = math.inf, math.inf
    for _ in range(_TRIES):
        best = min(best, cost())
        best_other = min(best_other, other(), other())
        if best < than * max(best_other, at_least):
            return
    raise AssertionError(f"{best} is not less than {than} times {best_other}, at best of {_TRIES} tries")


async def assert_quick(seconds: Callable[[], Awaitable[float]], within: float) -> None:
    """Assert that something takes less than so many seconds, as it measures itself, at its best of some tries."""
    best = math.inf
    for _ in range(_TRIES):
        best = min(best, await seconds())
        if best < within:
            return
    raise AssertionError(f"{best} s is not less than {within} s, at best of {_TRIES} tries")

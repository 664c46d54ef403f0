"""What requests leave behind when nobody collects cycles (P17)."""

from __future__ import annotations

import gc
import math
from collections import Counter
from collections.abc import Awaitable, Callable

import psutil

from .worlds import World

__all__ = ["assert_leaves"]

# A request may leave nothing of ours, and nothing that would hold it. What else there is belongs to the peer's threads,
# or to asyncio, whose transports are cycles; hpack and hyperframe are the peer's too, whose log grows.
_OURS = ("httpcore.", "h2.")
_ANYBODYS = ("frame", "traceback", "coroutine")


def _count_objects() -> int:
    kinds = Counter(type(each) for each in gc.get_objects())
    return sum(n for kind, n in kinds.items() if str(kind.__module__).startswith(_OURS) or kind.__name__ in _ANYBODYS)


async def assert_leaves(
    world: World, act: Callable[[], Awaitable[object]], count: int, objects: float, memory: float = math.inf
) -> None:
    """Assert that each call leaves fewer objects, and bytes of memory, when nobody collects cycles."""
    for _ in range(100):  # caches fill
        await act()
    gc.collect()
    gc.disable()
    try:
        process = psutil.Process()
        objects_before, memory_before = _count_objects(), process.memory_info().rss
        for _ in range(count):
            await act()
        # What was closed last, and the peer's threads, whose frames count too, take a moment.
        await world.until(
            lambda: (_count_objects() - objects_before) / count < objects, what=f"less than {objects} objects for each"
        )
        assert (process.memory_info().rss - memory_before) / count < memory
    finally:
        gc.enable()

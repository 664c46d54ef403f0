"""What a world on an asyncio event loop has without its sockets: time, events, tasks and timers.

The native backend adds sockets to it, and the one of Pyodide fetch.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from .._streams import STOP_SECONDS, Event, Task, Timer

T = TypeVar("T")

__all__ = ["LoopBackend"]


class AsyncioEvent:
    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[bool] = loop.create_future()

    def set(self) -> None:
        if not self._future.done():
            self._future.set_result(True)

    async def wait(self, deadline: float) -> bool:
        if self._future.done():
            return True
        timer = None
        if deadline < math.inf:
            timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._give_up)
        try:
            return await self._future
        finally:
            if timer is not None:
                timer.cancel()

    def _give_up(self) -> None:
        if not self._future.done():
            self._future.set_result(False)


class Farewell:
    """Calls a function when `asyncio.run` ends its loop: a suspended async generator is what it closes before."""

    __slots__ = ("_generator", "_references")

    def __init__(self, reference: Callable[[], Callable[[], None] | None]) -> None:
        self._references = [reference]
        self._generator = _wait_for_end(self._references)
        _drive(self._generator.__anext__())

    def cancel(self) -> None:
        self._references.clear()
        _drive(self._generator.aclose())


async def _wait_for_end(references: list[Callable[[], Callable[[], None] | None]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        for reference in references:
            if (function := reference()) is not None:
                function()


def _drive(step: Coroutine[Any, Any, None]) -> None:
    try:
        step.send(None)
    except (StopIteration, StopAsyncIteration):
        return  # it never waits, so that this was all


class LoopBackend:
    """Bound to the event loop that is running when it is made. See `Backend` for the contract."""

    has_loop = True
    has_timers = True
    now = staticmethod(time.monotonic)

    def __init__(self) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "no event loop is running: await this inside asyncio or trio, or use httpcore.SyncConnectionPool"
            ) from None
        self._tasks: set[asyncio.Task[None]] = set()

    def at_end(self, reference: Callable[[], Callable[[], None] | None]) -> Timer | None:
        return Farewell(reference)

    def is_current(self) -> bool:
        return asyncio._get_running_loop() is self._loop

    def is_over(self) -> bool:
        return self._loop.is_closed() or not self._loop.is_running()

    def event(self) -> Event:
        return AsyncioEvent(self._loop)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def checkpoint(self) -> None:
        await asyncio.sleep(0)

    async def until(self, awaitable: Awaitable[T], deadline: float) -> T:
        async with asyncio.timeout(None if deadline == math.inf else deadline - time.monotonic()):
            try:
                return await awaitable
            finally:
                del awaitable  # a future holds the error, whose traceback holds this frame

    async def wait_for(self, futures: Sequence[asyncio.Future[Any]], seconds: float) -> None:
        """Wait until one of the futures is done, but no longer; they go on."""
        await asyncio.wait(futures, timeout=None if seconds == math.inf else seconds, return_when="FIRST_COMPLETED")

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Task:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self, task: Task) -> None:
        task.cancel()
        if isinstance(task, asyncio.Task):
            try:
                await asyncio.wait([task], timeout=STOP_SECONDS)
            finally:
                task.cancel()  # once more, in whatever it does to come to its end

    def call_at(self, when: float, function: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(max(0.0, when - time.monotonic()), function)

    def call_soon(self, function: Callable[[], None]) -> bool:
        self._loop.call_soon(function)
        return True

    def call_soon_threadsafe(self, function: Callable[[], None]) -> bool:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed
            return False
        return True

"""Pyodide: the event loop is JavaScript's, and so are the connections.

A blocking program has one thread here, and may be entered again while it waits: with JavaScript Promise Integration
`run_sync` lets everything else go on. So nothing waits for a lock of `threading`, which nobody could release.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from pyodide.ffi import run_sync

from .._streams import Address, Backend, Event, Stream, Timer, refuse_to_await
from .loop import LoopBackend

__all__ = ["BlockingFetchBackend", "FetchBackend", "JavaScriptWorld", "check_interrupt"]

T = TypeVar("T")

# KeyboardInterrupt arrives as soon as Python runs again, so blocking code does so every now and then.
_SLICE_SECONDS = 0.1
# How often one of several blocking programs that take turns looks whether it may go on.
_TURN_SECONDS = 0.005


class JavaScriptWorld(Backend, Protocol):
    """A world that waits for promises."""

    async def settle(self, this: Any, method: str, arguments: tuple[Any, ...], deadline: float) -> Any:
        """Call a method of JavaScript that returns a promise of an object, and wait for what it settles to.

        Raises: JsException as the promise rejects, TimeoutError at the deadline.
        Cancellation: what was called goes on.
        """

    async def wait_any(self, futures: Sequence[asyncio.Future[Any]], deadline: float) -> None:
        """Wait until one of the futures is done; they go on.

        Raises: TimeoutError at the deadline.
        """

    def loop_event(self) -> Event:
        """An event for tasks of the event loop, which blocking code has as well."""

    def loop_timer(self, seconds: float, function: Callable[[], None]) -> Timer: ...


def check_interrupt() -> None:
    """Raise KeyboardInterrupt where somebody asked for it."""
    import pyodide_js

    pyodide_js.checkInterrupt()


class FetchBackend(LoopBackend):
    """The async world. See `Backend` for the contract."""

    name = "fetch"
    can_spawn = False  # opening a "connection" takes no time
    has_timers = False  # and an idle one holds nothing
    has_sockets = False

    def at_end(self, reference: Callable[[], Callable[[], None] | None]) -> None:
        return None

    async def settle(self, this: Any, method: str, arguments: tuple[Any, ...], deadline: float) -> Any:
        return await self.until(getattr(this, method)(*arguments), deadline)

    async def wait_any(self, futures: Sequence[asyncio.Future[Any]], deadline: float) -> None:
        await self.wait_for(futures, max(0.0, deadline - time.monotonic()))
        if not any(future.done() for future in futures):
            raise TimeoutError

    def loop_event(self) -> Event:
        return super().event()

    def loop_timer(self, seconds: float, function: Callable[[], None]) -> Timer:
        return self._loop.call_later(seconds, function)

    async def to_thread(self, function: Callable[[], T], deadline: float, key: Hashable | None = None) -> T:
        return function()  # there are no threads

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        _refuse()

    async def connect(
        self, addresses: Sequence[Address], deadline: float, resolve_seconds: float
    ) -> tuple[Stream, Address]:
        _refuse()


class BlockingEvent:
    """Set by other blocking code that runs while this one sleeps."""

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    async def wait(self, deadline: float) -> bool:
        while not self._is_set:
            if (left := deadline - time.monotonic()) <= 0:
                return False
            time.sleep(min(left, _TURN_SECONDS))  # noqa: ASYNC251  # lets others run where anything can
        return True


class BlockingFetchBackend(FetchBackend):
    """The blocking world. See `Backend` for the contract."""

    name = "blocking"
    has_loop = False

    def event(self) -> Event:
        return BlockingEvent()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # blocking is what this world does

    async def checkpoint(self) -> None:
        return None

    async def until(self, awaitable: Awaitable[T], deadline: float) -> T:
        refuse_to_await(awaitable)

    async def settle(self, this: Any, method: str, arguments: tuple[Any, ...], deadline: float) -> Any:
        future = getattr(this, method)(*arguments)
        try:
            await self.wait_any([future], deadline)
            return future.result()
        finally:
            future.cancel()  # where it is not done
            del future  # it holds the error, whose traceback holds this frame

    async def wait_any(self, futures: Sequence[asyncio.Future[Any]], deadline: float) -> None:
        while not any(future.done() for future in futures):
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError
            with _interrupts:
                run_sync(self.wait_for(futures, min(left, _SLICE_SECONDS)))


class Interrupts:
    """Ctrl-C, kept from what runs in the event loop meanwhile: raised there, KeyboardInterrupt would end the loop, and
    whoever waits for it would wait for ever. It is raised when the wait is over. Several may wait at once."""

    def __init__(self) -> None:
        self._waiting = 0
        self._buffer: Any = None

    def __enter__(self) -> None:
        import pyodide_js

        if not self._waiting:
            # The one door to what `setInterruptBuffer` was given.
            self._buffer = getattr(pyodide_js._module, "Py_EmscriptenSignalBuffer", None)
            if self._buffer:
                pyodide_js.setInterruptBuffer(None)
        self._waiting += 1

    def __exit__(self, *exc_info: object) -> None:
        import pyodide_js

        self._waiting -= 1
        buffer = self._buffer
        if not buffer:
            return
        if not self._waiting:
            pyodide_js.setInterruptBuffer(buffer)
        if buffer[0] == signal.SIGINT:
            buffer[0] = 0
            raise KeyboardInterrupt


_interrupts = Interrupts()


def _refuse() -> NoReturn:
    raise NotImplementedError("JavaScript has no sockets: its fetch carries the requests")

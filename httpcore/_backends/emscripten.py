"""Pyodide: the event loop is JavaScript's, and so are the connections.

A blocking program has one thread here, and may be entered again while it waits: with JavaScript Promise Integration
`run_sync` lets everything else go on. So nothing waits for a lock of `threading`, which nobody could release.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

import js
from pyodide.ffi import create_once_callable, run_sync, to_js

from .._streams import Address, Backend, Event, FreshStream, Timer
from .loop import LoopBackend

__all__ = ["BlockingFetchBackend", "FetchBackend", "JavaScriptWorld", "check_interrupt"]

T = TypeVar("T")

# KeyboardInterrupt arrives as soon as Python runs again, so blocking code does so every now and then.
_SLICE_SECONDS = 0.1
# How often one of several blocking programs that take turns looks whether it may go on.
_TURN_SECONDS = 0.005
_PASSED = "passed"
_ONE = to_js([0])


class JavaScriptWorld(Backend, Protocol):
    """A world that waits for promises."""

    async def settle(self, this: Any, method: str, arguments: tuple[Any, ...], deadline: float) -> Any:
        """Call a method of JavaScript that returns a promise of an object, and wait for what it settles to.

        Raises: JsException as the promise rejects, TimeoutError at the deadline.
        Cancellation: what was called goes on.
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

    def loop_event(self) -> Event:
        return super().event()

    def loop_timer(self, seconds: float, function: Callable[[], None]) -> Timer:
        return self._loop.call_later(seconds, function)

    async def to_thread(self, function: Callable[[], T], deadline: float, key: Hashable | None = None) -> T:
        return function()  # there are no threads

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        _refuse()

    async def connect(self, addresses: Sequence[Address], deadline: float) -> tuple[FreshStream, Address]:
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
        raise TypeError(
            "something to be awaited was given to the sync pool; give it to the async pool, or a plain one here"
        )

    async def settle(self, this: Any, method: str, arguments: tuple[Any, ...], deadline: float) -> Any:
        # Where a promise that is waited for like this rejects, JavaScript takes that for an error nobody handles.
        outcome = _promise(js.Promise, "allSettled", to_js([_promise(this, method, *arguments)]))
        while (left := deadline - time.monotonic()) > 0:
            settled = _wait(outcome, min(left, _SLICE_SECONDS))
            if settled != _PASSED:
                if settled[0].status == "rejected":
                    raise settled[0].reason
                return settled[0].value
            check_interrupt()
        raise TimeoutError


def _promise(this: Any, method: str, *arguments: Any) -> Any:
    """The promise that a method returns. Where Python calls it, that becomes a future, whose callbacks are Python, in
    which KeyboardInterrupt would be raised instead of here; so JavaScript calls it."""
    return js.Array.from_(_ONE, getattr(this, method).bind(this, *arguments))[0]


def _wait(promise: Any, seconds: float) -> Any:
    """What a promise is fulfilled with, or `_PASSED`. No Python of ours runs until then."""
    timers: list[Any] = []
    # It is called at once, and `resolve` by the timer.
    arm = create_once_callable(lambda resolve, _: timers.append(js.setTimeout(resolve, 1000 * seconds, _PASSED)))
    try:
        race = _promise(js.Promise, "race", to_js([promise, js.Promise.new(arm)]))
        return run_sync(race)
    finally:
        js.clearTimeout(timers[0])


def _refuse() -> NoReturn:
    raise NotImplementedError("JavaScript has no sockets: its fetch carries the requests")

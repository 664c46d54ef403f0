"""Threads of our own for what blocks: name resolution above all, and the loading of certificates.

The executor that an event loop brings is shared with the program, whose work may fill it for minutes, and Python waits
for its threads when it exits. Ours are few, made when they are needed, end after a while without work, and are daemons:
a name server that does not answer holds up neither others nor the end of the program.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from .._clock import EARLY
from .._streams import Backend

__all__ = ["Flight", "ask_system", "in_thread"]

T = TypeVar("T")

# What Python's own executor has at most. More names than these that nobody answers make others wait.
_MAX_THREADS = 32
_IDLE_SECONDS = 10.0
# Where nobody can be woken from another thread (anyio on asyncio), whoever waits looks this often.
_LOOK_SECONDS = 0.01


class Flight(Generic[T]):
    """Work whose outcome any number of tasks and threads wait for. Any thread may end it, once.

    There is no lock in it, because who waits may leave in a finaliser: each step is one operation of a dict or list.
    """

    __slots__ = ("_outcome", "_wakers")

    def __init__(self) -> None:
        self._outcome: list[tuple[T | None, BaseException | None, TracebackType | None]] = []
        self._wakers: dict[object, Callable[[], object]] = {}

    @property
    def is_over(self) -> bool:
        return bool(self._outcome)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits."""
        return bool(self._wakers)

    def succeed(self, value: T) -> None:
        self._end(value, None, None)

    def fail(self, error: BaseException, traceback: TracebackType | None = None) -> None:
        """Args: traceback: where it came from, without the frames that hold this flight, which would make a cycle."""
        self._end(None, error, traceback)

    def _end(self, value: T | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._outcome.append((value, error, traceback))
        for wake in list(self._wakers.values()):
            wake()

    def board(self, backend: Backend) -> Seat[T]:
        """Make known that somebody waits from now on; `wait` of what is returned ends that."""
        return Seat(self, backend)


class Seat(Generic[T]):
    """One that waits for a flight."""

    __slots__ = ("_backend", "_event", "_flight")

    def __init__(self, flight: Flight[T], backend: Backend) -> None:
        self._flight = flight
        self._backend = backend
        self._event = event = backend.event()
        # In blocking code an event may be set from anywhere.
        flight._wakers[self] = event.set if _is_blocking(backend) else partial(backend.call_soon_threadsafe, event.set)

    async def wait(self, deadline: float) -> T:
        """Raises: what the work raised; TimeoutError at the deadline.

        Cancellation: the work goes on for those who still wait.
        """
        flight, backend = self._flight, self._backend
        is_woken = backend.has_loop or _is_blocking(backend)
        try:
            while not flight.is_over:
                await self._event.wait(deadline if is_woken else min(deadline, backend.now() + _LOOK_SECONDS))
                if not flight.is_over and backend.now() >= deadline - EARLY:
                    raise TimeoutError
            value, error, traceback = flight._outcome[0]
            try:
                if error is not None:
                    raise error.with_traceback(traceback)
                return cast("T", value)
            finally:
                del error, traceback
        finally:
            flight._wakers.pop(self, None)
            del flight, self


def _is_blocking(backend: Backend) -> bool:
    return backend.name == "blocking"


class _Work:
    """A function on its way through a thread."""

    __slots__ = ("flight", "function", "key")

    def __init__(self, key: Hashable, function: Callable[[], Any]) -> None:
        self.key = key
        self.function = function
        self.flight: Flight[Any] = Flight()


class _Threads:
    """At most so many threads, and the work that waits for one."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._queue: deque[_Work] = deque()
        self._known: dict[Hashable, _Work] = {}

    async def run(self, key: Hashable, function: Callable[[], Any], backend: Backend, deadline: float) -> Any:
        """See `in_thread`."""
        work, seat = self._begin(key, function, backend)
        try:
            return await seat.wait(deadline)
        finally:
            self._leave(work)
            del work, seat  # they hold the error, whose traceback holds this frame

    def _begin(self, key: Hashable, function: Callable[[], Any], backend: Backend) -> tuple[_Work, Seat[Any]]:
        """Wait for work of that key that is on its way, or for new work; None is a key of nobody else's.

        Raises: RuntimeError where the system has no more threads.
        """
        with self._changed:
            work = None if key is None else self._known.get(key)
            if work is not None:
                return work, work.flight.board(backend)
            self._call_a_thread()
            work = _Work(key, function)
            seat = work.flight.board(backend)  # before a thread sees it, which drops what nobody waits for
            self._queue.append(work)
            if key is not None:
                self._known[key] = work
            return work, seat

    def _leave(self, work: _Work) -> None:
        """Whoever is the last to be told forgets it: until then who comes is told as well, instead of asking anew."""
        if work.flight.is_over and not work.flight.is_wanted:
            self._forget(work)

    def _call_a_thread(self) -> None:
        if self._idle > len(self._queue):
            self._changed.notify()
        elif len(self._threads) < _MAX_THREADS:
            thread = threading.Thread(target=self._run, name="httpcore", daemon=True)
            self._threads.add(thread)
            try:
                thread.start()
            except BaseException:
                self._threads.discard(thread)
                raise

    def _run(self) -> None:
        while (work := self._next()) is not None:
            value, error = None, None
            try:
                value = work.function()
            except BaseException as exc:
                error = exc
            if error is None:
                work.flight.succeed(value)
            else:
                work.flight.fail(error, error.__traceback__ and error.__traceback__.tb_next)
            self._leave(work)
            del work, value, error

    def _next(self) -> _Work | None:
        """The next work that somebody waits for; None when there was none for a while."""
        with self._changed:
            while True:
                while not self._queue:
                    self._idle += 1
                    is_called = self._changed.wait(_IDLE_SECONDS)
                    self._idle -= 1
                    if not is_called and not self._queue:
                        self._threads.discard(threading.current_thread())
                        return None
                work = self._queue.popleft()
                if work.flight.is_wanted:
                    return work
                self._forget(work)

    def _forget(self, work: _Work) -> None:
        if self._known.get(work.key) is work:
            self._known.pop(work.key, None)


async def in_thread(function: Callable[[], T], backend: Backend, deadline: float, key: Hashable | None = None) -> T:
    """Run what blocks in a thread; once for all who ask for the same key while it runs.

    Raises: what it raises; TimeoutError at the deadline.
    Cancellation: the thread is left to itself.
    """
    return cast("T", await _threads.run(key, function, backend, deadline))


async def ask_system(host: str, port: int, backend: Backend, deadline: float) -> Sequence[tuple[int, Any]]:
    """(family, address) pairs by the system's resolver. See `in_thread`."""
    found = await in_thread(partial(_getaddrinfo, host, port), backend, deadline, (_getaddrinfo, host, port))
    return [(family, address) for family, _, _, _, address in found]


def _getaddrinfo(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


_threads = _Threads()


def _after_fork_in_child() -> None:
    global _threads
    _threads = _Threads()  # the threads of the old one have stayed in the parent, and with them whoever held its lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

"""Plain blocking code: `async def` that never suspends, so that a coroutine runs to its end in one `send(None)`."""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from .._streams import Address, Stream, StreamInfo, Task, Timer
from .racing import race
from .sockets import SocketStream, describe, milliseconds, wait_for_socket, wait_for_writable
from .threads import ask_system, in_thread

T = TypeVar("T")

__all__ = ["BlockingBackend"]


class BlockingStream(SocketStream):
    """A stream that other threads may close at any time. Its descriptor is closed when the last of those who use it has
    left, since its number may be given to another file at once, whose bytes are not ours to read."""

    __slots__ = ("_lock", "_poll", "_users")

    def __init__(self, sock: socket.socket, info: StreamInfo) -> None:
        super().__init__(sock, info)
        self._lock = threading.Lock()
        self._users = 0
        self._poll: select.poll | None = None
        if hasattr(select, "poll"):
            # One that stays registered for what is waited for most often.
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)

    async def receive(self, max_bytes: int, deadline: float) -> bytes:
        self._enter()
        try:
            return await super().receive(max_bytes, deadline)
        finally:
            self._leave()

    def read(self, max_bytes: int) -> bytes | None:
        self._enter()
        try:
            return super().read(max_bytes)
        finally:
            self._leave()

    def write(self, data: bytes) -> bool:
        self._enter()
        try:
            return super().write(data)
        finally:
            self._leave()

    async def drain(self, deadline: float, until_heard: bool) -> bool:
        self._enter()
        try:
            return await super().drain(deadline, until_heard)
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            self._users += 1

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._is_closing and not self._users:
                self._socket.close()

    def _let_go(self) -> None:
        with self._lock:
            if not self._users:
                self._socket.close()

    async def _wait(self, readable: bool, writable: bool, deadline: float) -> None:
        seconds = deadline - time.monotonic()
        if self._is_closing:
            return  # by another thread; using it says so
        if writable or self._poll is None:
            is_ready = wait_for_socket(self._socket, readable, writable, max(0.0, seconds))
        else:
            is_ready = bool(self._poll.poll(milliseconds(seconds)))
        if not is_ready:
            raise TimeoutError


class BlockingEvent:
    """A lock that is taken until the event is set: safe against KeyboardInterrupt, and to set in a finaliser."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        with suppress(RuntimeError):  # it was set before, and nobody has noticed yet
            self._lock.release()

    async def wait(self, deadline: float) -> bool:
        seconds = deadline - time.monotonic()
        if seconds == math.inf:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(0.0, seconds), threading.TIMEOUT_MAX))


class BlockingBackend:
    """Threads, or none. See `Backend` for the contract."""

    name = "blocking"
    can_spawn = False
    has_loop = False
    has_timers = False
    has_sockets = True
    now = staticmethod(time.monotonic)

    def at_end(self, reference: Callable[[], Callable[[], None] | None]) -> Timer | None:
        return None  # sockets need no event loop to be closed: that is done when the pool is next used

    def is_current(self) -> bool:
        return True

    def is_over(self) -> bool:
        return False

    def event(self) -> BlockingEvent:
        return BlockingEvent()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # blocking is what this world does

    async def checkpoint(self) -> None:
        return None

    async def to_thread(self, function: Callable[[], T], deadline: float, key: Hashable | None = None) -> T:
        return await in_thread(function, self, deadline, key)

    async def until(self, awaitable: Awaitable[T], deadline: float) -> T:
        raise TypeError(
            "something to be awaited was given to the sync pool; give it to the async pool, or a plain one here"
        )

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        return await ask_system(host, port, self, deadline)

    async def connect(
        self, addresses: Sequence[Address], deadline: float, resolve_seconds: float
    ) -> tuple[Stream, Address]:
        began = self.now()
        sock, address = await race(addresses, deadline, self.now, self._wait_for_writable)
        info = describe(sock, resolve_seconds, self.now() - began)
        return BlockingStream(sock, info), address

    async def _wait_for_writable(self, sockets: Sequence[socket.socket], deadline: float) -> socket.socket | None:
        return wait_for_writable(sockets, max(0.0, deadline - time.monotonic()))

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Any:
        raise NotImplementedError("blocking code runs nothing beside itself: see can_spawn")

    async def stop(self, task: Task) -> None:
        return None

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        return None

    def call_soon(self, function: Callable[[], None]) -> bool:
        return False

    def call_soon_threadsafe(self, function: Callable[[], None]) -> bool:
        return False

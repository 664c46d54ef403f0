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

from .._streams import Address, Stream, StreamInfo, Task, Timer, refuse_to_await
from .racing import race
from .sockets import SocketStream, describe, milliseconds, wait_for_socket, wait_for_writable
from .threads import ask_system, in_thread

T = TypeVar("T")

__all__ = ["BlockingBackend"]


class SharedSocket(socket.socket):
    """A socket that is closed, without a warning, when the last of those who use it has let go of it."""

    __slots__ = ()

    def __del__(self) -> None:
        self.close()


# What a stream has instead of its socket once it was closed: using it says so.
_CLOSED = SharedSocket()
_CLOSED.close()


class BlockingStream(SocketStream):
    """A stream that other threads may close at any time. Its descriptor is closed when the last of those who use it has
    left, since its number may be given to another file at once, whose bytes are not ours to read.

    So nobody closes it: it is let go of, and whoever uses it holds it for that time. In no variable, though, of a frame
    that an error could keep.
    """

    __slots__ = ("_poll",)

    def __init__(self, sock: socket.socket, info: StreamInfo) -> None:
        blocking = SharedSocket(sock.family, sock.type, sock.proto, sock.detach())
        blocking.setblocking(False)
        super().__init__(blocking, info)
        self._poll: select.poll | None = None
        if hasattr(select, "poll"):
            # One that stays registered for what is waited for most often.
            self._poll = select.poll()
            self._poll.register(blocking, select.POLLIN)

    def _let_go(self) -> None:
        self._socket = _CLOSED

    async def _wait(self, readable: bool, writable: bool, deadline: float) -> None:
        seconds = deadline - time.monotonic()
        if not self._is_ready(self._socket, readable, writable, seconds):
            raise TimeoutError

    def _is_ready(self, sock: socket.socket, readable: bool, writable: bool, seconds: float) -> bool:
        """Args: sock: ours, held as long as its number is polled."""
        if self._is_closing:
            return True  # by another thread; using it says so
        if writable or self._poll is None:
            return wait_for_socket(sock, readable, writable, max(0.0, seconds))
        return bool(self._poll.poll(milliseconds(seconds)))


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
        refuse_to_await(awaitable)

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        return await ask_system(host, port, self, deadline)

    async def connect(
        self, addresses: Sequence[Address], deadline: float, resolve_seconds: float
    ) -> tuple[Stream, Address]:
        began = self.now()
        sock, address = await race(addresses, deadline, self.now, self._wait_for_writable)
        try:
            return BlockingStream(sock, describe(sock, resolve_seconds, self.now() - began)), address
        except BaseException:  # Ctrl-C
            sock.close()
            raise

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

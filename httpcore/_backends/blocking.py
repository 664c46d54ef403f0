"""Plain blocking code: `async def` that never suspends, so that a coroutine runs to its end in one `send(None)`."""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from .._errors import ConnectTimeout
from .._streams import Address, Stream, Task, Timer
from .sockets import (
    SocketStream,
    connect_error,
    finish_connect,
    milliseconds,
    new_socket,
    start_connect,
    wait_for_socket,
)

T = TypeVar("T")

__all__ = ["BlockingBackend"]


class BlockingStream(SocketStream):
    __slots__ = ("_poll",)

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._poll: select.poll | None = None
        if hasattr(select, "poll"):
            # One that stays registered for what is waited for most often.
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)

    async def _wait(self, readable: bool, writable: bool, deadline: float) -> None:
        seconds = deadline - time.monotonic()
        if self._socket.fileno() < 0:
            return  # closed by another thread; using it says so
        if writable or self._poll is None:
            is_ready = wait_for_socket(self._socket, readable, writable, max(0.0, seconds))
        else:
            is_ready = bool(self._poll.poll(milliseconds(seconds)))
        if not is_ready:
            raise TimeoutError

    def _before_close(self) -> None:
        self._poll = None


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

    async def to_thread(self, function: Callable[[], T], deadline: float) -> T:
        if deadline == math.inf:
            return function()
        outcome: list[T | BaseException] = []

        def work() -> None:
            try:
                outcome.append(function())
            except BaseException as exc:
                outcome.append(exc)

        thread = threading.Thread(target=work, name="httpcore", daemon=True)
        thread.start()
        thread.join(min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX))
        try:
            if not outcome:
                raise TimeoutError
            if isinstance(outcome[0], BaseException):
                raise outcome[0]
            return outcome[0]
        finally:
            outcome.clear()  # or the traceback of an error would make a cycle

    async def until(self, awaitable: Awaitable[T], deadline: float) -> T:
        raise TypeError(
            "something to be awaited was given to the sync pool; give it to the async pool, or a plain one here"
        )

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        found = await self.to_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), deadline)
        return [(family, address) for family, _, _, _, address in found]

    async def connect(self, address: Address, deadline: float) -> Stream:
        sock = new_socket(address)
        try:
            if not start_connect(sock, address):
                if not wait_for_socket(sock, False, True, max(0.0, deadline - time.monotonic())):
                    raise ConnectTimeout(f"no connection to {address.peer} in time")
                finish_connect(sock)
        except BaseException as exc:
            sock.close()
            if isinstance(exc, OSError) and not isinstance(exc, ConnectTimeout):
                raise connect_error(address, exc) from exc
            raise
        return BlockingStream(sock)

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

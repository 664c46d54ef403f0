"""trio, and whatever else anyio runs on: non-blocking sockets of our own, and anyio to wait for them.

anyio's socket streams would cost more than the rest of a request; its waiting and its cancel scopes are what makes this
work everywhere.
"""

from __future__ import annotations

import contextvars
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from .._streams import STOP_SECONDS, Address, Stream, StreamInfo, Task, Timer
from .racing import race
from .sockets import SocketStream, describe
from .threads import ask_system, in_thread

T = TypeVar("T")

__all__ = ["AnyIOBackend"]


class AnyIOStream(SocketStream):
    __slots__ = ("_reading",)

    def __init__(self, sock: socket.socket, info: StreamInfo) -> None:
        super().__init__(sock, info)
        self._reading: anyio.CancelScope | None = None

    async def _wait(self, readable: bool, writable: bool, deadline: float) -> None:
        with anyio.CancelScope(deadline=deadline) as scope:
            try:
                if not writable:
                    self._reading = scope
                    await anyio.wait_readable(self._socket)
                elif not readable:
                    await anyio.wait_writable(self._socket)
                else:
                    await self._wait_for_either()
            except (anyio.ClosedResourceError, ValueError):
                return  # closed while we waited; using it says so
            finally:
                if not writable:
                    self._reading = None
        if scope.cancelled_caught:
            raise TimeoutError

    def interrupt(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    async def _wait_for_either(self) -> None:
        async def wait(ready: Callable[[socket.socket], Awaitable[None]]) -> None:
            await ready(self._socket)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, anyio.wait_readable)
            tasks.start_soon(wait, anyio.wait_writable)

    def _let_go(self) -> None:
        with suppress(RuntimeError):  # no event loop runs any more, so nobody waits either
            anyio.notify_closing(self._socket)
        self._socket.close()


class AnyIOEvent:
    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, deadline: float) -> bool:
        with anyio.CancelScope(deadline=deadline):
            await self._event.wait()
        return self._event.is_set()


class SystemTask:
    __slots__ = ("ended", "scope")

    def __init__(self, scope: Any) -> None:
        self.scope = scope
        self.ended = anyio.Event()

    def cancel(self) -> None:
        self.scope.cancel()


class AnyIOBackend:
    """Bound to the event loop that is running when it is made. See `Backend` for the contract."""

    name = "anyio"
    has_timers = False
    has_sockets = True
    now = staticmethod(anyio.current_time)

    def __init__(self) -> None:
        self._token = anyio.lowlevel.current_token()
        trio = sys.modules.get("trio")
        self._trio: Any = trio if trio is not None and trio.lowlevel.in_trio_run() else None
        self._trio_token: Any = None if self._trio is None else self._trio.lowlevel.current_trio_token()
        self.can_spawn = self.has_loop = self._trio is not None

    def at_end(self, reference: Callable[[], Callable[[], None] | None]) -> Timer | None:
        return None  # sockets need no event loop to be closed: that is done when the pool is next used

    def is_current(self) -> bool:
        try:
            return anyio.lowlevel.current_token() == self._token
        except Exception:  # no event loop is running here
            return False

    def is_over(self) -> bool:
        if self._trio is None:
            return True
        try:
            self._trio_token.run_sync_soon(_nothing)
        except self._trio.RunFinishedError:
            return True
        return False

    def event(self) -> AnyIOEvent:
        return AnyIOEvent()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def checkpoint(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def to_thread(self, function: Callable[[], T], deadline: float, key: Hashable | None = None) -> T:
        return await in_thread(function, self, deadline, key)

    async def until(self, awaitable: Awaitable[T], deadline: float) -> T:
        with anyio.CancelScope(deadline=deadline):
            return await awaitable
        raise TimeoutError

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        return await ask_system(host, port, self, deadline)

    async def connect(
        self, addresses: Sequence[Address], deadline: float, resolve_seconds: float
    ) -> tuple[Stream, Address]:
        began = self.now()
        sock, address = await race(addresses, deadline, self.now, self._wait_for_writable)
        info = describe(sock, resolve_seconds, self.now() - began)
        return AnyIOStream(sock, info), address

    async def _wait_for_writable(self, sockets: Sequence[socket.socket], deadline: float) -> socket.socket | None:
        writable: list[socket.socket] = []

        async def wait(sock: socket.socket) -> None:
            await anyio.wait_writable(sock)
            writable.append(sock)
            scope.cancel()

        with anyio.CancelScope(deadline=deadline) as scope:
            if len(sockets) == 1:
                await anyio.wait_writable(sockets[0])
                return sockets[0]
            async with anyio.create_task_group() as tasks:
                for sock in sockets:
                    tasks.start_soon(wait, sock)
        return writable[0] if writable else None

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Task:
        """As a system task of trio's, because no nursery of ours outlives a request."""
        task = SystemTask(self._trio.CancelScope())

        async def run() -> None:
            with task.scope:
                await coroutine
            task.ended.set()

        # A caller's body may look at the context in which the request was made.
        self._trio.lowlevel.spawn_system_task(run, context=contextvars.copy_context())
        return task

    async def stop(self, task: Task) -> None:
        task.cancel()
        if isinstance(task, SystemTask):
            with anyio.move_on_after(STOP_SECONDS, shield=True):
                await task.ended.wait()

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        return None

    def call_soon(self, function: Callable[[], None]) -> bool:
        return False

    def call_soon_threadsafe(self, function: Callable[[], None]) -> bool:
        if self._trio is None:
            return False
        try:
            self._trio_token.run_sync_soon(function)
        except self._trio.RunFinishedError:
            return False
        return True


def _nothing() -> None:
    return None

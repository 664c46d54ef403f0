"""Node's sockets, and Deno's, where the host has let them into Pyodide by `useNodeSockFS`: in the clear, and by name.

Python's own sockets work there as well, but lose what matters: a connection that is refused ends Node, since nobody
looks after its promise; a reset looks like the end; and what is written knows no bound. So they are only opened that
way, as the host may have its own way of opening them, and then read and written by their two streams of JavaScript.

Source: the Streams standard of the WHATWG; the Sockets API of the WinterTC.
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import js
import pyodide_js
from pyodide.ffi import JsException, can_run_sync, to_js

from .._errors import ConnectError, ConnectTimeout, HTTPCoreError, ReadError, ReadTimeout, WriteError, WriteTimeout
from .._streams import Address, Stream, StreamInfo
from .emscripten import BlockingFetchBackend, FetchBackend, JavaScriptWorld
from .racing import one_error

__all__ = ["BlockingNodeBackend", "NodeBackend"]

# As for the sockets of other worlds, see `sockets.py`.
_KEEPALIVE_MS = 15_000
# Bytes that JavaScript may hold before `send` waits: more than a head with a small body has, since what is taken at
# once cannot have been answered before.
_WRITE_HIGH_WATER = 256 * 1024


class NodeStream:
    """A TCP stream. See `Stream` for the contract.

    A read is always under way, so that what comes on an idle connection is noticed.
    """

    def __init__(self, world: JavaScriptWorld, plug: Plug, info: StreamInfo) -> None:
        self.info = info
        self.is_truncated = False
        self._world = world
        self._plug = plug
        self._unread = b""
        self._is_ended = False
        self._error = ""
        self._on_readable: Callable[[], None] | None = None
        self._interrupted: asyncio.Future[None] | None = None
        self._written: asyncio.Future[Any] | None = None
        self._unsent = 0
        self._begin_read()

    # Receiving.

    def _begin_read(self) -> None:
        self._reading: asyncio.Future[Any] = self._plug.read()
        # Weakly: a stream that everybody forgot is closed, whatever is under way.
        reference = weakref.WeakMethod(self._has_read)
        self._reading.add_done_callback(lambda future: _tell(reference, future))

    def _has_read(self) -> None:
        if self._on_readable is not None:
            self._on_readable()

    def _take_in(self) -> None:
        """What the read that was under way has brought."""
        if self._unread or self._is_ended or not self._reading.done():
            return
        try:
            result = self._reading.result()
        except (JsException, asyncio.CancelledError) as exc:
            self._is_ended, self._error = True, f"the connection broke: {_words(exc)}"
            return
        self._is_ended = bool(result.done)
        if not self._is_ended:
            self._unread = bytes(result.value.to_bytes())
            self._begin_read()

    def read(self, max_bytes: int) -> bytes | None:
        self._take_in()
        if self._unread:
            data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
            return data
        if self._error:
            raise ReadError(self._error)
        return b"" if self._is_ended else None

    async def receive(self, max_bytes: int, deadline: float) -> bytes:
        while (data := self.read(max_bytes)) is None:
            self._interrupted = interrupted = asyncio.get_running_loop().create_future()
            try:
                await self._world.wait_any([self._reading, interrupted], deadline)
            except TimeoutError as exc:
                raise ReadTimeout("the peer sent nothing in time") from exc
            finally:
                self._interrupted = None
            if interrupted.done() and not self.is_readable():
                raise ReadTimeout("something else was to be done")
        return data

    def interrupt(self) -> None:
        if self._interrupted is not None and not self._interrupted.done():
            self._interrupted.set_result(None)

    def is_readable(self) -> bool:
        self._take_in()
        return bool(self._unread) or self._is_ended

    def watch(self, on_readable: Callable[[], None]) -> None:
        self._on_readable = on_readable

    # Sending. What is written is taken in turn, so that when the last of it was taken, all was.

    async def send(self, data: bytes, deadline: float, until_heard: bool = False) -> bool:
        if until_heard and (data or self._is_full()) and self.is_readable():
            self.write(data)
            return False
        if self.write(data):
            return True
        try:
            return await self.drain(deadline, until_heard) and not self.is_readable()
        except (WriteError, WriteTimeout) as exc:
            exc.request_sent = True  # some of it may have left
            raise

    def write(self, data: bytes) -> bool:
        is_full = self._is_full()
        if self._plug.is_closed:
            raise WriteError(f"the connection is closed: {self._error}")
        if data:
            self._written = self._plug.write(data)
            self._unsent += len(data)
            is_full = self._unsent > _WRITE_HIGH_WATER
        return not is_full

    async def drain(self, deadline: float, until_heard: bool) -> bool:
        while self._is_full():
            if until_heard and self.is_readable():
                return False
            assert self._written is not None
            try:
                await self._world.wait_any([self._written, *([self._reading] if until_heard else [])], deadline)
            except TimeoutError as exc:
                raise WriteTimeout("the peer took nothing in time") from exc
        return True

    def _is_full(self) -> bool:
        """Raises: WriteError, where what was written did not get through."""
        written = self._written
        if written is not None and written.done():
            self._written, self._unsent = None, 0
            try:
                written.result()
            except (JsException, asyncio.CancelledError) as exc:
                raise WriteError(f"the connection broke: {_words(exc)}") from exc
        return self._unsent > _WRITE_HIGH_WATER

    # Closing.

    def close(self, farewell: bytes = b"") -> None:
        if self._plug.is_closed:
            return
        self._on_readable = None
        self._take_in()
        if not self._is_ended:
            self._is_ended, self._error = True, "the connection was closed here"
        is_polite = bool(farewell) and self._unsent <= _WRITE_HIGH_WATER
        if is_polite:
            self._plug.write(farewell)
        self._plug.close(is_polite)
        self.interrupt()

    def abandon(self) -> None:
        self.close()

    def __del__(self) -> None:
        """A pool that nobody closed ends without a word; responses that were forgotten have said so."""
        if hasattr(self, "_plug"):
            self._plug.close()


class Plug:
    """One socket of JavaScript's, from the attempt to connect it on.

    Attributes:
        opened: done when that has succeeded or failed.
        failure: what broke it.
    """

    def __init__(self, host: str, port: int) -> None:
        self.is_closed = False
        self.failure: list[Any] = []
        # Of Python's socket only the number counts: whatever its family, names and addresses of all kinds do.
        self._socket = QuietSocket(socket.AF_INET, socket.SOCK_STREAM)
        self._inner = inner = pyodide_js._module.SOCKFS.getSocket(self._socket.fileno())
        self.opened: asyncio.Future[int] = inner.sock_ops.connectAsync(inner, host, port)
        # Node ends where nobody looks after a promise that is rejected.
        inner.wcgSocket.closed.catch(self.failure.append)
        # Node's own, which a host that connects in its own way may not have.
        self._node: Any = getattr(inner.wcgSocket, "_socket", None)

    @property
    def reason(self) -> str:
        return _words(self.failure[0]) if self.failure else "the connection was not made"

    def tune(self) -> object:
        """Set what sockets of other worlds have as well. Returns: the local address, or None."""
        node = self._node
        if node is None:
            return None
        node.setNoDelay(True)
        node.setKeepAlive(True, _KEEPALIVE_MS)
        return node.localAddress, node.localPort

    def read(self) -> asyncio.Future[Any]:
        return _looked_after(self._inner.reader.read())

    def write(self, data: bytes) -> asyncio.Future[Any]:
        return _looked_after(self._inner.writer.write(to_js(data)))

    def close(self, is_polite: bool = False) -> None:
        """Args: is_polite: what was written goes out first, and nobody waits for it."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._node is not None and is_polite:
            self._node.destroySoon()
        elif self._node is not None:
            self._node.destroy()  # else it would wait for a peer that is silent
        self._socket.close()


class QuietSocket(socket.socket):
    """One that is closed without a warning when nobody has it any more."""

    __slots__ = ()

    def __del__(self) -> None:
        self.close()


class NodeBackend(FetchBackend):
    """The async world, with Node's sockets. See `Backend` for the contract."""

    name = "asyncio"
    can_spawn = True
    has_timers = True
    has_sockets = True

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        return await _resolve(self, host, port, deadline)

    async def connect(
        self, addresses: Sequence[Address], deadline: float, resolve_seconds: float
    ) -> tuple[Stream, Address]:
        return await _connect(self, addresses, deadline, resolve_seconds)


class BlockingNodeBackend(BlockingFetchBackend):
    """The blocking world, with Node's sockets. See `Backend` for the contract."""

    has_sockets = True

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        return await _resolve(self, host, port, deadline)

    async def connect(
        self, addresses: Sequence[Address], deadline: float, resolve_seconds: float
    ) -> tuple[Stream, Address]:
        return await _connect(self, addresses, deadline, resolve_seconds)

    async def wait_any(self, futures: Sequence[asyncio.Future[Any]], deadline: float) -> None:
        if not can_run_sync():
            raise RuntimeError(
                "blocking code cannot wait for a socket from here: enter Python by runPythonAsync, or by the "
                "callPromising of a function, where the runtime has JavaScript Promise Integration, or let fetch carry "
                "the requests"
            )
        await super().wait_any(futures, deadline)


async def _resolve(world: JavaScriptWorld, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
    """Ask Node: Python's own resolver makes addresses up here, which no `allow_address` could judge."""
    lookup = js.process.getBuiltinModule("node:dns").promises
    every = to_js({"all": True}, dict_converter=js.Object.fromEntries)
    try:
        found = await world.settle(lookup, "lookup", (host, every), deadline)
    except JsException as exc:
        code = str(getattr(exc, "code", ""))
        raise socket.gaierror(socket.EAI_NONAME if code == "ENOTFOUND" else socket.EAI_FAIL, _words(exc)) from exc
    return [
        (socket.AF_INET6, (item.address, port, 0, 0)) if item.family == 6 else (socket.AF_INET, (item.address, port))
        for item in found
    ]


async def _connect(
    world: JavaScriptWorld, addresses: Sequence[Address], deadline: float, resolve_seconds: float
) -> tuple[Stream, Address]:
    """One address after another, each with its share of the time, as Go's Dialer does where it does not race them."""
    began = world.now()
    errors: list[HTTPCoreError] = []
    for index, address in enumerate(addresses):
        now = world.now()
        share = now + (deadline - now) / (len(addresses) - index)
        try:
            plug = await _open(world, address, share)
        except (ConnectError, ConnectTimeout) as exc:
            errors.append(exc)
            continue
        target = tuple(address.target)
        info = StreamInfo(target, plug.tune(), resolve_seconds=resolve_seconds, connect_seconds=world.now() - began)
        return NodeStream(world, plug, info), address
    try:
        is_late = world.now() >= deadline
        kind, what = (ConnectTimeout, "answered in time") if is_late else (ConnectError, "could be connected to")
        raise one_error(kind, len(addresses), what, errors)
    finally:
        errors.clear()  # their tracebacks hold this frame


async def _open(world: JavaScriptWorld, address: Address, deadline: float) -> Plug:
    assert isinstance(address.target, tuple)
    plug = Plug(address.target[0], address.target[1])
    try:
        await world.wait_any([plug.opened], deadline)
        if plug.opened.result():
            raise ConnectError(f"no connection to {address.peer}: {plug.reason}")
    except TimeoutError as exc:
        plug.close()
        raise ConnectTimeout(f"no connection to {address.peer} in time") from exc
    except BaseException:
        plug.close()
        raise
    return plug


def _looked_after(future: asyncio.Future[Any]) -> asyncio.Future[Any]:
    """A future whose error nobody may come to ask for."""
    future.add_done_callback(_ask_for_error)
    return future


def _ask_for_error(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


def _tell(reference: weakref.WeakMethod[Callable[[], None]], future: asyncio.Future[Any]) -> None:
    if (function := reference()) is not None:
        function()


def _words(exc: Any) -> str:
    """What JavaScript says."""
    return str(getattr(exc, "message", "") or exc).removeprefix("SocketError: ")

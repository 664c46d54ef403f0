"""asyncio, and uvloop: a `Protocol` over the event loop's own transports, because that is where the speed is.

No timer is made per read. A stream has at most one, and it arms itself again when it fires and finds that the deadline
has moved on, so that a request costs no timer at all.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
import warnings
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from .._errors import ReadError, ReadTimeout, WriteError, WriteTimeout
from .._streams import Address, Stream, StreamInfo
from .loop import LoopBackend
from .racing import race
from .sockets import connect_error, describe, readable_probe, set_options, wait_for_writable
from .threads import ask_system, in_thread

T = TypeVar("T")

# What is read at once: as much as asyncio's own transports, into one buffer instead of a new one each time, which costs
# two thirds of a small request.
_READ_BYTES = 256 * 1024
# Past this much unread, reading is paused (asyncio's own StreamReader: 2 x 64 KiB).
_HIGH_WATER = 64 * 1024
# How often an event loop that cannot tell of sockets (Windows' proactor) has us look for ourselves.
_LOOK_SECONDS = 0.01
# Of a large body this many times as much is taken from the socket at once, without a turn of the event loop and a copy
# for each; then others have their turn.
_READS_IN_A_ROW = 4
# Bytes that the transport may hold before `send` waits: asyncio's default.
_WRITE_HIGH_WATER = 64 * 1024


class AsyncioStream(asyncio.BufferedProtocol):
    """A TCP or unix stream. See `Stream` for the contract.

    Args:
        buffer: what the loop reads into. Streams of one loop share it, since each takes its bytes out at once.
    """

    __slots__ = (
        "_ahead", "_buffer", "_buffered", "_chunks", "_error", "_is_ended", "_is_paused", "_is_write_paused", "_loop",
        "_on_readable", "_probe", "_read_deadline", "_reader", "_socket", "_timer", "_timer_at", "_transport",
        "_write_deadline", "_writer", "info", "is_truncated",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, buffer: memoryview, info: StreamInfo
    ) -> None:
        self._loop = loop
        self._buffer = buffer
        self._socket = sock
        self._probe = readable_probe(sock)
        self._transport: asyncio.Transport | None = None
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._ahead = 0  # reads that may be made before the event loop has its turn
        self._is_ended = False
        self._error: BaseException | None = None
        self._is_paused = False
        self._is_write_paused = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._read_deadline = math.inf
        self._write_deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._on_readable: Callable[[], None] | None = None
        self.info = info
        self.is_truncated = False

    # What the event loop tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is none by its type
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._chunks.append(self._buffer[:nbytes].tobytes())
        self._buffered += nbytes
        if nbytes >= _HIGH_WATER:
            self._ahead = _READS_IN_A_ROW
        reader = self._reader
        if reader is not None:
            if not reader.done():
                reader.set_result(None)
            return
        if self._buffered > _HIGH_WATER and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._heard()

    def eof_received(self) -> bool:
        self._is_ended = True
        self._wake(self._reader)
        self._heard()
        return True  # only the peer's side has ended; ours stays open until we close it

    def connection_lost(self, exc: Exception | None) -> None:
        self._rescue_unread()
        self._is_ended = True
        if exc is not None and self._error is None:
            self._error = exc.with_traceback(None)  # which leads to frames that hold this stream
        self._transport = None
        self._wake(self._reader)
        self._wake(self._writer)
        self._heard()

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._wake(self._writer)

    def _rescue_unread(self) -> None:
        """Read what the peer sent before our write failed: its early answer is still in the socket's buffer."""
        if self._transport is None or self._is_ended or self._is_paused:
            return
        with suppress(OSError):  # nothing more is there, or uvloop has closed the descriptor before it told us
            while self._read_ahead(_READ_BYTES):
                continue

    def _read_ahead(self, max_bytes: int) -> bool:
        """Take what the event loop has not come to yet; False at the end.

        Raises: OSError, BlockingIOError where there is nothing, or an end that is a reset which our write has met: the
            kernel tells of it once, and the event loop will tell us.
        """
        if not hasattr(socket, "MSG_DONTWAIT"):
            raise BlockingIOError  # where the loop has asked the system for it already, it is not ours to take
        data = self._socket.recv(max_bytes, socket.MSG_DONTWAIT)
        if data:
            self._chunks.append(data)
            self._buffered += len(data)
        elif self._transport is not None and self._transport.is_closing():
            raise BlockingIOError
        else:
            self._is_ended = True
        return bool(data)

    def _wake(self, waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _heard(self) -> None:
        if self._on_readable is not None:
            self._on_readable()
        self._wake(self._writer)

    # What the connection asks for.

    async def receive(self, max_bytes: int, deadline: float) -> bytes:
        if self._ahead and not self._chunks and not self._is_ended:
            self._ahead -= 1
            self._look_ahead(_READ_BYTES)
        if not self._chunks:
            if not self._is_ended:
                self._reader = self._loop.create_future()
                self._read_deadline = deadline
                if deadline < self._timer_at:
                    self._arm(deadline)
                try:
                    await self._reader
                finally:
                    self._reader = None
                    self._read_deadline = math.inf
            if not self._chunks:
                if self._error is not None:
                    raise ReadError(f"the connection broke: {self._error}") from self._error
                return b""
        return self._take(max_bytes)

    def read(self, max_bytes: int) -> bytes | None:
        if not (self._chunks or self._is_ended) and self._probe():
            self._look_ahead(_HIGH_WATER)
        if self._chunks:
            return self._take(max_bytes)
        if self._error is not None:
            raise ReadError(f"the connection broke: {self._error}") from self._error
        return b"" if self._is_ended else None

    def _look_ahead(self, max_bytes: int) -> None:
        try:
            self._read_ahead(max_bytes)
        except BlockingIOError:
            self._ahead = 0
        except OSError as exc:
            self._is_ended, self._error = True, exc

    def _take(self, max_bytes: int) -> bytes:
        data = self._chunks.popleft()
        if len(data) > max_bytes:
            self._chunks.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._buffered -= len(data)
        if self._is_paused and not self._chunks and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def send(self, data: bytes, deadline: float, until_heard: bool = False) -> bool:
        if until_heard and (data or self._is_write_paused) and self.is_readable():
            if self._transport is not None and data:
                self._transport.write(data)
            return False
        if self.write(data):
            return True
        try:
            return await self.drain(deadline, until_heard) and not (self._chunks or self._is_ended)
        except WriteTimeout as exc:
            exc.request_sent = True  # some of it has left, and the transport goes on with the rest
            raise

    def write(self, data: bytes) -> bool:
        if self._transport is None:
            raise WriteError(f"the connection is closed: {self._error or 'the peer ended it'}") from self._error
        if data:
            self._transport.write(data)
        return not self._is_write_paused

    async def drain(self, deadline: float, until_heard: bool) -> bool:
        while self._is_write_paused and self._transport is not None:
            if until_heard and (self._chunks or self._is_ended):
                return False
            await self._wait_to_write(deadline)
        if self._transport is None and not self._chunks:
            raise self._broken_write() from self._error
        return True

    def _broken_write(self) -> WriteError:
        error = WriteError(f"the connection broke: {self._error or 'the peer ended it'}")
        error.request_sent = True
        return error

    async def _wait_to_write(self, deadline: float) -> None:
        self._writer = self._loop.create_future()
        self._write_deadline = deadline
        if deadline < self._timer_at:
            self._arm(deadline)
        try:
            await self._writer
        finally:
            self._writer = None
            self._write_deadline = math.inf

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, math.inf
        # uvloop counts in milliseconds, and may fire a fraction of one early.
        now = time.monotonic() + 0.001
        if self._reader is not None and self._read_deadline <= now and not self._reader.done():
            self._reader.set_exception(ReadTimeout("the peer sent nothing in time"))
        if self._writer is not None and self._write_deadline <= now and not self._writer.done():
            self._writer.set_exception(WriteTimeout("the peer took nothing in time"))
        later = [deadline for deadline in (self._read_deadline, self._write_deadline) if now < deadline < math.inf]
        if later:
            self._arm(min(later))

    def interrupt(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_exception(ReadTimeout("something else was to be done"))

    def is_readable(self) -> bool:
        return bool(self._chunks) or self._is_ended or bool(self._probe())

    def watch(self, on_readable: Callable[[], None]) -> None:
        self._on_readable = on_readable

    def close(self, farewell: bytes = b"") -> None:
        self._end("the connection was closed here")
        transport = self._transport
        if transport is None:
            return
        try:
            if farewell and not transport.is_closing():
                transport.write(farewell)
            transport.abort()
            self._transport = None
        except RuntimeError:  # the event loop is closed, so that it can close nothing for us
            del transport
            self._let_go()

    def abandon(self) -> None:
        self._end("the connection belonged to an event loop that has ended, or to a parent process")
        if self._transport is not None:
            self._let_go()

    def _end(self, reason: str) -> None:
        self._on_readable = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, math.inf
        if not self._is_ended:
            self._is_ended = True
            self._error = self._error or ConnectionAbortedError(reason)
        self._wake(self._reader)
        self._wake(self._writer)

    def _let_go(self) -> None:
        """Close the descriptor of a transport whose loop is gone, without the warning that its finaliser gives."""
        self._socket.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self._transport = None
            del self._socket  # uvloop counts references to it, and it is closed only when it is gone


class AsyncioBackend(LoopBackend):
    """Bound to the event loop that is running when it is made. See `Backend` for the contract."""

    name = "asyncio"
    can_spawn = True
    has_sockets = True

    def __init__(self) -> None:
        super().__init__()
        self._buffer = memoryview(b"")

    async def to_thread(self, function: Callable[[], T], deadline: float, key: Hashable | None = None) -> T:
        return await in_thread(function, self, deadline, key)

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        return await ask_system(host, port, self, deadline)

    async def connect(
        self, addresses: Sequence[Address], deadline: float, resolve_seconds: float
    ) -> tuple[Stream, Address]:
        began = self.now()
        sock, address = await race(addresses, deadline, self.now, self._wait_for_writable)
        info = describe(sock, resolve_seconds, self.now() - began)
        try:
            stream = AsyncioStream(self._loop, sock, self._read_buffer(), info)
            await self._loop.create_connection(lambda: stream, sock=sock)
            set_options(sock, address)  # uvloop has set its own after them
        except BaseException as exc:
            sock.close()
            if isinstance(exc, OSError):
                raise connect_error(address, exc) from exc
            raise
        return stream, address

    async def _wait_for_writable(self, sockets: Sequence[socket.socket], deadline: float) -> socket.socket | None:
        loop = self._loop
        woken: asyncio.Future[socket.socket | None] = loop.create_future()

        def wake(sock: socket.socket | None) -> None:
            if not woken.done():
                woken.set_result(sock)

        timer = None
        try:
            for sock in sockets:
                loop.add_writer(sock, wake, sock)
            if deadline < math.inf:
                timer = loop.call_later(max(0.0, deadline - time.monotonic()), wake, None)
            return await woken
        except NotImplementedError:
            await asyncio.sleep(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            return wait_for_writable(sockets, 0)
        finally:
            if timer is not None:
                timer.cancel()
            with suppress(NotImplementedError):
                for sock in sockets:
                    loop.remove_writer(sock)

    def _read_buffer(self) -> memoryview:
        if isinstance(self._loop, getattr(asyncio, "ProactorEventLoop", ())):
            return memoryview(bytearray(_READ_BYTES))  # Windows fills it while the loop goes on
        if not self._buffer:
            self._buffer = memoryview(bytearray(_READ_BYTES))
        return self._buffer

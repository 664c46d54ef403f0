"""What all worlds share about sockets: how one is made, and a stream over a non-blocking one.

`SocketStream` leaves only the waiting to its subclasses: trio waits in its event loop, blocking code in `poll`.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from .._errors import ConnectError, ReadError, ReadTimeout, WriteError, WriteTimeout
from .._streams import Address, StreamInfo

__all__ = [
    "SocketStream",
    "connect_error",
    "describe",
    "finish_connect",
    "new_socket",
    "readable_probe",
    "set_options",
    "start_connect",
    "wait_for_socket",
    "wait_for_writable",
]

# Go's net package probes an idle connection after 15 s, every 15 s; Linux's TCP_USER_TIMEOUT then gives up on data that
# nobody acknowledged when the probes would have (15 s + 3 x 15 s).
_KEEPALIVE_SECONDS = 15
_KEEPALIVE_PROBES = 3
_USER_TIMEOUT_MS = 1000 * _KEEPALIVE_SECONDS * (1 + _KEEPALIVE_PROBES)

# Each read makes an object of its size first, and glibc maps one of 128 KiB or more anew: dear for a small response,
# cheap for a large one.
_SMALL_READ = 16 * 1024
_LARGE_READ = 256 * 1024

_TCP_OPTIONS = [
    (getattr(socket, name), value)
    for name, value in (
        ("TCP_NODELAY", 1),
        ("TCP_KEEPIDLE", _KEEPALIVE_SECONDS),
        ("TCP_KEEPALIVE", _KEEPALIVE_SECONDS),  # what macOS calls TCP_KEEPIDLE
        ("TCP_KEEPINTVL", _KEEPALIVE_SECONDS),
        ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MS),
    )
    if hasattr(socket, name)
]


def new_socket(address: Address) -> socket.socket:
    """A non-blocking socket for `address`, options set and bound.

    Raises: ConnectError.
    """
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as exc:
        raise connect_error(address, exc) from exc
    try:
        sock.setblocking(False)
        if address.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _TCP_OPTIONS:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        if address.interface is not None:
            # Once only: who has no right to change it may set it where it is not set yet.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, address.interface.encode() + b"\0")
        set_options(sock, address)
        if address.local is not None:
            sock.bind(address.local)
    except OSError as exc:
        sock.close()
        raise connect_error(address, exc) from exc
    except BaseException:
        sock.close()
        raise
    return sock


def set_options(sock: socket.socket, address: Address) -> None:
    """Set what the caller chose. Raises: OSError."""
    for level, option, chosen in address.options:
        sock.setsockopt(level, option, chosen)


def connect_error(address: Address, exc: OSError) -> ConnectError:
    # By its number: asyncio puts words of its own, and the address again, into `strerror`.
    return ConnectError(f"no connection to {address.peer}: {os.strerror(exc.errno) if exc.errno else exc}")


def describe(sock: socket.socket, resolve_seconds: float, connect_seconds: float) -> StreamInfo:
    """What a stream over this socket tells of itself."""
    try:
        remote, local = sock.getpeername(), sock.getsockname()
    except OSError:  # the peer has already reset it
        remote = local = None
    return StreamInfo(remote, local, resolve_seconds=resolve_seconds, connect_seconds=connect_seconds)


def milliseconds(seconds: float) -> float | None:
    """What `poll` takes, and rounds up: it counts in a C int, which is 25 days, and None is for ever."""
    return None if seconds == math.inf else min(max(0.0, seconds), 2e6) * 1000


if hasattr(select, "poll"):

    def wait_for_socket(sock: socket.socket, readable: bool, writable: bool, seconds: float) -> bool:
        """Whether the socket became ready (or broke) within `seconds`."""
        poller = select.poll()
        poller.register(sock, (select.POLLIN if readable else 0) | (select.POLLOUT if writable else 0))
        return bool(poller.poll(milliseconds(seconds)))

    def wait_for_writable(sockets: Sequence[socket.socket], seconds: float) -> socket.socket | None:
        """One that became writable (or broke) within `seconds`."""
        poller = select.poll()
        for sock in sockets:
            poller.register(sock, select.POLLOUT)
        ready = {descriptor for descriptor, _ in poller.poll(milliseconds(seconds))}
        return next((sock for sock in sockets if sock.fileno() in ready), None) if ready else None

else:

    def wait_for_socket(sock: socket.socket, readable: bool, writable: bool, seconds: float) -> bool:
        """Whether the socket became ready (or broke) within `seconds`."""
        reads, writes = [sock] if readable else [], [sock] if writable else []
        return any(select.select(reads, writes, reads + writes, None if seconds == math.inf else seconds))

    def wait_for_writable(sockets: Sequence[socket.socket], seconds: float) -> socket.socket | None:
        """One that became writable (or broke) within `seconds`."""
        _, writable, broken = select.select([], sockets, sockets, None if seconds == math.inf else seconds)
        return next(iter([*writable, *broken]), None)


def readable_probe(sock: socket.socket) -> Callable[[], object]:
    """A function that tells by its truth whether bytes, an end or an error wait in the socket: one system call."""
    if not hasattr(select, "poll"):
        return lambda: sock.fileno() < 0 or wait_for_socket(sock, readable=True, writable=False, seconds=0)
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return partial(poller.poll, 0)  # of a socket that was closed since, it tells POLLNVAL


class SocketStream(ABC):
    """A stream over a non-blocking socket. See `Stream` for the contract."""

    __slots__ = (
        "_behind",
        "_expects_wait",
        "_is_closing",
        "_probe",
        "_read_bytes",
        "_reset",
        "_socket",
        "_unsent",
        "info",
        "is_truncated",
    )

    def __init__(self, sock: socket.socket, info: StreamInfo) -> None:
        self._socket = sock
        self._probe = readable_probe(sock)
        self._unsent = memoryview(b"")
        self._behind: list[bytes] = []  # what follows it, joined only once so that it is copied once
        self._is_closing = False
        self._reset: ConnectionResetError | None = None
        self._expects_wait = True
        self._read_bytes = _SMALL_READ
        self.info = info
        self.is_truncated = False

    @abstractmethod
    async def _wait(self, readable: bool, writable: bool, deadline: float) -> None:
        """Return when the socket is ready for one of what was asked. Raises TimeoutError at the deadline."""

    @abstractmethod
    def _let_go(self) -> None:
        """Close the socket, which is shut down, with care for whoever waits for it."""

    async def receive(self, max_bytes: int, deadline: float) -> bytes:
        # After a request was sent, its answer takes a round trip, so that trying first would be in vain.
        try:
            if self._expects_wait:
                await self._wait(True, False, deadline)
            self._expects_wait = False
            while True:
                try:
                    data = self._socket.recv(min(max_bytes, self._read_bytes))
                except BlockingIOError:
                    await self._wait(True, False, deadline)
                else:
                    if len(data) == self._read_bytes:
                        self._read_bytes = _LARGE_READ
                    elif not data and self._is_closing:
                        raise ReadError("the connection was closed here")
                    return self._checked(data)
        except OSError as exc:
            if isinstance(exc, TimeoutError) and exc.errno is None:  # with errno it is the system's own, ETIMEDOUT
                raise ReadTimeout("the peer sent nothing in time") from exc
            raise ReadError(f"the connection broke: {exc.strerror or exc}") from exc

    def read(self, max_bytes: int) -> bytes | None:
        try:
            return self._checked(self._socket.recv(min(max_bytes, _LARGE_READ)))
        except BlockingIOError:
            return None
        except OSError as exc:
            self._note(exc)
            raise ReadError(f"the connection broke: {exc.strerror or exc}") from exc

    def _note(self, exc: OSError) -> None:
        if isinstance(exc, ConnectionResetError):
            self._reset = exc.with_traceback(None)  # which leads to frames that hold this stream

    def _checked(self, data: bytes) -> bytes:
        """Raises: ReadError where an end is none, but a reset of which we have heard: the kernel tells of it once."""
        if not data and self._reset is not None:
            raise ReadError(f"the connection broke: {self._reset.strerror}") from self._reset
        return data

    async def send(self, data: bytes, deadline: float, until_heard: bool = False) -> bool:
        self._expects_wait = True
        self._read_bytes = _SMALL_READ
        if until_heard and (data or self._unsent) and self.is_readable():
            self._queue(data)
            return False
        if self.write(data):
            return True
        queued = len(data)
        try:
            if not await self.drain(deadline, until_heard):
                return False
        except (WriteError, WriteTimeout) as exc:
            exc.request_sent = len(self._unsent) + sum(map(len, self._behind)) < queued
            raise
        return not self.is_readable()

    def write(self, data: bytes) -> bool:
        if self._unsent:
            self._queue(data)
            data = b""
        try:
            if data and (sent := self._send_some(data)) < len(data):
                self._unsent = memoryview(data)[sent:]
            elif self._unsent:
                self._send_queued()
        except OSError as exc:
            raise WriteError(f"the connection broke: {exc.strerror or exc}") from exc
        return not self._unsent

    async def drain(self, deadline: float, until_heard: bool) -> bool:
        try:
            while self._unsent:
                await self._wait(until_heard, True, deadline)
                if until_heard and self.is_readable():
                    return False
                self._send_queued()
        except OSError as exc:
            if isinstance(exc, TimeoutError) and exc.errno is None:
                raise WriteTimeout("the peer took nothing in time") from exc
            raise WriteError(f"the connection broke: {exc.strerror or exc}") from exc
        return True

    def _queue(self, data: bytes) -> None:
        if not self._unsent:
            self._unsent = memoryview(data)
        elif data:
            self._behind.append(data)

    def _send_queued(self) -> None:
        while self._unsent:
            self._unsent = self._unsent[self._send_some(self._unsent) :]
            if self._unsent:
                return  # the operating system takes no more
            if self._behind:
                self._unsent = memoryview(b"".join(self._behind))
                self._behind.clear()

    def _send_some(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            self._note(exc)
            raise

    def interrupt(self) -> None:
        return None  # where nothing runs beside whoever waits, nobody asks for it

    def is_readable(self) -> bool:
        return bool(self._probe())

    def watch(self, on_readable: Callable[[], None]) -> None:
        return None  # nobody is there to watch: the pool asks `is_readable` before it uses the connection again

    def close(self, farewell: bytes = b"") -> None:
        if self._socket.fileno() < 0:
            return
        self._is_closing = True  # for another thread, to which it looks as if the peer had ended it
        if farewell and not self._unsent:
            with suppress(OSError):  # a farewell is a courtesy: the peer may be gone
                self._socket.send(farewell)
        with suppress(OSError):  # closing alone would not wake another thread that waits for it
            self._socket.shutdown(socket.SHUT_RDWR)
        self._let_go()

    def abandon(self) -> None:
        self._socket.close()

    def __del__(self) -> None:
        """A pool that nobody closed ends without a word; responses that were forgotten have said so."""
        if hasattr(self, "_socket"):
            self._socket.close()


def start_connect(sock: socket.socket, address: Address) -> bool:
    """Begin to connect; True where it is already done (unix sockets, mostly).

    Raises: OSError.
    """
    code = sock.connect_ex(address.target)
    if code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY):
        return False
    if code:
        raise OSError(code, os.strerror(code))
    return True


def finish_connect(sock: socket.socket) -> None:
    """Raises: OSError, as the attempt ended."""
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))

"""For tests of what uses this library: a network in memory, peers that follow a script, and faults at chosen steps.

A script is a generator function of one connection. It runs whenever the client sends or waits, and gives way, by
`yield from`, where it needs to hear more. When the client closes the connection, the script is closed where it waits.

    def script(peer: Peer) -> Script:
        while True:
            request = yield from peer.read_request()
            peer.respond(body=b"you asked for " + request.target)

    network = MemoryNetwork(script)
    async with httpcore.ConnectionPool(backend=network.backend) as http:
        response = await http.request("GET", "http://example.org/")

Nothing leaves the process: no name is resolved, no port is taken. It speaks `http://` only; for TLS use a real server.

`Faults` stands between a pool and any network, this one or the real one. It counts the steps of I/O, and makes one of
them fail. A story is run once to count its steps, and then again with a fault at each of them:

    faults = Faults()
    await story(httpcore.ConnectionPool(backend=faults.over(network.backend)))
    for step in range(len(faults.steps)):
        faults = Faults(at=step, fault=Fault.TIMEOUT)
        await story(httpcore.ConnectionPool(backend=faults.over(network.backend)))
        assert not faults.open_streams

For the blocking world there is `MemoryNetwork(script, world="blocking")` and `ConnectionPool(backend=network.backend)`.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NoReturn, TypeVar

from ._backends import BackendChoice, make_backend
from ._errors import (
    ConnectError,
    ConnectTimeout,
    HTTPCoreError,
    ReadError,
    ReadTimeout,
    WriteError,
    WriteTimeout,
)
from ._streams import Address, Backend, Event, Stream, StreamInfo, Task, Timer

__all__ = ["Fault", "Faults", "MemoryNetwork", "Peer", "PeerRequest", "Script"]

T = TypeVar("T")

Script = Generator[None, None, None]
"""What a script returns when it is called: write it as a generator function of a `Peer`."""


@dataclass(frozen=True)
class PeerRequest:
    """A request as a peer read it, names in lower case."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key == name), None)


class Peer:
    """The other end of one connection, in the hands of its script. Tests may call `send`, `end` and `reset` too.

    Attributes:
        host, port: where the client wanted to go.
        is_closed: whether the client has closed the connection.
    """

    def __init__(self, script: Callable[[Peer], Script], host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.is_closed = False
        self._received = bytearray()
        self._unread = bytearray()  # on its way to the client
        self._is_ended = False
        self._is_reset = False
        self._on_sent: Callable[[], None] | None = None
        self._script: Script | None = script(self)
        self._proceed()

    # For scripts. What reads is used with `yield from`, and gives way until there is enough.

    def read(self) -> Generator[None, None, bytes]:
        """The next bytes, at least one."""
        while not self._received:
            yield
        return self._take(len(self._received))

    def read_until(self, end: bytes) -> Generator[None, None, bytes]:
        """Everything up to and including `end`."""
        while (at := self._received.find(end)) < 0:
            yield
        return self._take(at + len(end))

    def read_exactly(self, count: int) -> Generator[None, None, bytes]:
        while len(self._received) < count:
            yield
        return self._take(count)

    def read_head(self) -> Generator[None, None, PeerRequest]:
        """A request without its body."""
        raw = yield from self.read_until(b"\r\n\r\n")
        line, *fields = raw[:-4].split(b"\r\n")
        method, target, _ = line.split(b" ")
        pairs = [field.split(b":", 1) for field in fields]
        return PeerRequest(method, target, [(name.lower(), value.strip()) for name, value in pairs])

    def read_request(self) -> Generator[None, None, PeerRequest]:
        """A request with its body."""
        head = yield from self.read_head()
        if head.header(b"transfer-encoding") is not None:
            body = yield from self._read_chunks()
        else:
            body = yield from self.read_exactly(int(head.header(b"content-length") or 0))
        return replace(head, body=body)

    def _read_chunks(self) -> Generator[None, None, bytes]:
        parts: list[bytes] = []
        while size := int((yield from self.read_until(b"\r\n")), 16):
            parts.append((yield from self.read_exactly(size)))
            yield from self.read_exactly(2)
        while (yield from self.read_until(b"\r\n")) != b"\r\n":
            pass  # trailers
        return b"".join(parts)

    def send(self, data: bytes) -> None:
        """Give the client these bytes; it gets them as they were sent, or in larger pieces."""
        self._unread += data
        self._tell_client()

    def respond(
        self, status: int = 200, body: bytes = b"", headers: Iterable[tuple[bytes, bytes]] = (), reason: bytes = b""
    ) -> None:
        """Send a response with a content-length, unless `headers` or the status say how the body is framed."""
        fields = list(headers)
        is_framed = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in fields)
        if not is_framed and status >= 200 and status not in (204, 304):
            fields.append((b"content-length", b"%d" % len(body)))
        lines = [b"HTTP/1.1 %d %s" % (status, reason), *(b"%s: %s" % field for field in fields)]
        self.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    def end(self) -> None:
        """Send no more; what was sent can still be read. A script that returns does this."""
        self._is_ended = True
        self._tell_client()

    def reset(self) -> None:
        """Break the connection; what was sent, and not yet read, is lost."""
        self._unread.clear()
        self._is_ended = self._is_reset = True
        self._tell_client()

    # For the client's side.

    def _take(self, count: int) -> bytes:
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    def _tell_client(self) -> None:
        if self._on_sent is not None:
            self._on_sent()

    def _proceed(self) -> None:
        """Let the script run until it waits for the client."""
        script, self._script = self._script, None  # what it does may bring us here again
        if script is None:
            return
        try:
            if not self.is_closed:
                next(script)
            if self.is_closed:
                script.close()
            else:
                self._script = script
        except StopIteration:
            self.end()
        except BaseException:
            self.end()
            raise

    def _hear(self, data: bytes) -> None:
        self._received += data
        self._proceed()

    def _part(self) -> None:
        """The client has closed the connection."""
        if not self.is_closed:
            self.is_closed = True
            self._proceed()


class MemoryNetwork:
    """Every address has the same peer behind it: one that follows `script`.

    Args:
        script: a generator function, called with the `Peer` of each connection. What it raises comes out of the request
            that talks to it.
        world: as `ConnectionPool(backend=...)`: whose time, events and tasks are used.

    Attributes:
        peers: of all connections so far.
    """

    def __init__(self, script: Callable[[Peer], Script], world: BackendChoice = None) -> None:
        self._script = script
        self._world = world
        self.peers: list[Peer] = []

    def backend(self) -> Backend:
        """For `ConnectionPool(backend=network.backend)`."""
        return _MemoryBackend(make_backend(self._world), self)

    @property
    def open_peers(self) -> list[Peer]:
        """Those that the client has not closed."""
        return [peer for peer in self.peers if not peer.is_closed]

    def _connect(self, host: str, port: int) -> Peer:
        peer = Peer(self._script, host, port)
        self.peers.append(peer)
        return peer


class _Delegating:
    """A backend over another one."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.name = inner.name
        self.can_spawn = inner.can_spawn
        self.has_loop = inner.has_loop
        self.has_timers = inner.has_timers
        self.has_sockets = inner.has_sockets

    def at_end(self, reference: Callable[[], Callable[[], None] | None]) -> Timer | None:
        return self._inner.at_end(reference)

    def is_current(self) -> bool:
        return self._inner.is_current()

    def is_over(self) -> bool:
        return self._inner.is_over()

    def now(self) -> float:
        return self._inner.now()

    def event(self) -> Event:
        return self._inner.event()

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)

    async def checkpoint(self) -> None:
        await self._inner.checkpoint()

    async def to_thread(self, function: Callable[[], T], deadline: float, key: Hashable | None = None) -> T:
        return await self._inner.to_thread(function, deadline, key)

    async def until(self, awaitable: Awaitable[T], deadline: float) -> T:
        return await self._inner.until(awaitable, deadline)

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        return await self._inner.resolve(host, port, deadline)

    async def connect(
        self, addresses: Sequence[Address], deadline: float, resolve_seconds: float
    ) -> tuple[Stream, Address]:
        return await self._inner.connect(addresses, deadline, resolve_seconds)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Task:
        return self._inner.spawn(coroutine)

    async def stop(self, task: Task) -> None:
        await self._inner.stop(task)

    def call_at(self, when: float, function: Callable[[], None]) -> Timer | None:
        return self._inner.call_at(when, function)

    def call_soon(self, function: Callable[[], None]) -> bool:
        return self._inner.call_soon(function)

    def call_soon_threadsafe(self, function: Callable[[], None]) -> bool:
        return self._inner.call_soon_threadsafe(function)


class _MemoryBackend(_Delegating):
    def __init__(self, inner: Backend, network: MemoryNetwork) -> None:
        super().__init__(inner)
        self._network = network

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        await self._inner.sleep(0)
        return [(socket.AF_INET, (host, port))]

    async def connect(
        self, addresses: Sequence[Address], deadline: float, resolve_seconds: float
    ) -> tuple[Stream, Address]:
        await self._inner.sleep(0)
        target = addresses[0].target
        host, port = (target, 0) if isinstance(target, str) else target[:2]
        return _MemoryStream(self._inner, self._network._connect(host, port), resolve_seconds), addresses[0]


class _MemoryStream:
    """The client's side of a connection to a `Peer`."""

    is_truncated = False

    def __init__(self, backend: Backend, peer: Peer, resolve_seconds: float) -> None:
        self.info = StreamInfo((peer.host, peer.port), resolve_seconds=resolve_seconds, connect_seconds=0.0)
        self._backend = backend
        self._peer = peer
        self._reader: Event | None = None
        self._is_interrupted = False
        self._on_readable: Callable[[], None] | None = None
        peer._on_sent = self._wake

    def _wake(self) -> None:
        if self._reader is not None:
            self._reader.set()
        elif self._on_readable is not None:
            # Not at once: the peer may speak in the middle of what the client writes.
            self._backend.call_soon(self._tell)

    def _tell(self) -> None:
        if self._on_readable is not None and self._reader is None and self.is_readable():
            self._on_readable()

    async def receive(self, max_bytes: int, deadline: float) -> bytes:
        self._is_interrupted = False
        await self._backend.sleep(0)  # a step at which to be cancelled, as in any network
        while not self.is_readable():
            self._reader = self._backend.event()
            try:
                if self._is_interrupted or not await self._reader.wait(deadline) or self._is_interrupted:
                    raise ReadTimeout("the peer sent nothing in time")
            finally:
                self._reader = None
        return self._take(max_bytes)

    def read(self, max_bytes: int) -> bytes | None:
        return self._take(max_bytes) if self.is_readable() else None

    def _take(self, max_bytes: int) -> bytes:
        peer = self._peer
        if peer.is_closed or peer._is_reset:
            raise ReadError("the connection was closed here" if peer.is_closed else "the peer reset the connection")
        data = bytes(peer._unread[:max_bytes])
        del peer._unread[:max_bytes]
        return data

    async def send(self, data: bytes, deadline: float, until_heard: bool = False) -> bool:
        await self._backend.sleep(0)
        is_heard = until_heard and self.is_readable()
        self.write(data)
        return not is_heard

    def write(self, data: bytes) -> bool:
        peer = self._peer
        if peer.is_closed or peer._is_reset:
            raise WriteError("the connection was closed here" if peer.is_closed else "the peer reset the connection")
        peer._hear(data)
        return True

    async def drain(self, deadline: float, until_heard: bool) -> bool:
        await self._backend.sleep(0)
        return True

    def interrupt(self) -> None:
        self._is_interrupted = True
        if self._reader is not None:
            self._reader.set()

    def is_readable(self) -> bool:
        return bool(self._peer._unread) or self._peer._is_ended or self._peer.is_closed

    def watch(self, on_readable: Callable[[], None]) -> None:
        self._on_readable = on_readable if self._backend.has_loop else None

    def close(self, farewell: bytes = b"") -> None:
        self._on_readable = None
        self._peer._part()
        self._wake()
        self._peer._on_sent = None

    def abandon(self) -> None:
        self.close()


class Fault(Enum):
    """What happens at a step of I/O instead of the step."""

    ERROR = "error"
    """The connection breaks: `ConnectError`, `WriteError` or `ReadError`."""
    TIMEOUT = "timeout"
    """The deadline of the step passes, at once: `ConnectTimeout`, `WriteTimeout` or `ReadTimeout`."""
    END = "end"
    """The peer ends its side: what is received is empty from here on. A write or a connect fails as with ERROR."""


class Faults:
    """Counts the steps of I/O of a pool, and makes one of them fail.

    Args:
        at: the step to fail, counted from 0; None counts only.
        fault: a `Fault`, or an exception that is raised as it is: KeyboardInterrupt, say.

    Attributes:
        steps: what each step so far was: "resolve", "connect", "send" or "receive".
    """

    def __init__(self, at: int | None = None, fault: Fault | BaseException = Fault.ERROR) -> None:
        self._at = at
        self._fault = fault
        self._open: dict[_FaultyStream, None] = {}
        self._is_stopped = False
        self.steps: list[str] = []

    def over(self, backend: BackendChoice = None) -> Callable[[], Backend]:
        """For `ConnectionPool(backend=...)`: the real network, or what is given, with the fault in it.

        Args:
            backend: what would be the pool's `backend=` without faults.
        """
        return lambda: _FaultyBackend(make_backend(backend), self)

    def stop(self) -> None:
        """Count no further steps, and let none fail; a stream that is broken stays so."""
        self._is_stopped = True

    @property
    def open_streams(self) -> int:
        """Streams that were opened and not closed."""
        return len(self._open)

    @property
    def has_failed(self) -> bool:
        """Whether the step that was to fail has been reached."""
        return self._at is not None and self._at < len(self.steps)

    def _step(self, name: str) -> Fault | None:
        """Count a step; what is to happen instead of it, if anything."""
        if self._is_stopped:
            return None
        self.steps.append(name)
        if len(self.steps) - 1 != self._at:
            return None
        if isinstance(self._fault, BaseException):
            raise self._fault
        return self._fault


_ERRORS: dict[str, tuple[type[HTTPCoreError], type[HTTPCoreError]]] = {
    "resolve": (ConnectError, ConnectTimeout),
    "connect": (ConnectError, ConnectTimeout),
    "send": (WriteError, WriteTimeout),
    "receive": (ReadError, ReadTimeout),
}


def _raise_fault(name: str, fault: Fault) -> NoReturn:
    error, timeout = _ERRORS[name]
    raise (timeout if fault is Fault.TIMEOUT else error)(f"a fault at this step ({name}), as the test wanted")


class _FaultyBackend(_Delegating):
    def __init__(self, inner: Backend, faults: Faults) -> None:
        super().__init__(inner)
        self._faults = faults

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        fault = self._faults._step("resolve")
        if fault is not None:
            raise (
                TimeoutError
                if fault is Fault.TIMEOUT
                else OSError("a fault at this step (resolve), as the test wanted")
            )
        return await self._inner.resolve(host, port, deadline)

    async def connect(
        self, addresses: Sequence[Address], deadline: float, resolve_seconds: float
    ) -> tuple[Stream, Address]:
        fault = self._faults._step("connect")
        if fault is not None:
            _raise_fault("connect", fault)
        inner, address = await self._inner.connect(addresses, deadline, resolve_seconds)
        stream = _FaultyStream(inner, self._faults)
        self._faults._open[stream] = None
        return stream, address


class _FaultyStream:
    """A stream that may break at a step, and is broken from then on."""

    def __init__(self, inner: Stream, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults
        self._broken_by: Fault | None = None
        self._has_lost = False

    @property
    def info(self) -> StreamInfo:
        return self._inner.info

    @property
    def is_truncated(self) -> bool:
        return self._inner.is_truncated

    async def receive(self, max_bytes: int, deadline: float) -> bytes:
        if self._breaks("receive") and self._broken_by is Fault.END:
            return b""
        return await self._inner.receive(max_bytes, deadline)

    async def send(self, data: bytes, deadline: float, until_heard: bool = False) -> bool:
        if self._breaks("send"):
            _raise_fault("send", Fault.ERROR)
        return await self._inner.send(data, deadline, until_heard)

    def read(self, max_bytes: int) -> bytes | None:
        if self._breaks("receive") and self._broken_by is Fault.END:
            return b""
        return self._inner.read(max_bytes)

    def write(self, data: bytes) -> bool:
        if self._breaks("send", waits=False):
            _raise_fault("send", Fault.ERROR)
        return self._inner.write(data)

    async def drain(self, deadline: float, until_heard: bool) -> bool:
        if self._breaks("send"):
            _raise_fault("send", Fault.ERROR)
        return await self._inner.drain(deadline, until_heard)

    def _breaks(self, name: str, waits: bool = True) -> bool:
        """Whether the peer has ended the stream. Other faults are raised, this time and from then on; no timeout
        though where nothing waits."""
        try:
            fault = self._faults._step(name)
        except BaseException:
            self._has_lost = name == "send"
            raise
        if fault is Fault.TIMEOUT and not waits:
            return False
        self._has_lost = self._has_lost or (name == "send" and fault is not None)
        if fault is Fault.TIMEOUT:
            _raise_fault(name, fault)  # a stream can be used on after that
        self._broken_by = self._broken_by or fault
        if self._broken_by is Fault.ERROR:
            _raise_fault(name, Fault.ERROR)
        return self._broken_by is Fault.END

    def interrupt(self) -> None:
        self._inner.interrupt()

    def is_readable(self) -> bool:
        return self._broken_by is not None or self._inner.is_readable()

    def watch(self, on_readable: Callable[[], None]) -> None:
        self._inner.watch(on_readable)

    def close(self, farewell: bytes = b"") -> None:
        self._faults._open.pop(self, None)
        # What comes after something that was lost makes no sense to the peer, in TLS least of all.
        self._inner.close(b"" if self._has_lost else farewell)

    def abandon(self) -> None:
        self._faults._open.pop(self, None)
        self._inner.abandon()

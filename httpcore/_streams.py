"""The seam between protocol and I/O: what is above speaks to `Stream` and `Backend`, what is below implements them.

Rules that every implementation keeps:

- Deadlines are absolute, in the seconds of `Backend.now()`; infinity is no deadline.
- `receive`, `send` and `connect` raise only our own errors; cancellation passes through untouched.
- `close` is a plain function: it never waits and never fails, so nothing can be cancelled in the middle of closing.
- One task reads and one writes at a time. They may be two.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar

from ._network import SocketOption

__all__ = ["STOP_SECONDS", "Address", "Backend", "Event", "Stream", "StreamInfo", "Task", "Timer", "refuse_to_await"]

T = TypeVar("T")

# How long a caller's body may take to come to its end when it is cancelled, before we go on without it.
STOP_SECONDS = 1.0


class Address(NamedTuple):
    """Where one connection attempt goes, and how its socket is made.

    Args:
        family: socket.AF_INET, AF_INET6 or AF_UNIX.
        target: what `socket.connect` takes in that family.
        local: (address, port) to bind to, or None.
        interface: the name of the network interface to leave by, or None.
        options: (level, option, value) triples, set after our own.
        peer: what messages call it.
    """

    family: int
    target: tuple[str, int] | tuple[str, int, int, int] | str
    local: tuple[str, int] | None
    interface: str | None
    options: tuple[SocketOption, ...]
    peer: str


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Facts about a stream: `response.extensions["connection"]`. Those of TLS are None in the clear.

    Attributes:
        remote_address, local_address: as `socket.getpeername()` and `getsockname()` give them.
        tls_version, cipher: by OpenSSL's names, "TLSv1.3" and "TLS_AES_256_GCM_SHA384" for instance.
        alpn: the protocol that was agreed upon, "h2" or "http/1.1", or None where the peer knows no ALPN.
        peer_certificate: in DER.
        resumed: whether a TLS session was resumed, in which the peer was verified when it began.
        resolve_seconds: how long it took to find the addresses of the name; about nothing for what is an address.
        connect_seconds: from the first attempt to connect, to whichever address, until one had succeeded.
        tls_seconds: how long the TLS handshake took.
        reused: whether the connection had carried a request before this one.
    """

    remote_address: object = None
    local_address: object = None
    tls_version: str | None = None
    cipher: str | None = None
    alpn: str | None = None
    peer_certificate: bytes | None = None
    resumed: bool = False
    resolve_seconds: float | None = None
    connect_seconds: float | None = None
    tls_seconds: float | None = None
    reused: bool = False


class Stream(Protocol):
    """A byte stream to a peer."""

    @property
    def info(self) -> StreamInfo:
        """Facts about the stream; stays true after closing."""

    @property
    def is_truncated(self) -> bool:
        """Whether the end that `receive` reported may have been forged: TLS without a close_notify."""

    async def receive(self, max_bytes: int, deadline: float) -> bytes:
        """The next bytes, at least one, at most about `max_bytes`; b"" when the peer has ended its side.

        Raises: ReadTimeout, ReadError. The stream can be used on after a timeout.
        Cancellation: no byte is lost.
        """

    async def send(self, data: bytes, deadline: float, until_heard: bool = False) -> bool:
        """Hand over everything to the operating system, in order after what is still queued.

        Args:
            data: may be empty, to go on with what is queued.
            until_heard: return early, with the rest queued, when the peer speaks or ends before all was taken.

        Returns: True where everything was taken. False where the peer has spoken or ended: with `until_heard` before
            everything was taken, without it while this had to wait.
        Raises: WriteTimeout, WriteError.
        Cancellation: it is unknown how much was sent. What was not stays queued, and goes out with what is sent next.
        """

    def read(self, max_bytes: int) -> bytes | None:
        """What is there to be received, without waiting; b"" at the end, None where nothing is there yet.

        Raises: ReadError.
        """

    def write(self, data: bytes) -> bool:
        """Queue `data`, which may be empty, and hand over what the operating system takes without waiting.

        Returns: whether everything that was queued has been taken; otherwise `drain` waits for that.
        Raises: WriteError.
        """

    async def drain(self, deadline: float, until_heard: bool) -> bool:
        """Wait until everything that is queued has been taken; another task may receive meanwhile.

        Args:
            until_heard: return early, with the rest queued, when something can be received.

        Returns: whether everything was taken.
        Raises: WriteTimeout, WriteError.
        Cancellation: the rest stays queued.
        """

    def interrupt(self) -> None:
        """Let whoever waits to receive have a `ReadTimeout` now. Only for tasks of the same event loop."""

    def is_readable(self) -> bool:
        """Whether bytes, an end or an error are there to be received. Cheap, no waiting."""

    def watch(self, on_readable: Callable[[], None]) -> None:
        """Call `on_readable` whenever the stream becomes readable while nobody waits to receive. Only where the world
        has events; `close` ends it."""

    def close(self, farewell: bytes = b"") -> None:
        """Close at once, having tried to send `farewell` without waiting; whoever waits gets an error. Idempotent."""

    def abandon(self) -> None:
        """Let go of the stream in a forked child or after the end of its event loop: nothing is sent to the peer."""


class Event(Protocol):
    """Set once, waited for by one."""

    def set(self) -> None: ...

    async def wait(self, deadline: float) -> bool:
        """True when it was set, False when the deadline passed first."""


class Task(Protocol):
    def cancel(self) -> object: ...


class Timer(Protocol):
    def cancel(self) -> None: ...


class Backend(Protocol):
    """A world: how waiting, time and sockets work in it. Bound to the event loop in which it was made."""

    name: str
    can_spawn: bool
    """Whether `spawn` works. Where it does not, a connection is opened in the request that wants it."""
    has_loop: bool
    """Whether `call_soon_threadsafe` reaches somebody."""
    has_timers: bool
    """Whether `call_at` works."""
    has_sockets: bool
    """Whether `connect` works. Where it does not, JavaScript's fetch carries the requests."""

    def at_end(self, reference: Callable[[], Callable[[], None] | None]) -> Timer | None:
        """Call a function when the event loop is about to end, where streams cannot outlive it without a warning.

        Args:
            reference: a weak reference to the function.
        """

    def is_current(self) -> bool:
        """Whether this is the event loop we are running in now."""

    def is_over(self) -> bool:
        """Whether the event loop has ended, so that nothing of it can be awaited any more."""

    def now(self) -> float: ...

    def event(self) -> Event: ...

    async def sleep(self, seconds: float) -> None: ...

    async def checkpoint(self) -> None:
        """Let others run, and what `close` has begun come to its end; a place to be cancelled."""

    async def to_thread(self, function: Callable[[], T], deadline: float, key: Hashable | None = None) -> T:
        """Run what blocks somewhere else; once for all who ask for the same key while it runs. Raises TimeoutError at
        the deadline; the thread is then left to itself."""

    async def until(self, awaitable: Awaitable[T], deadline: float) -> T:
        """Await something of the caller's. Raises TimeoutError at the deadline, and TypeError in blocking code."""

    async def resolve(self, host: str, port: int, deadline: float) -> Sequence[tuple[int, Any]]:
        """(family, address) pairs by the system's resolver. Raises OSError, TimeoutError."""

    async def connect(
        self, addresses: Sequence[Address], deadline: float, resolve_seconds: float
    ) -> tuple[Stream, Address]:
        """A stream to whichever address answers first, and that address (RFC 8305, 5).

        Args:
            addresses: at least one, in the order in which they are to be tried.
            resolve_seconds: what it took to find them, for the stream to tell.

        Raises: ConnectError, ConnectTimeout.
        Cancellation: every socket is closed.
        """

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Task:
        """Run a coroutine that handles its own errors beside the caller, beyond the caller's end."""

    async def stop(self, task: Task) -> None:
        """Cancel a task, and wait until it has ended, for a second at most.

        Cancellation: it is cancelled all the same.
        """

    def call_at(self, when: float, function: Callable[[], None]) -> Timer | None:
        """Call a function later; None where the world has no timers."""

    def call_soon(self, function: Callable[[], None]) -> bool:
        """Call a function when those tasks that can go on now have done so; False where nobody would."""

    def call_soon_threadsafe(self, function: Callable[[], None]) -> bool:
        """Call a function soon, asked for from anywhere, a finaliser too; False where nobody would."""


def refuse_to_await(awaitable: object) -> NoReturn:
    """What `Backend.until` does where nothing can be awaited. Raises: TypeError."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()  # or Python would warn that nobody has awaited it
    raise TypeError(
        "something to be awaited was given to the sync pool; give it to the async pool, or a plain one here"
    )

"""One request on one connection, from the head of its response to the moment it lets go of the connection.

Who closes this? Exactly one of: the end of the body, an error, `aclose`, or the garbage collector. Each goes through
`_let_go`, which tells the pool, once.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ._carrier import Carrier, Connection
from ._clock import Clock
from ._errors import HTTPCoreError, StreamClosed
from ._headers import NO_HEADERS
from ._pool_state import Entry

__all__ = ["Exchange", "Owner"]

PoolEntry = Entry[Connection]


class Owner(Protocol):
    """What an exchange asks of the pool."""

    def release(self, entry: PoolEntry, is_reusable: bool, exchange: Exchange | None = None) -> None:
        """Take a connection back, from `exchange`, which has it no more then. Neither waits nor fails."""

    def forget(self, entry: PoolEntry, carrier: Carrier, on_end: Callable[[bool], None] | None) -> None:
        """Take a connection back from a finaliser: takes no lock, and leaves `on_end` to be told later."""


class Exchange:
    """The body of one response, as received.

    Attributes:
        entry: the connection; the pool takes it away when it is let go.
        trailers: complete when `is_over`.
        is_over: whether the connection has been let go.
    """

    __slots__ = ("_carrier", "_clock", "_is_closed", "_on_end", "_owner", "_parts", "_peer", "entry", "trailers")

    def __init__(
        self,
        owner: Owner,
        entry: PoolEntry,
        carrier: Carrier,
        clock: Clock,
        peer: str,
        on_end: Callable[[bool], None] | None,
    ) -> None:
        self._owner = owner
        self.entry: PoolEntry | None = entry
        self._carrier = carrier
        self._clock = clock
        self._peer = peer
        self._on_end = on_end
        self._parts: deque[bytes] | None = None
        self._is_closed = False
        self.trailers = NO_HEADERS
        clock.phase = "reading the body"

    def begin(self) -> None:
        """Let go at once of a connection on which nothing is left to be read."""
        carrier = self._carrier
        if carrier.is_switched:  # there is no body, and the connection belongs to a `NetworkStream`
            self.entry = None
            self._parts = deque()
        elif carrier.has_ended:
            self._finish()

    @property
    def is_over(self) -> bool:
        return self.entry is None

    async def receive(self) -> bytes:
        """The next part of the body, b"" at its end, when the connection is already back in the pool.

        Raises: NetworkError, TimeoutException, RemoteProtocolError; StreamClosed after `aclose`. The connection is
            closed and its slot free.
        Cancellation: the same.
        """
        parts = self._parts
        if parts is not None:
            return parts.popleft() if parts else b""
        if self._is_closed:
            raise StreamClosed("the response was closed before its body was read to the end")
        try:
            part = await self._carrier.receive_body(self._clock)
        except BaseException as exc:
            self._is_closed = True
            self._let_go()
            total = self._clock.explain(exc, self._peer) if isinstance(exc, HTTPCoreError) else None
            try:
                if total is not None:
                    raise total from exc
                raise
            finally:
                del total  # or its traceback would make a cycle
        if self._carrier.has_ended:
            self._finish()
        return part

    def take_all(self) -> deque[bytes] | None:
        """The whole body, if all of it is here."""
        parts = self._parts
        if parts is not None:
            self._parts = deque()
        return parts

    def explain(self, exc: HTTPCoreError) -> None:
        """Add to an error of decoding what was being done, where and for how long."""
        self._clock.phase = "decoding the body"
        self._clock.explain(exc, self._peer)

    async def aclose(self) -> None:
        """Let go of the connection. A small rest of the body is read, so that the connection can be used again.

        Cancellation: the connection is closed and its slot free.
        """
        if self.entry is None or self._is_closed:
            self._is_closed = True
            return
        self._is_closed = True
        try:
            await self._carrier.drain(self._clock)
        finally:
            self._let_go()

    def _finish(self) -> None:
        """All is here: the connection goes back before the caller has taken the last part."""
        carrier = self._carrier
        self._parts = carrier.take_parts()
        self.trailers = carrier.trailers
        self._let_go()

    def _let_go(self) -> None:
        entry = self.entry
        if entry is not None:
            try:
                if self._on_end is not None:
                    self._on_end(self._parts is not None)
            finally:
                self._owner.release(entry, self._carrier.is_reusable, self)

    def __del__(self) -> None:
        entry = getattr(self, "entry", None)
        if entry is not None:
            self._owner.forget(entry, self._carrier, self._on_end)
            warnings.warn(
                f"a response of {self._peer} was neither read to its end nor closed: use `async with response`, "
                "or call its aclose()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

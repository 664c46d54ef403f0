"""What the pool keeps, and what carries one exchange: the same thing in HTTP/1.1, a connection and its streams in
HTTP/2."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from ._clock import Clock
from ._engines.framing import ResponseHead
from ._headers import Headers
from ._request import InformationalCallback, Request
from ._streams import Stream, StreamInfo

__all__ = ["Carrier", "Connection"]


class Connection(Protocol):
    """A connection, as the pool keeps it.

    Attributes:
        is_closed: whether it is of no use any more; what it carried has been told why.
        never_stale: whether a request on it is as good as one on a new connection.
    """

    is_closed: bool
    never_stale: bool

    @property
    def capacity(self) -> int | None:
        """How many requests it carries at once; None where it is lent to one after another."""

    @property
    def is_retiring(self) -> bool:
        """Whether the peer takes no more requests on it, though what is under way may go on."""

    @property
    def keepalive(self) -> float | None:
        """Seconds for which the peer said it keeps the connection, or None."""

    def new_carrier(self) -> Carrier:
        """What carries the next exchange."""

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call back when the connection has ended, takes no more requests, or carries more or fewer at once."""

    def is_stale(self) -> bool:
        """Whether a connection that was not used for a while has ended meanwhile. Cheap, and never waits."""

    def close(self) -> None:
        """Close at once. Whatever it still carries gets an error. Never fails, idempotent."""

    def abandon(self) -> None:
        """Let go of it in a forked child or after the end of its event loop: nothing is sent to the peer."""


class Carrier(Protocol):
    """One exchange on a connection. Used by one request.

    Attributes:
        was_refused: whether the peer said that it has not processed the request, so that any may be sent again.
        needs_http1: whether it said so because it wants the request in HTTP/1.1.
        trailers: of the response whose body has ended.
    """

    was_refused: bool
    needs_http1: bool
    trailers: Headers

    @property
    def info(self) -> StreamInfo:
        """Facts about the connection, among them whether this is its first exchange."""

    @property
    def extensions(self) -> Mapping[str, object]:
        """What the protocol tells of the response besides, for `response.extensions`, once its head is here."""

    @property
    def has_response_begun(self) -> bool: ...

    @property
    def is_reusable(self) -> bool:
        """Whether the connection can take another request after this one."""

    @property
    def is_switched(self) -> bool:
        """Whether `stream` now belongs to another protocol, or to a tunnel."""

    @property
    def stream(self) -> Stream: ...

    @property
    def unread(self) -> bytes:
        """The first bytes of the other protocol."""

    async def exchange(
        self, request: Request, clock: Clock, on_informational: InformationalCallback | None = None
    ) -> ResponseHead:
        """Send a request and receive the final head of its response.

        Raises: NetworkError, TimeoutException, ProtocolError, and whatever the caller's body or callback raises.
        Cancellation: as after an error, the exchange is over.
        """

    async def receive_body(self, clock: Clock) -> bytes:
        """The next part of the body; b"" at its end.

        Raises: NetworkError, TimeoutException, RemoteProtocolError, and what the caller's body raises.
        Cancellation: as after an error, the exchange is over.
        """

    @property
    def has_ended(self) -> bool:
        """Whether all of the response is here, though perhaps not taken, and no upload goes on."""

    def take_parts(self) -> deque[bytes]:
        """The parts of the body that are already here."""

    async def drain(self, clock: Clock) -> None:
        """End the exchange before the caller has read the response, as cheaply as the protocol allows.

        Cancellation: the exchange is over.
        """

    def close(self) -> None:
        """End the exchange at once. Never waits, never fails, idempotent."""

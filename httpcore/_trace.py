"""What `trace=` is called with: one frozen event per thing that happened, in the order in which it did.

Times are seconds of the pool's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ._errors import HTTPCoreError
from ._headers import Headers

__all__ = [
    "ConnectFailed",
    "Connected",
    "Connecting",
    "ConnectionAcquired",
    "ConnectionClosed",
    "InformationalReceived",
    "RequestFailed",
    "RequestResent",
    "RequestStarted",
    "ResponseEnded",
    "ResponseStarted",
    "Trace",
    "TraceEvent",
]


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """Args: time: when; origin: `scheme://host:port`."""

    time: float
    origin: str


@dataclass(frozen=True, slots=True)
class RequestStarted(TraceEvent):
    """A request is valid and asks for a connection. `request_id` is the same in all events of one request."""

    request_id: int
    method: str


@dataclass(frozen=True, slots=True)
class Connecting(TraceEvent):
    """A connection is about to be opened."""


@dataclass(frozen=True, slots=True)
class Connected(TraceEvent):
    """A connection was opened, TLS included, in `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ConnectFailed(TraceEvent):
    """A connection could not be opened."""

    error: HTTPCoreError


@dataclass(frozen=True, slots=True)
class ConnectionAcquired(TraceEvent):
    """A request was given a connection, new or used before."""

    request_id: int
    is_reused: bool


@dataclass(frozen=True, slots=True)
class InformationalReceived(TraceEvent):
    """An interim response (1xx) came."""

    request_id: int
    status_code: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class ResponseStarted(TraceEvent):
    """The head of the response came."""

    request_id: int
    status_code: int


@dataclass(frozen=True, slots=True)
class ResponseEnded(TraceEvent):
    """The request let go of its connection: the response was read to its end, closed before, or forgotten, which is
    noticed a little later. After 101 or CONNECT: the stream was closed."""

    request_id: int
    is_complete: bool


@dataclass(frozen=True, slots=True)
class RequestResent(TraceEvent):
    """The connection had ended before the request reached the peer, which is sent again on a new one."""

    request_id: int
    error: HTTPCoreError


@dataclass(frozen=True, slots=True)
class RequestFailed(TraceEvent):
    """The request ended with an error, or was cancelled."""

    request_id: int
    error: BaseException


@dataclass(frozen=True, slots=True)
class ConnectionClosed(TraceEvent):
    """A connection left the pool."""

    reason: str


Trace = Callable[[TraceEvent], object]


class RequestTrace:
    """Reports the events of one request."""

    __slots__ = ("_now", "_origin", "_request_id", "_trace")

    def __init__(self, trace: Trace, now: Callable[[], float], origin: str, request_id: int) -> None:
        self._trace = trace
        self._now = now
        self._origin = origin
        self._request_id = request_id

    def started(self, method: bytes) -> None:
        report(self._trace, RequestStarted(self._now(), self._origin, self._request_id, method.decode("ascii")))

    def acquired(self, is_reused: bool) -> None:
        report(self._trace, ConnectionAcquired(self._now(), self._origin, self._request_id, is_reused))

    def informational(self, status_code: int, headers: Headers) -> None:
        report(self._trace, InformationalReceived(self._now(), self._origin, self._request_id, status_code, headers))

    def response_started(self, status_code: int) -> None:
        report(self._trace, ResponseStarted(self._now(), self._origin, self._request_id, status_code))

    def ended(self, is_complete: bool) -> None:
        report(self._trace, ResponseEnded(self._now(), self._origin, self._request_id, is_complete))

    def resent(self, error: HTTPCoreError) -> None:
        report(self._trace, RequestResent(self._now(), self._origin, self._request_id, error))

    def failed(self, error: BaseException) -> None:
        report(self._trace, RequestFailed(self._now(), self._origin, self._request_id, error))


def report(trace: Trace, event: TraceEvent) -> None:
    """Call a hook. What it raises is logged and never breaks the request that it watches."""
    try:
        trace(event)
    except Exception:
        import logging

        logging.getLogger("httpcore").exception("the trace hook failed on %r", event)

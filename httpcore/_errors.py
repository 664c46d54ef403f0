"""What can go wrong, as one tree of exceptions under `HTTPCoreError`.

Every exception that leaves this library because of the network, a peer or a request is one of these; what it wraps is
its `__cause__`. Wrong *types* of arguments are Python's own `TypeError`, and options that contradict each other are
`ValueError`, both raised before anything is sent.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ConnectError",
    "ConnectTimeout",
    "DecodingError",
    "HTTPCoreError",
    "InvalidURL",
    "LocalProtocolError",
    "NetworkError",
    "PoolClosed",
    "PoolTimeout",
    "ProtocolError",
    "ProxyError",
    "ReadError",
    "ReadTimeout",
    "RemoteProtocolError",
    "ResponseNotRead",
    "StreamClosed",
    "StreamConsumed",
    "TimeoutException",
    "TotalTimeout",
    "UnsupportedProtocol",
    "WriteError",
    "WriteTimeout",
]


class HTTPCoreError(Exception):
    """The root of everything this library raises on purpose.

    Attributes:
        request_sent: False where it is certain that no byte of the request reached the peer, so that sending it again
            is safe whatever its method is. True means that it may have been processed.
    """

    request_sent: bool = False

    def explain(self, context: str) -> None:
        """Add once, in place, what was being done when this happened (the traceback stays as it is)."""
        if not getattr(self, "_is_explained", False):
            self._is_explained = True
            self.args = (f"{self.args[0]} ({context})" if self.args else context,)


class NetworkError(HTTPCoreError):
    """The network between us and the peer failed."""


class ConnectError(NetworkError):
    """No connection could be made: the name, the address, the TLS handshake or the certificate failed."""


class ReadError(NetworkError):
    """The connection broke while something was to be received: a reset, or an end that is not an HTTP matter."""


class WriteError(NetworkError):
    """The connection broke while the request was being sent."""


class TimeoutException(HTTPCoreError, TimeoutError):
    """A deadline passed. Also a `TimeoutError`, so generic code may catch it as that."""


class ConnectTimeout(TimeoutException):
    """Name resolution, TCP connect and TLS handshake together took longer than `Timeout.connect`."""


class ReadTimeout(TimeoutException):
    """The peer sent no response head, or no further byte of the body, within `Timeout.read`."""


class WriteTimeout(TimeoutException):
    """The peer did not take the bytes of the request within `Timeout.write`."""


class PoolTimeout(TimeoutException):
    """No connection became free within `Timeout.pool`."""


class TotalTimeout(TimeoutException):
    """The request as a whole took longer than `Timeout.total`; the message names the phase it was in."""


class ProtocolError(HTTPCoreError):
    """The rules of HTTP were broken."""


class LocalProtocolError(ProtocolError):
    """What we were asked to send is not valid HTTP. Nothing that is not valid was sent."""


class RemoteProtocolError(ProtocolError):
    """What the peer sent is not valid HTTP, or it ended before it was complete."""


class ProxyError(HTTPCoreError):
    """The proxy refused, or did not speak its protocol.

    Attributes:
        status_code: of its answer to CONNECT, or the 407 to a request that it was to forward; None where it gave none,
            as in SOCKS.
        reason: of the same.
        headers: of the same, names in lower case.
        body: of the same, its first 64 KiB, not decoded.
        socks_code: with which a SOCKS5 proxy said that it does not connect (RFC 1928, 6); None where it said nothing
            of the kind.
    """

    status_code: int | None = None
    reason: str = ""
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""
    socks_code: int | None = None


class UnsupportedProtocol(HTTPCoreError):
    """The scheme of the URL is not one that this library speaks, or not over the connections it has here."""


class InvalidURL(HTTPCoreError, ValueError):
    """The URL cannot be understood, or would not mean the same to everybody who reads it."""


class DecodingError(HTTPCoreError):
    """The body does not decode as its content-encoding says, or decodes to unreasonably much."""

    request_sent = True


class PoolClosed(HTTPCoreError):
    """The pool was closed or is draining, so it takes no request."""


class ResponseNotRead(HTTPCoreError):
    """`response.body` was asked for before `response.read()`; only `stream=True` makes this possible."""

    request_sent = True


class StreamConsumed(HTTPCoreError):
    """The body was already read, or is being read by somebody else, and what has been handed out is not kept."""

    request_sent = True


class StreamClosed(HTTPCoreError):
    """The response, or the stream, was closed before it was read to its end."""

    request_sent = True

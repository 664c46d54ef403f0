"""The sans-I/O interface to HTTP/1.1 of the client's side: bytes in, our events out. One engine per connection.

An engine writes requests and reads heads. The rules of `framing` stand before it, so that what it is given is
well-formed, and read the bodies, so that every engine frames them the same.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from .._errors import RemoteProtocolError
from .._headers import NO_HEADERS, Headers, Pair
from .framing import (
    MAX_INTERIM,
    Body,
    EndOfBody,
    HeadReader,
    ResponseHead,
    frame_body,
    parse_fields,
    read_length,
)

__all__ = ["Event", "HTTP11Engine", "RequestHead"]

Event = ResponseHead | EndOfBody | bytes

_MAX_INTERIM_BYTES = 64 * 1024

_END_WITHOUT_TRAILERS = EndOfBody(NO_HEADERS)
_KEEP_ALIVE = re.compile(rb"(?:^|[ ,])(timeout|max)=([0-9]{1,6})(?=[ ,]|$)", re.IGNORECASE)


class RequestHead(Protocol):
    """What an engine needs to know of a request.

    Attributes:
        method: a token.
        target: bytes of the request line.
        headers: (name, value) as they are to be sent, checked.
        is_chunked: whether the body is sent in chunks.
        may_upgrade: whether the caller asked for another protocol, so that 101 is an answer.
    """

    method: bytes
    target: bytes
    is_chunked: bool
    may_upgrade: bool

    @property
    def headers(self) -> Sequence[Pair]: ...


class HTTP11Engine(ABC):
    """One HTTP/1.1 connection, exchange after exchange.

    Attributes:
        interim_count: interim responses received for the current request.
        has_begun: whether any byte of the current response has been received.
        is_complete: whether the current response has been received to its end.
        is_switched: whether the connection now belongs to another protocol (101, or 2xx to CONNECT).
        unread: bytes beyond the end of the message, or the first ones of the other protocol.
        keepalive_seconds: how long the peer said it keeps an idle connection, or None.
        requests_left: how many more requests the peer said it takes, or None.
    """

    def __init__(self, max_header_bytes: int, max_header_count: int) -> None:
        self._reader = HeadReader(max_header_bytes, max_header_count)
        self.max_header_bytes = max_header_bytes
        self._request: RequestHead | None = None
        self._body: Body | None = None
        self.interim_count = 0
        self._interim_bytes = 0
        self._peer_keeps_alive = False
        self.has_begun = False
        self.is_complete = True
        self.is_switched = False
        self.unread = b""
        self.keepalive_seconds: float | None = None
        self.requests_left: int | None = None

    # Sending.

    def send_head(self, request: RequestHead) -> bytes:
        """Begin an exchange: the bytes of the request head."""
        self._request = request
        self._body = None
        self.interim_count = self._interim_bytes = 0
        self.has_begun = self.is_complete = False
        return self._write_head(request)

    def send_data(self, data: bytes) -> bytes:
        """The bytes that carry a part of the body; never empty for a part that is not."""
        assert self._request is not None
        return b"%x\r\n%b\r\n" % (len(data), data) if self._request.is_chunked else data

    def send_end(self, trailers: Sequence[Pair]) -> bytes:
        """The bytes that end the body, if any; trailers only where it is chunked."""
        assert self._request is not None
        if not self._request.is_chunked:
            return b""
        return b"0\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % pair for pair in trailers)

    def _write_head(self, request: RequestHead) -> bytes:
        parts = [request.method, b" ", request.target, b" HTTP/1.1\r\n"]
        for name, value in request.headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    # Receiving.

    def receive(self, data: bytes) -> list[Event]:
        """The events in `data`, which is not empty.

        Raises: RemoteProtocolError; the engine is of no use after it.
        """
        self.has_begun = True
        events: list[Event] = []
        while data and self._body is None and not self.is_switched:
            found = self._reader.feed(data)
            if found is None:
                return events
            raw, data = found
            self._take_head(raw, data, events)
        if self._body is not None:
            self._take_body(data, events)
        else:
            self.unread = data
        return events

    def receive_end(self) -> list[Event]:
        """The events that the end of the peer's side means.

        Raises: RemoteProtocolError where it comes in the middle of a message.
        """
        if self._body is None:
            if self._reader.has_begun:
                raise RemoteProtocolError("the peer closed the connection in the middle of the response head")
            after = " after an interim response" if self.interim_count else ""
            raise RemoteProtocolError(f"the peer closed the connection without sending a response{after}")
        self._peer_keeps_alive = False
        if self.is_complete:
            return []
        self._body.feed_end()
        self.is_complete = True
        return [EndOfBody(self._body.trailers)]

    def _take_head(self, raw: bytes, rest: bytes, events: list[Event]) -> None:
        assert self._request is not None
        head = self._read_head(raw)
        length = read_length(head.headers, head.named)
        events.append(head)
        status = head.status_code
        if status == 101:
            self.is_switched = True
        elif status < 200:
            self._count_interim(raw)
        elif self._request.method == b"CONNECT" and status < 300:
            self.is_switched = True
        else:
            self._body = frame_body(self._request.method, status, length)
            self._note_keepalive(head)
            if self._body.is_complete:
                self.is_complete = True
                self.unread = rest
                events.append(_END_WITHOUT_TRAILERS)

    def _read_head(self, raw: bytes) -> ResponseHead:
        assert self._request is not None
        if raw[9:12] == b"101" and not self._request.may_upgrade:
            raise RemoteProtocolError("the peer switched protocols (101), which was not asked for")
        try:
            return self._parse_head(raw)
        except RemoteProtocolError:
            headers = Headers(parse_fields(raw, raw.index(b"\n") + 1))
            read_length(headers, dict(headers))  # at fault, it says so in the same words for every engine
            raise

    def _count_interim(self, raw: bytes) -> None:
        self.interim_count += 1
        self._interim_bytes += len(raw)
        if self.interim_count > MAX_INTERIM or self._interim_bytes > _MAX_INTERIM_BYTES:
            raise RemoteProtocolError(f"the peer sent more than {MAX_INTERIM} interim responses, or too large ones")

    def _take_body(self, data: bytes, events: list[Event]) -> None:
        body = self._body
        assert body is not None
        if self.is_complete:
            self.unread = data
            return
        if not data:
            return
        events += body.feed(data)
        if body.is_complete:
            self.is_complete = True
            self.unread = body.unread
            events.append(EndOfBody(body.trailers) if body.trailers else _END_WITHOUT_TRAILERS)

    def _note_keepalive(self, head: ResponseHead) -> None:
        """Whether and how long the peer keeps the connection (RFC 9112, 9.3)."""
        named = head.named
        is_old = head.http_version == b"1.0"
        self._peer_keeps_alive = not is_old
        self.keepalive_seconds = self.requests_left = None
        if b"connection" in named:
            is_once = len(named) == len(head.headers)
            value = named[b"connection"] if is_once else b",".join(head.headers.get_list(b"connection"))
            tokens = [token.strip() for token in value.lower().split(b",")]
            self._peer_keeps_alive = b"close" not in tokens and (not is_old or b"keep-alive" in tokens)
        if is_old and b"transfer-encoding" in named:  # RFC 9112, 6.1: the framing of such a message is faulty
            self._peer_keeps_alive = False
        if b"keep-alive" in named:
            self._note_hints(named[b"keep-alive"])

    def _note_hints(self, value: bytes) -> None:
        for key, number in _KEEP_ALIVE.findall(value):
            if key.lower() == b"timeout":
                self.keepalive_seconds = float(number)
            else:
                self.requests_left = int(number)

    def refuse_reuse(self) -> None:
        """Nothing may follow the request: it was not sent to its end, or said close."""
        self._peer_keeps_alive = False

    @property
    def is_reusable(self) -> bool:
        """Whether the exchange is complete and well-framed, so that another may follow it."""
        return self.is_complete and self._peer_keeps_alive and not self.unread and self.requests_left != 0

    @abstractmethod
    def _parse_head(self, raw: bytes) -> ResponseHead:
        """Read a head that `HeadReader` has found complete and well-formed.

        Raises: RemoteProtocolError.
        """

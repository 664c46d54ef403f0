"""The sans-I/O interface to HTTP/2 of the client's side: bytes in, calls to `HTTP2Events` out. One engine a connection.

An engine frames, compresses and keeps the windows. What a response may consist of is decided here, so that every engine
decides the same, and so that a malformed response costs its stream and not its siblings (RFC 9113, 8.1.1).
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Protocol

from .._errors import RemoteProtocolError
from .._headers import VALUE, Headers, Pair
from .framing import MAX_INTERIM, MAX_TRAILER_COUNT, NOT_IN_TRAILERS, ResponseHead

__all__ = ["ErrorCode", "HTTP2Engine", "HTTP2Events", "ResponseReader"]


class ErrorCode(IntEnum):
    """RFC 9113, 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


def name_of(code: int) -> str:
    """What messages call an error code, which may be unknown."""
    return ErrorCode(code).name if code in ErrorCode._value2member_map_ else f"error {code}"


class HTTP2Events(Protocol):
    """What an engine tells. It is called in the middle of `HTTP2Engine.receive`, and must neither wait nor fail."""

    def headers_received(self, stream_id: int, fields: list[Pair], is_end: bool) -> None:
        """A header block of an open stream, as it was sent: a response, an interim one, or trailers."""

    def data_received(self, stream_id: int, data: bytes, is_end: bool) -> None:
        """A part of the body of an open stream. What is not empty has to be given back by `HTTP2Engine.credit`."""

    def stream_reset(self, stream_id: int, code: int, is_remote: bool) -> None:
        """A stream has ended by RST_STREAM, the peer's or one that the engine had to send."""

    def window_opened(self, stream_id: int) -> None:
        """More may be sent on a stream, or on all for 0."""

    def settings_received(self) -> None:
        """`max_streams` and the like may have changed."""

    def going_away(self, last_stream_id: int, code: int, reason: bytes) -> None:
        """The peer takes no more streams, and has not processed those above `last_stream_id`."""

    def pong(self) -> None:
        """The peer has answered a `ping`."""


class HTTP2Engine(Protocol):
    """One HTTP/2 connection. What it has to send collects until `take_output`.

    Attributes:
        max_streams: how many streams the peer takes at once.
        has_extended_connect: whether the peer takes CONNECT with a `:protocol` (RFC 8441).
    """

    max_streams: int
    has_extended_connect: bool

    def open_stream(self, fields: list[Pair], is_end: bool) -> int | None:
        """Send a request head; its stream id, or None where none is left."""

    def send_data(self, stream_id: int, data: memoryview, is_end: bool) -> int:
        """Send as much of a body as the windows allow, with its end behind the last byte. The bytes are not copied, and
        must not change until `take_output`.

        Returns: how much was sent.
        """

    def send_trailers(self, stream_id: int, fields: list[Pair]) -> None:
        """End a body by trailers."""

    def credit(self, stream_id: int, count: int) -> bool:
        """So many bytes of a body were used, and the peer may send as many again. Whether there is output for it."""

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream at once, where it has not ended. Nothing more is told of it."""

    def forget(self, stream_id: int) -> None:
        """Tell nothing more of a stream, which has ended by itself."""

    def ping(self) -> None: ...

    def go_away(self, code: int) -> None:
        """Say that the connection ends."""

    def receive(self, data: bytes, events: HTTP2Events) -> None:
        """Take in what has come.

        Raises: RemoteProtocolError for an error of the connection; a GOAWAY with its code is then in the output.
        """

    def take_output(self) -> bytes:
        """What has to be sent, once."""


_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9a-z]++\0" + VALUE + rb"\n)*+")
_STATUS = re.compile(rb"[1-9][0-9]{2}")
_LENGTH = re.compile(rb"[0-9]{1,19}")
# RFC 9113, 8.2.2.
_CONNECTION_SPECIFIC = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")


class ResponseReader:
    """One response, header block by header block: what it may consist of, and how long it has to be.

    Args:
        method: of the request.
        max_count: header fields of one head.
    """

    __slots__ = ("_has_head", "_has_no_body", "_max_count", "_method", "_remaining", "interim_count", "is_tunnel")

    def __init__(self, method: bytes, max_count: int) -> None:
        self._method = method
        self._max_count = max_count
        self._has_head = self._has_no_body = self.is_tunnel = False
        self._remaining: int | None = None
        self.interim_count = 0

    def read_headers(self, fields: list[Pair], is_end: bool) -> ResponseHead | Headers:
        """A head, interim where its status is below 200, or the trailers.

        Raises: RemoteProtocolError where the response is malformed.
        """
        if self._has_head:
            return self._read_trailers(fields, is_end)
        if not fields or fields[0][0] != b":status":
            raise RemoteProtocolError("the response head does not begin with :status")
        if len(fields) - 1 > self._max_count:
            raise RemoteProtocolError(
                f"the response head has more than {self._max_count} header fields (Limits.max_header_count)"
            )
        status = fields[0][1]
        if _STATUS.fullmatch(status) is None or status == b"101":
            raise RemoteProtocolError(f"the response status is {status[:20]!r}")
        headers = Headers(fields[1:])
        _check_fields(headers)
        named = dict(headers)
        head = ResponseHead(int(status), b"", b"2", headers, named)
        if head.status_code < 200:
            self._count_interim(is_end)
        else:
            self._has_head = True
            self._frame(head, is_end)
        return head

    def _count_interim(self, is_end: bool) -> None:
        self.interim_count += 1
        if is_end:
            raise RemoteProtocolError("an interim response ended the stream")
        if self.interim_count > MAX_INTERIM:
            raise RemoteProtocolError(f"the peer sent more than {MAX_INTERIM} interim responses")

    def _frame(self, head: ResponseHead, is_end: bool) -> None:
        lengths = set(head.headers.get_list(b"content-length")) if b"content-length" in head.named else ()
        for length in lengths:
            if _LENGTH.fullmatch(length) is None:
                raise RemoteProtocolError(f"the content-length {length[:40]!r} is not a number of bytes")
        if len(lengths) > 1:
            raise RemoteProtocolError("the response has content-lengths that differ")
        status = head.status_code
        if self._method == b"CONNECT" and status < 300:
            self.is_tunnel = True
        elif self._method == b"HEAD" or status in (204, 304):
            self._has_no_body = True
        elif lengths:
            self._remaining = int(head.named[b"content-length"])
        if is_end:
            self._end()

    def _read_trailers(self, fields: list[Pair], is_end: bool) -> Headers:
        if not is_end:
            raise RemoteProtocolError("a second response head came where only trailers may")
        if len(fields) > MAX_TRAILER_COUNT:
            raise RemoteProtocolError(f"the response has more than {MAX_TRAILER_COUNT} trailer fields")
        _check_fields(fields)
        self._end()
        return Headers(pair for pair in fields if pair[0] not in NOT_IN_TRAILERS)

    def read_data(self, size: int, is_end: bool) -> None:
        """Count a part of the body.

        Raises: RemoteProtocolError where it is not as long as announced, or not allowed.
        """
        if not self._has_head:
            raise RemoteProtocolError("the body came before the response head")
        if self._has_no_body and size:
            raise RemoteProtocolError("a body came where there is none: after HEAD, or with 204 or 304")
        if self._remaining is not None:
            self._remaining -= size
            if self._remaining < 0:
                raise RemoteProtocolError("the body is longer than its content-length")
        if is_end:
            self._end()

    def _end(self) -> None:
        if self._remaining:
            raise RemoteProtocolError(f"the body ended {self._remaining} bytes short of its content-length")


def _check_fields(fields: list[Pair] | Headers) -> None:
    """Names and values as RFC 9113, 8.2.1 has them, in one pass: a line feed in a value makes a line too many."""
    block = b"".join([b"%b\0%b\n" % field for field in fields])
    valid = _FIELDS.match(block)
    if valid is None or valid.end() != len(block) or block.count(b"\n") != len(fields):
        raise RemoteProtocolError("a header field has a name that is not a lower-case token, or a value with controls")
    for name, value in fields:
        if name in _CONNECTION_SPECIFIC or (name == b"te" and value != b"trailers"):
            raise RemoteProtocolError(f"the header {name.decode('ascii')!r} does not belong into HTTP/2")

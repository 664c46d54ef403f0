"""The framing rules of HTTP/1.1: where a head ends, whether it is well-formed, and how its body is delimited.

They are ours, and checked whichever engine reads, so that every engine refuses the same input with the same words.
Where RFC 9112 lets a client choose between accepting and refusing what is doubtful, we refuse:

- lines end in CRLF; a bare LF or CR, a NUL, another control character and line folding are errors;
- nothing precedes the status line, and the version is 1.0 or 1.1;
- Content-Length is there once, in digits; Transfer-Encoding is `chunked`, once; never both;
- a chunk size is hexadecimal digits, and what surrounds the data of a chunk is bounded.

Source: RFC 9112, 2.2, 4, 5, 6 and 7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from .._errors import RemoteProtocolError
from .._headers import NO_HEADERS, Headers, Pair, is_secret

__all__ = [
    "MAX_INTERIM",
    "MAX_TRAILER_COUNT",
    "NOT_IN_TRAILERS",
    "Body",
    "ChunkedBody",
    "EndOfBody",
    "HeadReader",
    "LengthBody",
    "NoBody",
    "ResponseHead",
    "UntilCloseBody",
    "frame_body",
    "parse_fields",
    "read_length",
]

# One header line: nginx, Apache and Go refuse less, Chromium refuses more than 256 KiB for the whole head.
_MAX_LINE = 64 * 1024
# The line of a chunk size with its extensions, and all trailers together: Go's net/http.
_MAX_CHUNK_LINE = 4096
_MAX_TRAILER_BYTES = 16 * 1024
MAX_TRAILER_COUNT = 100
# Go's net/http: bytes beside the data of chunks may exceed a fair share of 16 a chunk by this much in all.
_MAX_CHUNK_EXCESS = 16 * 1024
_CHUNK_SHARE = 16
_MAX_LENGTH = 2**63 - 1
_MAX_LENGTH_DIGITS = 20  # h11 takes as many
# Interim responses before a final one. Chromium and Go bound them by the bytes of the head; nobody honest sends ten.
MAX_INTERIM = 100

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [\t \x21-\x7e\x80-\xff]*+)?\r\n")
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb":[\t \x21-\x7e\x80-\xff]*+\r\n)*+")
_HEAD = re.compile(_STATUS_LINE.pattern + _FIELDS.pattern + rb"\r\n")
_FIELD = re.compile(
    rb"(" + _TOKEN + rb"):[ \t]*+((?:[\x21-\x7e\x80-\xff]++|[ \t]++(?=[\x21-\x7e\x80-\xff]))*+)[ \t]*+\r\n"
)
_BARE_LF = re.compile(rb"(?<!\r)\n")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*+(?:;[\t \x21-\x7e\x80-\xff]*+)?")
NOT_IN_TRAILERS = frozenset(
    {b"content-length", b"transfer-encoding", b"host", b"set-cookie", b"content-encoding", b"trailer", b"connection"}
)  # RFC 9110, 6.5.1: framing, routing and what must be known before the body


class ResponseHead(NamedTuple):
    """A response head: interim where `status_code` is below 200, save 101.

    Args:
        named: the headers by name; the last one, where a name is there more than once.
    """

    status_code: int
    reason: bytes
    http_version: bytes
    headers: Headers
    named: Mapping[bytes, bytes]


class EndOfBody(NamedTuple):
    """The end of a message, with the trailer fields of a chunked one."""

    trailers: Headers


class HeadReader:
    """Collects bytes until a head is complete and well-formed. In linear time, however it is split.

    Args:
        max_bytes: of one head.
        max_count: header fields of one head.
    """

    __slots__ = ("_buffer", "_max_bytes", "_max_count", "_max_unchecked", "_searched")

    def __init__(self, max_bytes: int, max_count: int) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._max_bytes = max_bytes
        self._max_count = max_count
        self._max_unchecked = min(max_bytes, _MAX_LINE)

    @property
    def has_begun(self) -> bool:
        return bool(self._buffer)

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """(head, what follows it) once the head is complete, or None.

        Raises: RemoteProtocolError, as early as it is certain.
        """
        if not self._buffer and (found := _HEAD.match(data)) is not None:
            head = found[0]
            self._check_limits(head)
            return head, data[len(head) :]
        buffer = self._buffer
        buffer += data
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0:
            self._check_unfinished()
            self._searched = len(buffer)
            return None
        head, rest = bytes(buffer[: end + 4]), bytes(buffer[end + 4 :])
        self._buffer = bytearray()
        self._searched = 0
        self._check_limits(head)
        if _HEAD.fullmatch(head) is None:
            _refuse_head(head)
        return head, rest

    def _check_limits(self, head: bytes) -> None:
        if len(head) > self._max_unchecked:
            self._check_size(head)
        if head.count(b"\n") - 2 > self._max_count:
            _refuse(f"the response head has more than {self._max_count} header fields (Limits.max_header_count)")

    def _check_unfinished(self) -> None:
        start = bytes(self._buffer[:7])
        if not b"HTTP/1.".startswith(start):
            _refuse_status_line(bytes(self._buffer[:80]))
        if _BARE_LF.search(self._buffer, self._searched):
            _refuse("a line of the response head ends in LF without CR")
        line_start = self._buffer.rfind(b"\n") + 1 if len(self._buffer) > _MAX_LINE else 0
        if len(self._buffer) > self._max_bytes or len(self._buffer) - line_start > _MAX_LINE:
            self._check_size(bytes(self._buffer))

    def _check_size(self, head: bytes) -> None:
        if len(head) > self._max_bytes:
            _refuse(f"the response head is longer than {self._max_bytes} bytes (Limits.max_header_bytes)")
        if max(map(len, head.split(b"\r\n"))) > _MAX_LINE:
            _refuse(f"a line of the response head is longer than {_MAX_LINE} bytes")


def _refuse_head(head: bytes) -> NoReturn:
    status = _STATUS_LINE.match(head)
    if status is None:
        _refuse_status_line(head)
    _refuse(f"a header line is not `name: value` in visible characters: {_bad_line(head, status.end())!r}")


def _bad_line(block: bytes, begin: int) -> bytes:
    """The beginning of the first line that is not valid; of a cookie no more than its name."""
    fields = _FIELDS.match(block, begin)
    assert fields is not None
    line = block[fields.end() :].split(b"\r\n", 1)[0]
    name, colon, _ = line.partition(b":")
    return name + b": [secret]" if colon and is_secret(name.strip()) else line[:80]


def _refuse_status_line(head: bytes) -> NoReturn:
    line = head.split(b"\r\n", 1)[0][:80]
    hint = ""
    if head[:1] in (b"\x15", b"\x16"):
        hint = "; the peer seems to speak TLS there: is it https://?"
    elif head[:2] == b"\x00\x00" and head[3:4] == b"\x04":  # a SETTINGS frame
        hint = "; the peer seems to speak HTTP/2 there"
    _refuse(f"what the peer sent does not begin with an HTTP/1.0 or HTTP/1.1 status line: {line!r}{hint}")


def _refuse(reason: str) -> NoReturn:
    raise RemoteProtocolError(reason)


class Body:
    """What delimits a body. `feed` takes raw bytes and gives the parts of the body that were in them.

    Attributes:
        is_complete: whether the last byte of the message has been fed.
        unread: bytes that were fed beyond it.
    """

    __slots__ = ("is_complete", "unread")

    trailers = NO_HEADERS

    def __init__(self) -> None:
        self.is_complete = False
        self.unread = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Raises: RemoteProtocolError."""
        raise NotImplementedError

    def feed_end(self) -> None:
        """The peer has ended its side.

        Raises: RemoteProtocolError where the message is not complete.
        """
        raise NotImplementedError


class NoBody(Body):
    """HEAD, 204, 304, and a length of 0: complete with its head."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.is_complete = True

    def feed(self, data: bytes) -> list[bytes]:
        self.unread += data
        return []

    def feed_end(self) -> None:
        return None


class LengthBody(Body):
    """Delimited by Content-Length."""

    __slots__ = ("_length", "_remaining")

    def __init__(self, length: int) -> None:
        self.is_complete = False
        self.unread = b""
        self._length = self._remaining = length

    def feed(self, data: bytes) -> list[bytes]:
        size = len(data)
        if size < self._remaining:
            self._remaining -= size
            return [data]
        self.is_complete = True
        if size > self._remaining:
            self.unread = data[self._remaining :]
            data = data[: self._remaining]
        self._remaining = 0
        return [data] if data else []

    def feed_end(self) -> None:
        received = self._length - self._remaining
        _refuse(f"the peer closed the connection after {received} of the {self._length} bytes of the body")


class UntilCloseBody(Body):
    """Delimited by the end of the connection."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[bytes]:
        return [data]

    def feed_end(self) -> None:
        self.is_complete = True


class ChunkedBody(Body):
    """Delimited by chunks (RFC 9112, 7.1)."""

    __slots__ = ("_excess", "_held", "_in_trailers", "_remaining", "trailers")

    def __init__(self) -> None:
        super().__init__()
        self._held = b""  # an unfinished line
        self._remaining = 0  # bytes of the current chunk, its CRLF included
        self._excess = 0
        self._in_trailers = False
        self.trailers = NO_HEADERS

    def feed(self, data: bytes) -> list[bytes]:
        parts: list[bytes] = []
        searched = len(self._held)
        if searched:
            data, self._held = self._held + data, b""
        position = 0
        while position < len(data):
            if self._in_trailers:
                self._feed_trailers(data[position:], 0 if position else searched)
                break
            if self._remaining:
                position = self._take_data(data, position, parts)
                continue
            end = data.find(b"\r\n", position, position + _MAX_CHUNK_LINE)
            if end < 0:
                self._hold_line(data[position:])
                break
            self._begin_chunk(data[position:end])
            position = end + 2
        return parts

    def _take_data(self, data: bytes, position: int, parts: list[bytes]) -> int:
        size = self._remaining - 2
        if size > 0:
            part = data[position : position + size]
            parts.append(part)
            self._remaining -= len(part)
            return position + len(part)
        expected = b"\r\n"[2 - self._remaining :]
        found = data[position : position + self._remaining]
        if not expected.startswith(found):
            _refuse(f"a chunk is not followed by CRLF but by {found!r}")
        self._remaining -= len(found)
        return position + len(found)

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None or (size := int(match[1], 16)) > _MAX_LENGTH:
            _refuse(f"a chunk begins with {line[:40]!r}, which is not a size in hexadecimal")
        self._excess = max(0, self._excess + len(line) + 2 - _CHUNK_SHARE - 2 * size)
        if self._excess > _MAX_CHUNK_EXCESS:
            _refuse("the chunks of the body hold too much that is not data")
        self._remaining = size + 2 if size else 0
        self._in_trailers = not size

    def _hold_line(self, line: bytes) -> None:
        if b"\n" in line or len(line) >= _MAX_CHUNK_LINE:
            _refuse(f"the line of a chunk size does not end in CRLF within {_MAX_CHUNK_LINE} bytes: {line[:40]!r}")
        self._held = line

    def _feed_trailers(self, data: bytes, searched: int) -> None:
        if data.startswith(b"\r\n"):
            self.is_complete, self.unread = True, data[2:]
            return
        end = data.find(b"\r\n\r\n", max(0, searched - 3))
        block = data[: end + 2] if end >= 0 else data
        if len(block) > _MAX_TRAILER_BYTES or block.count(b"\n") > MAX_TRAILER_COUNT:
            _refuse(f"the trailers are longer than {_MAX_TRAILER_BYTES} bytes or {MAX_TRAILER_COUNT} fields")
        if end < 0:
            if _BARE_LF.search(data, searched):
                _refuse("a trailer line ends in LF without CR")
            self._held = data
            return
        self.trailers = _parse_trailers(block)
        self.is_complete, self.unread = True, data[end + 4 :]

    def feed_end(self) -> None:
        where = "its trailers" if self._in_trailers else "a chunk"
        _refuse(f"the peer closed the connection in the middle of {where}, before the end of the chunked body")


def _parse_trailers(block: bytes) -> Headers:
    if (fields := _FIELDS.fullmatch(block)) is None:
        _refuse(f"a trailer line is not `name: value` in visible characters: {_bad_line(block, 0)!r}")
    return Headers(pair for pair in parse_fields(fields[0], 0) if pair[0] not in NOT_IN_TRAILERS)


def parse_fields(block: bytes, start: int) -> list[Pair]:
    """The fields of a block that was found well-formed, from `start` on; names in lower case."""
    return [(name.lower(), value) for name, value in _FIELD.findall(block, start)]


CHUNKED = -1
"""What `read_length` says of a body in chunks."""


def read_length(headers: Headers, named: Mapping[bytes, bytes]) -> int | None:
    """What a response head, an interim one too, says of its body (RFC 9112, 6.3): its length, `CHUNKED`, or nothing.

    Args:
        named: the headers by name.

    Raises: RemoteProtocolError where the head says it in a way that two readers may understand differently.
    """
    if len(named) != len(headers):
        for name in (b"content-length", b"transfer-encoding"):
            if len(headers.get_list(name)) > 1:
                _refuse(f"the response has more than one {name.decode('ascii')}")
    length, coding = named.get(b"content-length"), named.get(b"transfer-encoding")
    size = None if length is None else _to_length(length)
    if coding is None:
        return size
    if coding.lower() != b"chunked":
        _refuse(f"the Transfer-Encoding {coding[:40]!r} was not asked for: only `chunked` is understood")
    if size is not None:
        _refuse("the response has both Transfer-Encoding and Content-Length")
    return CHUNKED


def _to_length(value: bytes) -> int:
    if not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS or (length := int(value)) > _MAX_LENGTH:
        _refuse(f"the Content-Length {value[:40]!r} is not a number of bytes")
    return length


def frame_body(method: bytes, status_code: int, length: int | None) -> Body:
    """How the body of a final response is delimited (RFC 9112, 6.3).

    Args:
        length: by `read_length`.
    """
    if length == 0 or method == b"HEAD" or status_code in (204, 304):
        return NoBody()
    if length is None:
        return UntilCloseBody()
    return ChunkedBody() if length == CHUNKED else LengthBody(length)

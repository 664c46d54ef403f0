"""Bytes of a peer: a blocking socket, TLS over anything, and HTTP/1.1 requests read strictly from either.

TLS runs over memory buffers rather than `ssl.SSLSocket`, so that it can be layered (TLS in TLS), end without a
close_notify, and start in the middle of a connection.
"""

from __future__ import annotations

import contextlib
import re
import select
import selectors
import socket
import ssl
import struct
from dataclasses import dataclass, field, replace
from typing import Protocol
from weakref import WeakKeyDictionary

# The most that TLS puts into one record (RFC 8446, 5.1); fits what a client sends in one piece.
_CHUNK = 16_384

# RFC 9110, 5.6.2, and RFC 9112, 3: nothing but this may come from a client of ours.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-~\x80-\xff]+) (HTTP/1\.[01])")
_FIELD_LINE = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")


class Disconnected(Exception):
    """The client ended or reset the connection while the script wanted more from it.

    Args:
        is_between_requests: whether it did so where a client may: with nothing of a request sent.
    """

    def __init__(self, message: str, is_between_requests: bool = False) -> None:
        super().__init__(message)
        self.is_between_requests = is_between_requests


class BadRequest(AssertionError):
    """The client sent what is not HTTP/1.1. Never expected."""


class ByteLayer(Protocol):
    def recv(self, max_bytes: int) -> bytes: ...

    def sendall(self, data: bytes) -> None: ...


class SocketLayer:
    """A connected blocking socket, with a timeout, whose errors are `Disconnected`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def recv(self, max_bytes: int) -> bytes:
        try:
            return self.sock.recv(max_bytes)
        except ConnectionError as exc:
            raise Disconnected(f"the client reset the connection: {exc}") from exc

    def sendall(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except ConnectionError as exc:
            raise Disconnected(f"the client closed the connection while we sent: {exc}") from exc

    def reset(self) -> None:
        """Close with RST: no lingering, whatever is unsent is dropped."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    @property
    def is_readable(self) -> bool:
        """Whether bytes wait in it, or its end."""
        with selectors.DefaultSelector() as selector:  # select() itself knows no descriptor above 1023
            selector.register(self.sock, selectors.EVENT_READ)
            return bool(selector.select(0))

    @property
    def is_ended(self) -> bool:
        """Whether the client has ended or reset the connection, seen without taking what it may have sent before."""
        try:
            if hasattr(select, "POLLRDHUP"):
                poll = select.poll()
                poll.register(self.sock, select.POLLRDHUP)
                return bool(poll.poll(0))
            # Elsewhere only an end that comes after everything was read can be seen.
            return self.is_readable and not self.sock.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return True
        except ValueError:  # the script has closed it, perhaps in this moment: it has no descriptor any more
            return True


# A context, and so its callback, is shared by many connections, in many threads.
_server_names: WeakKeyDictionary[ssl.SSLObject | ssl.SSLSocket, str | None] = WeakKeyDictionary()


def _note_server_name(tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
    _server_names[tls] = name


class TLSLayer:
    """The server side of TLS over another layer."""

    def __init__(self, lower: ByteLayer, context: ssl.SSLContext) -> None:
        self._lower = lower
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context.sni_callback = _note_server_name
        self.object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                self.object.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._feed()
            except ssl.SSLError:
                self._flush()  # the alert
                raise
        self._flush()
        self.server_name = _server_names.get(self.object)

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._lower.sendall(data)

    def _feed(self) -> None:
        data = self._lower.recv(_CHUNK)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def recv(self, max_bytes: int) -> bytes:
        while True:
            try:
                return self.object.read(max_bytes)
            except ssl.SSLWantReadError:
                self._flush()
                self._feed()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError:
                return b""  # many clients close without a close_notify, and may

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self.object.write(view) :]
            except ssl.SSLEOFError as exc:
                raise Disconnected(f"the client closed the connection before we sent: {exc}") from exc
            self._flush()

    def close_notify(self) -> None:
        """Say that nothing more comes, without waiting for the client to say so too."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.object.unwrap()
        self._flush()


@dataclass(frozen=True)
class Req:
    """A request as the peer saw it. Names as sent; `header` looks them up in any case."""

    method: bytes
    target: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    raw_head: bytes
    """Everything up to and including the empty line."""
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    """The pieces of a chunked body, as the client cut them."""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    connection: int = -1
    """The index of the connection it came on."""

    def header(self, name: bytes) -> bytes | None:
        """The value of a header that comes once; None where it does not come at all."""
        values = self.header_list(name)
        if len(values) > 1:
            raise BadRequest(f"the client sent {name!r} more than once: {values}")
        return values[0] if values else None

    def header_list(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class RequestReader:
    """Buffered, strict reading from a layer."""

    def __init__(self, layer: ByteLayer) -> None:
        self.layer = layer
        self._buffer = bytearray()

    def recv(self, max_bytes: int) -> bytes:
        """The next bytes, or b"" at the end."""
        if not self._buffer:
            return self.layer.recv(max_bytes)
        data = bytes(self._buffer[:max_bytes])
        del self._buffer[:max_bytes]
        return data

    @property
    def has_buffer(self) -> bool:
        """Whether more was read than was asked for."""
        return bool(self._buffer)

    def take_buffer(self) -> bytes:
        """What was read beyond what was asked for."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def recv_exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more(f"{count} bytes")
        return self.recv(count) if count else b""

    def recv_until(self, end: bytes) -> bytes:
        """Everything up to and including `end`."""
        searched = 0
        while (at := self._buffer.find(end, searched)) < 0:
            searched = max(0, len(self._buffer) - len(end) + 1)
            self._more(repr(end))
        return self.recv(at + len(end))

    def _more(self, wanted: str) -> None:
        data = self.layer.recv(65_536)
        if not data:
            have = bytes(self._buffer[:200])
            raise Disconnected(f"the client closed the connection; we wanted {wanted} and have {have!r}")
        self._buffer += data

    def read_head(self) -> Req:
        try:
            raw = self.recv_until(b"\r\n\r\n")
        except Disconnected as exc:
            exc.is_between_requests = not self._buffer
            raise
        first, *rest = raw[:-4].split(b"\r\n")
        line = _REQUEST_LINE.fullmatch(first)
        if line is None:
            raise BadRequest(f"a bad request line: {first!r}")
        return Req(line[1], line[2], line[3], _fields(rest), raw)

    def read_body(self, head: Req) -> Req:
        """The request with its body, framed as RFC 9112, 6 says."""
        codings, lengths = head.header_list(b"transfer-encoding"), head.header_list(b"content-length")
        if codings and lengths:
            raise BadRequest(f"both transfer-encoding and content-length: {head.headers}")
        if codings:
            if codings != [b"chunked"]:
                raise BadRequest(f"a transfer-encoding that we cannot read: {codings}")
            return self._read_chunked(head)
        length = head.header(b"content-length")
        if length is not None and not length.isdigit():
            raise BadRequest(f"a bad content-length: {length!r}")
        body = self.recv_exactly(int(length)) if length else b""
        return replace(head, body=body)

    def _read_chunked(self, head: Req) -> Req:
        chunks: list[bytes] = []
        while True:
            size = self.recv_until(b"\r\n")[:-2]
            if not re.fullmatch(rb"[0-9A-Fa-f]+", size):
                raise BadRequest(f"a bad chunk size: {size!r}")
            if int(size, 16) == 0:
                break
            chunks.append(self.recv_exactly(int(size, 16)))
            if self.recv_exactly(2) != b"\r\n":
                raise BadRequest("a chunk is longer than its size")
        trailers: list[bytes] = []
        while line := self.recv_until(b"\r\n")[:-2]:
            trailers.append(line)
        return replace(head, body=b"".join(chunks), chunks=chunks, trailers=_fields(trailers))


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    fields: list[tuple[bytes, bytes]] = []
    for line in lines:
        match = _FIELD_LINE.fullmatch(line)
        if match is None:
            raise BadRequest(f"a bad header line: {line!r}")
        fields.append((match[1], match[2]))
    return fields

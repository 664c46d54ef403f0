"""HTTP/1.1 with h11, the reference: pure Python, trusted, always there.

h11 writes the requests and reads the heads; a new `h11.Connection` for each exchange, because bodies are read by the
rules of `framing`, so that it never sees one to its end.
"""

from __future__ import annotations

from collections.abc import Sequence

import h11

from .._errors import LocalProtocolError, RemoteProtocolError
from .._headers import Headers, Pair
from .framing import ResponseHead, parse_fields
from .http11 import HTTP11Engine, RequestHead

__all__ = ["H11Engine"]


class H11Engine(HTTP11Engine):
    _connection: h11.Connection

    def _write_head(self, request: RequestHead) -> bytes:
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=self.max_header_bytes)
        self._send(h11.Request(method=request.method, target=request.target, headers=list(request.headers)))
        return super()._write_head(request)  # h11 would put the host first, and write `chunked` in its own way

    def send_data(self, data: bytes) -> bytes:
        return self._send(h11.Data(data=data))

    def send_end(self, trailers: Sequence[Pair]) -> bytes:
        return self._send(h11.EndOfMessage(headers=list(trailers)))

    def _send(self, event: h11.Event) -> bytes:
        try:
            return self._connection.send(event) or b""
        except h11.LocalProtocolError as exc:
            raise LocalProtocolError(f"the request is not valid: {exc}") from exc

    def _parse_head(self, raw: bytes) -> ResponseHead:
        try:
            self._connection.receive_data(raw)
            event = self._connection.next_event()
        except h11.RemoteProtocolError as exc:
            raise RemoteProtocolError(f"the response head is not valid: {exc}") from exc
        if not isinstance(event, (h11.Response, h11.InformationalResponse)):
            raise RemoteProtocolError(f"the response head is not valid: h11 read {type(event).__name__} in it")
        headers = Headers(parse_fields(raw, raw.index(b"\n") + 1))  # h11 unites and rewrites what concerns the framing
        return ResponseHead(event.status_code, bytes(event.reason), event.http_version, headers, dict(headers))

"""HTTP/1.1 with llhttp reading the heads, by way of httptools."""

from __future__ import annotations

import httptools

from .._errors import RemoteProtocolError
from .._headers import Headers, Pair
from .framing import ResponseHead
from .http11 import HTTP11Engine

__all__ = ["HttptoolsEngine"]


class _Head:
    """What llhttp calls back with. Apart from the engine, so that parser and engine make no cycle."""

    __slots__ = ("is_complete", "pairs", "reason")

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self.reason = b""
        self.is_complete = False

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.is_complete = True


class HttptoolsEngine(HTTP11Engine):
    def _parse_head(self, raw: bytes) -> ResponseHead:
        head = _Head()
        parser = httptools.HttpResponseParser(head)
        try:
            parser.feed_data(raw)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError) as exc:
            if isinstance(exc.__context__, KeyboardInterrupt):  # which came in the middle of one of our callbacks
                raise exc.__context__ from None
            if not head.is_complete:  # otherwise it has read 101, and stops because what follows is not HTTP
                raise RemoteProtocolError(f"the response head is not valid: {exc}") from exc
        pairs = head.pairs
        if b" \r" in raw or b"\t" in raw:  # llhttp leaves some of the blanks at the end of a value
            pairs = [(name, value.rstrip(b" \t")) for name, value in pairs]
        return ResponseHead(parser.get_status_code(), head.reason, raw[5:8], Headers(pairs), dict(pairs))

"""HTTP/1.1 with zttp reading the heads: fast, strict, and experimental by its own word, so used only when asked for.

Of what our rules let pass it refuses status codes from 600 on, more than 100 header fields, and lines or heads beyond
16 KiB; `Limits` can ask for less than that, not for more.
"""

from __future__ import annotations

import zttp

from .._errors import RemoteProtocolError
from .._headers import Headers
from .framing import ResponseHead
from .http11 import HTTP11Engine

__all__ = ["ZttpEngine"]


class ZttpEngine(HTTP11Engine):
    def _parse_head(self, raw: bytes) -> ResponseHead:
        try:
            event = zttp.Connection(zttp.CLIENT).receive_event(raw)
        except zttp.RemoteProtocolError as exc:
            raise RemoteProtocolError(f"the response head is not valid: {exc}") from exc
        if not isinstance(event, zttp.Response):
            raise RemoteProtocolError(f"the response head is not valid: zttp read {type(event).__name__} in it")
        fields = event.headers if isinstance(event.headers, list) else event.headers.to_list(lowercase_names=True)
        return ResponseHead(event.status_code, event.reason, event.http_version, Headers(fields), dict(fields))

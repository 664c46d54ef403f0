"""XMLHttpRequest that blocks: the last resort of blocking code in a browser. A whole body at a time.

It cannot be held to a bound while it is received: Firefox tells of the head in between, in a worker, so that a body
whose content-length is too large is not begun; Chromium tells of nothing before all is there. What is too large is at
least not brought into Python, which would hold it several times.

On the main thread it knows no timeout, and takes a body for text, of which what begins with a byte order mark arrives
damaged; so there it is used with one warning, and a response that is damaged is an error.

Source: the XMLHttpRequest standard of the WHATWG.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Any

import js
from pyodide.ffi import JsException, create_proxy, to_js

from .._backends.emscripten import check_interrupt
from .._clock import Clock
from .._errors import LocalProtocolError, ReadError
from .._fetch_options import MAX_WHOLE_BYTES
from .._fetch_rules import warn_once
from .call import FetchHead, FetchRequest, head_deadline
from .errors import Failure, fetch_error, silence
from .runtime import runtime

__all__ = ["XHRCall"]

_HEADERS_RECEIVED = 2

# What it does in any case; the cache and keepalive are only a matter of speed.
_POSSIBLE: dict[str, tuple[object, ...]] = {
    "credentials": ("same-origin", "include"),
    "mode": ("cors",),
    "redirect": ("follow",),
    "referrerPolicy": (),
    "integrity": (),
}


class XHRCall:
    """One request by XMLHttpRequest. See `Call`."""

    sent_by = "xhr"
    is_untouched = False

    def __init__(self, request: FetchRequest, max_bytes: int | None) -> None:
        self._request = request
        self._max_bytes = MAX_WHOLE_BYTES if max_bytes is None else max_bytes
        self._announced = 0
        self._body = b""

    async def start(self, clock: Clock) -> FetchHead:
        request = self._request
        self._check_options()
        xhr = js.XMLHttpRequest.new()
        xhr.open(request.method, request.url, False)
        for name, value in request.headers:
            xhr.setRequestHeader(name, value)
        xhr.withCredentials = request.options.get("credentials") == "include"
        self._prepare(xhr, clock)
        look = create_proxy(lambda event: self._look_at_head(xhr))
        xhr.onreadystatechange = look
        try:
            xhr.send(None if request.content is None else to_js(request.content))
        except JsException as exc:
            if self._announced > self._max_bytes:
                raise self._too_large(self._announced) from exc
            if exc.name == "TimeoutError":
                raise silence() from exc
            raise fetch_error(Failure.of(exc), request.method, request.url) from exc
        finally:
            xhr.onreadystatechange = None
            look.destroy()
            check_interrupt()
        if self._announced > self._max_bytes:
            raise self._too_large(self._announced)
        if not xhr.status:  # Firefox says so of what did not connect
            raise fetch_error(Failure("NetworkError", "the status is 0"), request.method, request.url)
        self._body = self._received(xhr)
        lines = [line.partition(": ") for line in xhr.getAllResponseHeaders().split("\r\n") if line]
        fields = [(name, value) for name, _, value in lines]
        url = xhr.responseURL
        return FetchHead(xhr.status, xhr.statusText, fields, url, url != request.url, "default")

    def _check_options(self) -> None:
        for name, value in self._request.options.items():
            if value not in _POSSIBLE.get(name, (value,)):
                raise LocalProtocolError(
                    f"{name}={value!r} cannot be had from XMLHttpRequest, with which blocking code is left here: enter "
                    "it by runPythonAsync where the browser has JavaScript Promise Integration, or use ConnectionPool"
                )

    def _prepare(self, xhr: Any, clock: Clock) -> None:
        if runtime().is_worker:
            xhr.responseType = "arraybuffer"
            deadline = head_deadline(self._request, clock)
            if deadline < math.inf:
                xhr.timeout = max(1, round(1000 * (deadline - time.monotonic())))  # 0 would be none
            return
        xhr.overrideMimeType("text/plain; charset=x-user-defined")
        warn_once(
            "xhr",
            "blocking code on the main thread of a page has no timeouts, freezes the page, and reads no body part by "
            "part, unless it is entered by runPythonAsync where the browser has JavaScript Promise Integration",
        )

    def _look_at_head(self, xhr: Any) -> None:
        if xhr.readyState < _HEADERS_RECEIVED or self._request.method == "HEAD":
            return
        length = str(xhr.getResponseHeader("content-length") or "")
        if not length.isdigit():
            return
        self._announced = int(length)
        if xhr.readyState == _HEADERS_RECEIVED and self._announced > self._max_bytes:
            with suppress(JsException):  # of a small body all may have come meanwhile
                xhr.abort()

    def _too_large(self, length: int) -> ReadError:
        error = ReadError(
            f"{self._request.method} {self._request.url}: the body has {length} bytes; {self._max_bytes} are allowed "
            "where it can only be had whole: stream it (by ConnectionPool, or by blocking code that is entered by "
            "runPythonAsync or runs in an isolated worker), or raise max_whole_bytes of the fetch options"
        )
        error.request_sent = True
        return error

    def _received(self, xhr: Any) -> bytes:
        if runtime().is_worker:
            if (length := int(xhr.response.byteLength)) > self._max_bytes:
                raise self._too_large(length)
            return bytes(xhr.response.to_bytes())
        text = str(xhr.responseText)
        if len(text) > self._max_bytes:
            raise self._too_large(len(text))
        # x-user-defined maps bytes beyond ASCII to U+F780 and up, so that any other character is of another encoding.
        data = text.encode("utf-16-le", "surrogatepass")
        if any(byte not in (0x00, 0xF7) for byte in set(data[1::2])):
            error = ReadError(
                f"{self._request.method} {self._request.url}: the body begins with a byte order mark, and arrives "
                "damaged on the main thread: read it in a worker, or by ConnectionPool"
            )
            error.request_sent = True
            raise error
        return data[::2]

    async def read(self, clock: Clock) -> bytes:
        body, self._body = self._body, b""
        return body

    def abort(self) -> None:
        """It is over as soon as `start` returns."""

"""Where request bodies go up part by part, and where they are collected first.

Node and Deno send any stream. A browser sends one over HTTP/2 and later, and does not tell what an origin speaks; but
over HTTP/1.1 it fails before it asks for the first part, and over HTTP/2 it asks before anything can go wrong with the
request. So a stream is tried, and where it fails untouched the body is collected and sent in one piece: nothing of it
was read before, and nothing was sent.

Source: the Fetch standard, 4.5 (HTTP-network-or-cache fetch) and 5.4 (RequestInit).
"""

from __future__ import annotations

import time

from .._fetch_options import FetchOptions
from .._request import Request
from .._urls import Origin
from .runtime import runtime

__all__ = ["collect_for", "is_worth_collecting", "may_stream"]

# What a browser reads ahead of the network in any case: the size of Chromium's data pipes. A body that is known to be
# no longer loses more by a stream, which is sent without a content-length there, than it gains.
_READ_AHEAD = 512 * 1024
# Something else than the protocol may have been the reason. Chromium tries what was broken again after as long.
_REMEMBERED_SECONDS = 300.0
# Origins at which a stream failed and the same body in one piece did not, and when.
_failed: dict[Origin, float] = {}


def may_stream(request: Request, options: FetchOptions) -> bool:
    """Whether to try to send a body part by part."""
    where, body = runtime(), request.body
    assert body is not None
    if not where.streams_up or body.content is not None or options.keepalive or options.mode == "no-cors":
        return False
    if not where.is_browser:
        return True
    is_short = body.length is not None and body.length <= _READ_AHEAD
    return request.url.scheme == "https" and not is_short and not _has_failed(request.url.origin)


def _has_failed(origin: Origin) -> bool:
    return time.monotonic() < _failed.get(origin, -_REMEMBERED_SECONDS) + _REMEMBERED_SECONDS


def is_worth_collecting(is_untouched: bool) -> bool:
    """Whether to try again in one piece what failed as a stream."""
    return is_untouched and runtime().is_browser


def collect_for(request: Request) -> None:
    """Bodies to the origin of a request are collected from now on."""
    _failed[request.url.origin] = time.monotonic()

"""Which JavaScript runs us, and what its fetch does: what no function of it would tell was measured, see the tests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import js
from pyodide.ffi import to_js

__all__ = ["Runtime", "runtime"]

# The Fetch standard, 2.2.2 (forbidden request-headers): browsers drop them without a word.
_FORBIDDEN = frozenset(
    {
        "accept-charset", "accept-encoding", "access-control-request-headers", "access-control-request-method",
        "connection", "content-length", "cookie", "cookie2", "date", "dnt", "expect", "host", "keep-alive", "origin",
        "referer", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "via",
    }
)  # fmt: skip
_FORBIDDEN_PREFIXES = ("proxy-", "sec-")
# What undici, which is Node's fetch, refuses a request for or ignores; Deno's takes them and does as it likes.
_FRAMING = frozenset({"connection", "expect", "host", "keep-alive", "transfer-encoding", "upgrade"})


@dataclass(frozen=True, slots=True)
class Runtime:
    """A JavaScript runtime.

    Args:
        name: "node", "deno" or "browser".
        is_worker: whether this is a worker of a browser.
        codings: the content codings that its fetch undoes.
        streams_up: whether its fetch sends a body part by part; in a browser not to every origin, see `uploads`.
        keeps_reason: whether its statusText is what the server sent.
    """

    name: str
    is_worker: bool
    codings: frozenset[str]
    streams_up: bool
    keeps_reason: bool
    forbidden: frozenset[str]

    @property
    def is_browser(self) -> bool:
        return self.name == "browser"

    def drops(self, name: str) -> bool:
        """Whether a request header, in lower case, does not get through."""
        return name in self.forbidden or (self.is_browser and name.startswith(_FORBIDDEN_PREFIXES))

    def decodes(self, codings: list[str], accepted: str) -> bool:
        """Whether the runtime has undone these content codings, in lower case.

        Args:
            accepted: what was sent as accept-encoding.
        """
        if self.name == "deno" and (len(codings) > 1 or accepted == "identity"):
            return False
        return bool(codings) and self.codings.issuperset(codings)


# The first that undoes zstd.
_UNDICI_WITH_ZSTD = (7, 11)


def _undici_version() -> tuple[int, int]:
    major, minor = str(getattr(js.process.versions, "undici", "0.0")).split(".")[:2]
    return int(major), int(minor)


@cache
def runtime() -> Runtime:
    if hasattr(js, "Deno"):
        return Runtime("deno", False, frozenset({"gzip", "br"}), True, False, _FRAMING)
    if hasattr(js, "process") and not hasattr(js, "window") and not hasattr(js, "WorkerGlobalScope"):
        codings = {"gzip", "x-gzip", "deflate", "br"}
        if _undici_version() >= _UNDICI_WITH_ZSTD:
            codings.add("zstd")
        return Runtime("node", False, frozenset(codings), True, True, _FRAMING)
    forbidden = _FORBIDDEN
    if re.search(r"Chrom(e|ium)/", str(js.navigator.userAgent)):
        forbidden |= {"user-agent"}
    # A browser says itself in accept-encoding what it undoes, so that a server sends nothing else.
    codings = {"gzip", "x-gzip", "deflate", "br", "zstd"}
    return Runtime("browser", not hasattr(js, "document"), frozenset(codings), _takes_streams(), True, forbidden)


def _takes_streams() -> bool:
    """Whether a stream is a body. Firefox would turn it into text, and says so by a content-type."""
    init = {"method": "POST", "body": js.ReadableStream.new(), "duplex": "half"}
    request = js.Request.new("https://localhost/", to_js(init, dict_converter=js.Object.fromEntries))
    return not request.headers.has("content-type")

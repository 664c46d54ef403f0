"""Which clients there are, and what each of them is able to do."""

from __future__ import annotations

from dataclasses import dataclass

HTTP11 = "HTTP/1.1"
HTTP2 = "HTTP/2"
PROXIES = "HTTP proxies"
TLS = "TLS"
CODINGS = "content codings"


@dataclass(frozen=True)
class Contender:
    """A client.

    Args:
        module: in `clients`.
        title: what it is called in the results.
        can: the kinds of cases that it is measured in.
    """

    module: str
    title: str
    can: frozenset[str]


_HTTP11 = frozenset({HTTP11, TLS, PROXIES})
_BOTH = _HTTP11 | {HTTP2}
_CODINGS = frozenset({CODINGS})

CONTENDERS = (
    Contender("ours", "httpcore", _BOTH | _CODINGS),
    Contender("aiohttp", "aiohttp", _HTTP11 | _CODINGS),
    Contender("curl_cffi", "curl_cffi", _BOTH | _CODINGS),
    Contender("http_client", "http.client", frozenset({HTTP11, TLS})),
    Contender("httpcore1", "httpcore 1.x", _BOTH),
    Contender("httpcore2", "httpcore2", _BOTH),
    Contender("httpx", "httpx", _BOTH | _CODINGS),
    Contender("pycurl", "pycurl", _BOTH | _CODINGS),
    Contender("pyreqwest", "pyreqwest", _BOTH | _CODINGS),
    Contender("requests", "requests", _HTTP11 | _CODINGS),
    Contender("urllib3", "urllib3", _HTTP11 | _CODINGS),
)

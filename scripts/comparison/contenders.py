"""Which clients there are, and what each of them is able to do."""

from __future__ import annotations

from dataclasses import dataclass

HTTP11 = "HTTP/1.1"
HTTP2 = "HTTP/2"
PROXY = "HTTP proxies"


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
    can: frozenset[str] = frozenset({HTTP11})


_BOTH = frozenset({HTTP11, HTTP2})

CONTENDERS = (
    Contender("ours", "httpcore", _BOTH),
    Contender("aiohttp", "aiohttp"),
    Contender("curl_cffi", "curl_cffi", _BOTH),
    Contender("http_client", "http.client"),
    Contender("httpcore1", "httpcore 1.x", _BOTH),
    Contender("httpcore2", "httpcore2", _BOTH),
    Contender("httpx", "httpx", _BOTH),
    Contender("pycurl", "pycurl", _BOTH),
    Contender("pyreqwest", "pyreqwest", _BOTH),
    Contender("requests", "requests"),
    Contender("urllib3", "urllib3"),
)

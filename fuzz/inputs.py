"""What callers pass: URLs, the URLs of proxies, methods and headers. Refused in our words, or sent as it was read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

import httpcore
from httpcore._engines import is_installed
from httpcore._request import Request
from tests.support.engine_outcomes import new_engine

__all__ = ["LONGEST_MESSAGE", "check", "seeds"]

T = TypeVar("T", str, bytes)

_ENGINES = [name for name in ("h11", "httptools", "zttp") if is_installed(name)]
_REFUSED = (httpcore.InvalidURL, httpcore.UnsupportedProtocol, httpcore.LocalProtocolError)
# Eighty characters of what was passed, each of which may need ten to be shown, twice, and our own words.
LONGEST_MESSAGE = 2000
_SENT_TARGET = re.compile(rb"[/?][\x21-\x7e]*")
_HOST = re.compile(r"[a-z0-9._-]{1,254}|[0-9a-f:.]+(%[A-Za-z0-9._~-]+)?")
_URLS = (
    "http://example.org:8080/a/b?c=d#e",
    "HTTPS://user:pass@Example.ORG",
    "http://[fe80::1%25eth0]:81/",
    "http://[::ffff:1.2.3.4]/",
    "http://192.0.2.1:81/",
    "http://0x7f.1/",
    "http://b\u00fccher.example/\u00fc?\u00fc",
    "http://xn--bcher-kva.example/",
    "http://a\\@b/",
    "socks5h://user:p%40ss@proxy:1080",
    "http://a:99999/",
    "http://\u2488.example/\ud800",
    "//a/b",
    "http://" + "\U0010fffd" * 200 + "/",
)
_HEADERS = (
    "host:a",
    "X-A:b\tc",
    "a b:c",
    ":x",
    "cookie:a\r\nb: c",
    "content-length:4",
    "transfer-encoding:chunked",
    "connection:close, upgrade",
    "expect:100-continue",
    "x:\u00e4",
)


def seeds() -> Iterator[bytes]:
    for url in _URLS:
        yield b"\x00" + url.encode("utf-8", "surrogatepass")
    for header in _HEADERS:
        yield b"\x01" + header.encode("utf-8", "surrogatepass")
        yield b"\x02" + header.encode("utf-8", "surrogatepass")
    for method in ("GET", "PROPFIND", "g t", "CONNECT"):
        yield b"\x03" + method.encode()
    for target in ("*", "/a b", "http://user@host/", "host:443", "/\u00e4"):
        yield b"\x04" + target.encode()


def check(data: bytes) -> None:
    kind, raw = data[:1], data[1:]
    text = raw.decode("utf-8", "surrogatepass") if _is_text(raw) else raw.decode("latin-1")
    if kind == b"\x01":
        _check_request("PUT", *_pair(text.partition(":")))
    elif kind == b"\x02":
        _check_request(b"POST", *_pair(raw.partition(b":")))
    elif kind == b"\x03":
        _check_request(text, "a", "b")
    elif kind == b"\x04":
        _check_request("POST", "a", "b", raw)
    else:
        _check_url(text)
        _check_url(raw)
        _check_proxy(text)


def _pair(partition: tuple[T, T, T]) -> tuple[T, T]:
    return partition[0], partition[2]


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _check_url(text: str | bytes) -> None:
    try:
        url = httpcore.URL(text)
    except _REFUSED as exc:
        assert len(str(exc)) < LONGEST_MESSAGE, exc
        return
    assert _SENT_TARGET.fullmatch(url.target), url.target
    assert _HOST.fullmatch(url.host), url.host
    assert 1 <= url.port <= 65535
    if "%" not in url.host:  # a zone is for this machine alone, and left out
        assert httpcore.URL(str(url)) == url, url


def _check_proxy(text: str) -> None:
    try:
        proxy = httpcore.Proxy(text)
    except _REFUSED as exc:
        assert len(str(exc)) < LONGEST_MESSAGE, exc
        return
    shown = repr(proxy)
    for secret in proxy.auth or ():
        assert len(secret) < 8 or secret.decode("latin-1") not in shown


def _check_request(method: str | bytes, name: str | bytes, value: str | bytes, target: bytes = b"/a?b") -> None:
    """It is refused, or makes a head of every line as it was written, by every engine."""
    headers = [(name, value), ("Host", "example.org")]
    try:
        request = Request(method, "http://example.org/", headers, b"body", extensions={"target": target})
    except _REFUSED as exc:
        assert len(str(exc)) < LONGEST_MESSAGE, exc
        return
    lines = [b"%b %b HTTP/1.1" % (request.method, target), *(b"%b: %b" % pair for pair in request.headers), b"", b""]
    for engine in _ENGINES:
        head = new_engine(engine).send_head(request)
        assert head.split(b"\r\n") == lines, (engine, head)
    assert not re.search(rb"[\r\n\0]", b"".join(lines))
    given = tuple(part.encode("ascii") if isinstance(part, str) else part for part in (name, value))
    assert given in request.headers

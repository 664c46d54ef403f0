"""The environment: proxies and NO_PROXY, as whoever sets variables may write them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpcore
from httpcore._proxy_environment import EnvironmentProxies
from httpcore._urls import Origin

from .inputs import LONGEST_MESSAGE

__all__ = ["check", "seeds"]

_PROXY = "http://proxy.example:3128"
_ORIGINS = (
    Origin("http", "example.org", 80),
    Origin("https", "www.example.org.", 8443),
    Origin("http", "192.0.2.7", 80),
    Origin("https", "2001:db8::1", 443),
    Origin("http", "fe80::1%eth0", 80),
    Origin("http", "localhost", 80),
)
_ENTRIES = (
    "*",
    "example.org",
    ".example.org:8443, *.example.org",
    "192.0.2.0/24",
    "[2001:db8::]/32 [2001:db8::1]:443",
    "2001:db8::1",
    "fe80::1%eth0",
    "*.:99999,a,,;:80",
    "\u00e4.example\n\t[",
)


def seeds() -> Iterator[bytes]:
    for entry in _ENTRIES:
        yield b"\x00" + entry.encode()
    for url in (_PROXY, "socks5h://u:p@h", "proxy:80", "http://[::1", "ftp://a"):
        yield b"\x01" + url.encode()


def check(data: bytes) -> None:
    text = data[1:].decode("utf-8", "replace")
    if data[:1] == b"\x01":
        _check_proxy(text)
    else:
        _check_exceptions(text)


def _check_proxy(text: str) -> None:
    """A proxy, or an error that names the variable and shows no password."""
    try:
        proxies = EnvironmentProxies({"ALL_PROXY": text, "NO_PROXY": text})
    except httpcore.InvalidURL as exc:
        assert "ALL_PROXY" in str(exc)
        assert len(str(exc)) < LONGEST_MESSAGE
        return
    for url in proxies.urls:
        with contextlib.suppress(httpcore.LocalProtocolError):  # credentials that cannot be sent
            httpcore.Proxy(url)


def _check_exceptions(text: str) -> None:
    proxies, shouted = (EnvironmentProxies({"all_proxy": _PROXY, "no_proxy": each}) for each in (text, text.upper()))
    for origin in _ORIGINS:
        url = proxies(origin)
        assert url in (None, _PROXY)
        if text.isascii():
            assert shouted(origin) == url, "NO_PROXY is read in any case"
    assert proxies(Origin("http", "localhost", 80)) is None
    if "*" in text.replace(",", " ").split():
        assert all(proxies(origin) is None for origin in _ORIGINS)

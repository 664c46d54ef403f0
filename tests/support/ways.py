"""Ways to a scripted peer: in clear, over TLS, forwarded by a proxy, through a tunnel.

A test says nothing of it. Where it bears `@every_way`, or its module does, it runs in clear in all its worlds, and over
each other way in one of them: `ScriptedPeer` then speaks TLS, or is a proxy and the origins behind it, and `world.pool`
makes pools that reach it so. Its script begins behind all that, and reads and sends what it would in clear.

A test with the argument `ca` sees to TLS by itself, and runs as it is written.
"""

from __future__ import annotations

import contextlib
import ssl
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from .tls import CertificateAuthority

__all__ = ["CLEAR", "WAYS", "Way", "current", "every_way", "only_over", "spread"]


@dataclass(frozen=True)
class Way:
    """How a peer is reached.

    Args:
        is_secure: the origin speaks TLS.
        is_proxied: the peer is an HTTP proxy first.
    """

    name: str
    is_secure: bool = False
    is_proxied: bool = False


CLEAR = Way("clear")
WAYS = {way.name: way for way in (Way("TLS", True), Way("forwarded", False, True), Way("CONNECT", True, True))}
"""All but the one in clear."""


class Reaching:
    """The way of the test that runs, and what its peers and its pools need for it."""

    def __init__(self, way: Way = CLEAR, ca: CertificateAuthority | None = None) -> None:
        self.way = way
        self._ca = ca if way.is_secure else None
        self.proxy: str | None = None
        """The authority of the peer that came last, which stands for all of them."""

    def server(self, alpn: tuple[str, ...]) -> ssl.SSLContext | None:
        """Of a peer."""
        return self._ca.server_context(alpn=alpn) if self._ca is not None else None

    def options(self) -> dict[str, object]:
        """Of a pool."""
        import httpcore

        options: dict[str, object] = {}
        if self._ca is not None:
            options["ssl"] = httpcore.SSLConfig(str(self._ca.pem_path))
        if self.way.is_proxied and self.proxy is not None:
            options["proxy"] = f"http://{self.proxy}"
        return options

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Until the end of the block, peers and pools are made for this way. One test runs at a time."""
        global _reaching
        before, _reaching = _reaching, self
        try:
            yield
        finally:
            _reaching = before


_reaching = Reaching()


def current() -> Reaching:
    return _reaching


every_way = pytest.mark.ways(*WAYS)
"""Run a test, or a module of them, over each way, in clear besides: `pytestmark = every_way`."""


def only_over(*ways: str, reason: str) -> pytest.MarkDecorator:
    """For a test of a module that otherwise takes every way: take these, besides the one in clear."""
    return pytest.mark.ways(*ways, reason=reason)


def spread(test: str, ways: Iterable[str], *choices: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A way and one of each of the choices, for each way, so that over many tests each meets each."""
    at = zlib.crc32(test.encode())
    for number, way in enumerate(ways):
        index = at + number
        picked = []
        for names in choices:
            picked.append(names[index % len(names)])
            index //= len(names)
        yield (way, *picked)

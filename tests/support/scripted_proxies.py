"""Scripted proxies. Each is the origin behind it as well, so that one script sees every byte in its order.

    def script(conn: Conn) -> None:
        connect = conn.read_request()
        conn.send_bytewise(ESTABLISHED)
        conn.start_tls(...)
        serve(conn)

    with ProxyPeers(TUNNEL, ca, script) as peers:
        http = peers.one_slot(world)
        assert (await http.request("GET", f"{peers.origin}/hello")).body == b"/hello"
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)

The first connections are scripted, all others do what a good proxy of that kind does. A script begins behind the TLS
that an https proxy speaks.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpcore

from .invariants import one_slot
from .peer import Conn, Disconnected, Script, ScriptedPeer
from .scripted_socks import accept
from .tls import CertificateAuthority
from .wire import Req
from .worlds import World

__all__ = [
    "ESTABLISHED",
    "FORWARD",
    "KINDS",
    "SOCKS",
    "SOCKS_IN_CLEAR",
    "TLS_IN_TLS",
    "TUNNEL",
    "Kind",
    "ProxyPeers",
    "connect",
    "serve",
]

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_NAMES = ("a.test", "b.test")
_ABSOLUTE = re.compile(rb"https?://[^/?#]*")


def serve(conn: Conn) -> None:
    """Answer every request with the path that it asks for, through a tunnel or forwarded; CONNECT is neither."""
    with contextlib.suppress(ssl.SSLError):  # an alert of a client that sees an end where none may be
        while True:
            request = conn.read_request()
            assert request.method != b"CONNECT", request
            path = _ABSOLUTE.sub(b"", request.target)
            length = (b"content-length", b"%d" % len(path))
            conn.respond(body=b"" if request.method == b"HEAD" else path, headers=[length])


def connect(conn: Conn, inner: ssl.SSLContext | None, reply: bytes = ESTABLISHED) -> Req:
    """Read a CONNECT, say yes, and speak TLS from then on."""
    request = conn.read_request()
    assert request.method == b"CONNECT", request
    conn.send(reply)
    _secure(conn, inner)
    return request


def _secure(conn: Conn, inner: ssl.SSLContext | None) -> None:
    try:
        if inner is not None:
            conn.start_tls(inner)
    except ssl.SSLError as exc:
        raise Disconnected(f"the client broke off the handshake: {exc}") from exc


def _socks(conn: Conn, inner: ssl.SSLContext | None) -> None:
    accept(conn)
    _secure(conn, inner)


def _forward(conn: Conn, inner: ssl.SSLContext | None) -> None:
    pass


def _connect(conn: Conn, inner: ssl.SSLContext | None) -> None:
    connect(conn, inner)


@dataclass(frozen=True)
class Kind:
    """How an origin is reached.

    Args:
        enter: what a good proxy of this kind does before it is the origin.
    """

    name: str
    proxy_scheme: str
    origin_scheme: str
    enter: Callable[[Conn, ssl.SSLContext | None], None]

    def __str__(self) -> str:
        return self.name


FORWARD = Kind("forwarded", "http", "http", _forward)
TUNNEL = Kind("CONNECT", "http", "https", _connect)
TLS_IN_TLS = Kind("CONNECT over TLS", "https", "https", _connect)
SOCKS = Kind("SOCKS5", "socks5h", "https", _socks)
SOCKS_IN_CLEAR = Kind("SOCKS5 in clear", "socks5h", "http", _socks)
KINDS = (FORWARD, TUNNEL, TLS_IN_TLS, SOCKS, SOCKS_IN_CLEAR)


class ProxyPeers:
    """A proxy whose first connections are scripted, and the two origins behind it. See `invariants.Peers`.

    Args:
        scripts: one for each of the first connections; where one returns or fails, its connection is closed.
        expect_disconnect: whether the client may break off anywhere.
    """

    def __init__(
        self, kind: Kind, ca: CertificateAuthority, *scripts: Script, expect_disconnect: bool = False, **options: object
    ) -> None:
        self.kind = kind
        self.inner = ca.server_context(*_NAMES) if kind.origin_scheme == "https" else None
        """Of the origins; None in clear."""
        outer = ca.server_context() if kind.proxy_scheme == "https" else None
        self._ca = ca

        def script(conn: Conn) -> None:
            if conn.index < len(scripts):
                scripts[conn.index](conn)
            else:
                kind.enter(conn, self.inner)
                serve(conn)

        self.proxy = ScriptedPeer(script, tls=outer, expect_disconnect=expect_disconnect, **options)  # type: ignore[arg-type]

    @property
    def tls(self) -> ssl.SSLContext:
        """That of https origins, for `conn.start_tls`."""
        assert self.inner is not None
        return self.inner

    @property
    def url(self) -> str:
        """The proxy's."""
        return f"{self.kind.proxy_scheme}://{self.proxy.authority}"

    @property
    def origins(self) -> Sequence[str]:
        """Two of them behind the proxy, which nobody can resolve."""
        return [f"{self.kind.origin_scheme}://{name}" for name in _NAMES]

    @property
    def origin(self) -> str:
        return self.origins[0]

    @property
    def ports(self) -> set[int]:
        return {self.proxy.port}

    @property
    def accepted(self) -> int:
        return self.proxy.accepted

    @property
    def requests(self) -> list[Req]:
        """All that the proxy and the origins read, CONNECT among it."""
        return self.proxy.requests

    def via(self, **options: object) -> httpcore.Proxy:
        """The proxy, trusted where it speaks TLS."""
        if self.kind.proxy_scheme == "https":
            options = {"ssl": self._ca.client_context(), **options}
        return httpcore.Proxy(self.url, **options)  # type: ignore[arg-type]

    def one_slot(self, world: World, **options: object) -> httpcore.ConnectionPool:
        """A pool that reaches everything through the proxy, with room for one connection."""
        return one_slot(world, **{"proxy": self.via(), "ssl": self._ca.client_context(), **options})

    def __enter__(self) -> ProxyPeers:
        self.proxy.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.proxy.__exit__(*exc_info)  # type: ignore[arg-type]

"""Proxies that refuse, or speak badly, as in `test_proxies.py`: an https origin is reached by CONNECT."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tests.support.peer import Conn
from tests.support.proxy_rows import BAD_REPLIES
from tests.support.scripted_proxies import ESTABLISHED, TUNNEL, ProxyPeers, connect, serve

from .cases import Case
from .contenders import PROXIES
from .driver import Driver
from .faults import row_of
from .judging import Rule, of_response, of_what_follows, together
from .messages import Ask, Setup
from .trust import authority

_ProxyScript = Callable[[Conn, ProxyPeers], None]

_YES = {
    "h_100": b"HTTP/1.1 100 Continue\r\n\r\n" + ESTABLISHED,
    "h_200_cl": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    "h_200_te": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    "h_2xx_201": b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n",
    "h_2xx_204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "h_2xx_299": b"HTTP/1.1 299 Far\r\n\r\n",
    "h_200_http10": b"HTTP/1.0 200 Connection established\r\n\r\n",
}
"""After these, the origin is spoken to."""

_NO = (302, 403, 404, 407, 502, 599)
_MANY = 20
_EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
_REFUSED = Rule(None, may_refuse=True)
_OWN = Rule(lambda reply: (reply.status, reply.body) == (200, b"/own"), may_refuse=False, is_bad=False)


def cases() -> Iterator[Case]:
    for id, reply in _YES.items():
        yield _case(id, partial(_say_yes, reply), _OWN)
    for status in _NO:
        yield _case(f"h_403_{status}", partial(_say_no, status), _REFUSED)
    for name, reply in BAD_REPLIES.items():
        id = {"h_101": "h_101", "nothing": "h_close_0"}.get(name, f"h_garbage_{name.replace(' ', '_')}")
        yield _case(id, partial(_speak_badly, reply), _REFUSED)
    yield _case("h_close_0_rst", _reset, _REFUSED)
    yield _case("h_close_tls", _end_in_the_handshake, _REFUSED)
    yield _case("h_garbage_response", partial(_speak_badly, ESTABLISHED + _EVIL), _REFUSED)


def _case(id: str, script: _ProxyScript, rule: Rule) -> Case:
    return Case(id, row_of(id), partial(_play, script, rule), PROXIES)


def _say_yes(reply: bytes, conn: Conn, peers: ProxyPeers) -> None:
    connect(conn, peers.inner, reply)
    serve(conn)


def _say_no(status: int, conn: Conn, peers: ProxyPeers) -> None:
    conn.read_request()
    headers = [(b"Location", b"https://evil.test/"), (b"Proxy-Authenticate", b"Basic")]
    conn.respond(status, body=b"because of this", headers=headers)
    conn.wait_closed()


def _speak_badly(reply: bytes, conn: Conn, peers: ProxyPeers) -> None:
    conn.read_request()
    conn.send(reply)


def _reset(conn: Conn, peers: ProxyPeers) -> None:
    conn.read_request()
    conn.rst()


def _end_in_the_handshake(conn: Conn, peers: ProxyPeers) -> None:
    connect(conn, None)
    conn.recv_exactly(1)


@dataclass(frozen=True)
class _Behind:
    """The origin behind the proxy, and the proxy's connections."""

    peers: ProxyPeers

    @property
    def origin(self) -> str:
        return self.peers.origin

    @property
    def open_connections(self) -> int:
        return self.peers.proxy.open_connections


def _play(script: _ProxyScript, rule: Rule, client: Driver) -> str:
    is_over = threading.Event()

    def play(conn: Conn) -> None:
        if is_over.is_set():
            connect(conn, peers.inner)
            serve(conn)
        script(conn, peers)

    # Whoever asks the proxy again meets the same.
    with authority() as ca, ProxyPeers(TUNNEL, ca, *[play] * _MANY, expect_disconnect=True) as peers:
        client.open(Setup(proxy=peers.url, ca=str(ca.pem_path)))
        first = of_response(client.request(Ask("GET", peers.origin + "/own")), rule)
        is_over.set()
        outcome = together(first, of_what_follows(client, _Behind(peers)))
        client.close()
    return outcome

"""Where stories take place: the peers, and a pool that reaches them and is looked at after it was mistreated.

with scene.open(ca) as place:
    async with place.as_good_as_new(world) as http:
        await story.act(Stage(world, http, place.origin))      # and something goes wrong
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

import httpcore
from httpcore._backends import racing

from . import stories
from .destinations import peer_among_black_holes, to
from .http2_peer import HTTP2Conn, HTTP2Peer, HTTP2Req, Setting, http2_context
from .peer import Conn, ScriptedPeer
from .scripted_proxies import KINDS, TUNNEL, Kind, ProxyPeers, connect
from .scripted_socks import accept
from .stories import Stage, Story, get
from .tls import CertificateAuthority
from .worlds import World

__all__ = ["HTTP2_STREAMS", "SCENES", "Place", "Scene", "http2", "http11", "serve_http2", "serve_http11"]

# More than is read at once, so that a response with it holds its connection until it is read or closed; and over HTTP/2
# more than the window of a stream.
LARGE = 1_000_000
_LARGE_FOR_HTTP2 = 5_000_000

HTTP2_STREAMS = 3
"""Held at once on one connection, to see that each can be."""

_ORIGIN = re.compile(rb"https?://[^/]*")


@dataclass(frozen=True)
class Place:
    """Peers that are there, and how a pool reaches them.

    Args:
        origins: of the story, and another one.
        names: one of them is in every error.
        options: of a pool.
        held: the target of a response that is not over before it is closed.
        at_once: how many of these a connection takes.
    """

    peers: Sequence[ScriptedPeer]
    origins: Sequence[str]
    names: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    held: str = "/parts"
    at_once: int = 1

    @property
    def origin(self) -> str:
        return self.origins[0]

    @property
    def open_connections(self) -> int:
        return sum(peer.open_connections for peer in self.peers)

    @asynccontextmanager
    async def as_good_as_new(
        self, world: World, limit: int = 1, **options: Any
    ) -> AsyncIterator[httpcore.ConnectionPool]:
        """A pool to be mistreated; afterwards it is looked at, used, and closed (FAULTS, I1 to I7).

        Args:
            limit: of connections.
            options: instead of those of the place.
        """
        limits = httpcore.Limits(max_connections=limit)
        http = httpcore.ConnectionPool(
            **{"backend": world.backend, "limits": limits, "timeout": 20, **self.options, **options}
        )
        try:
            yield http
            await self._look(world, http, limit)
        finally:
            await http.aclose()
        await world.until(lambda: not self.open_connections, what="closing of all sockets")

    async def _look(self, world: World, http: httpcore.ConnectionPool, limit: int) -> None:
        stats = http.stats()
        assert (stats.active, stats.opening, stats.waiting) == (0, 0, 0), http
        # A peer may still be about to leave.
        await world.until(lambda: self.open_connections == http.stats().idle, what="I3, sockets")
        for origin in self.origins:
            # Each slot is there.
            at_once = limit * self.at_once
            responses = [await http.request("GET", origin + self.held, stream=True) for _ in range(at_once)]
            for response in responses:
                await response.aclose()
            await get(Stage(world, http, origin))
        assert sum(stats.idle for stats in http.stats().origins.values()) == len(http.connections) <= limit


# Peers


def serve_http11(conn: Conn) -> None:
    """Everything that the stories ask for."""
    try:
        _serve_requests(conn)
    except ssl.SSLError as exc:
        # The client may say by an alert that it saw an end where none may be.
        if "ALERT" not in exc.reason:
            raise


def _serve_requests(conn: Conn) -> None:
    while True:
        head = conn.read_head()
        if head.header(b"expect") is not None:
            conn.respond(100)
        request = conn.read_body(head)
        if request.header(b"upgrade") is not None:
            conn.respond(101, headers=[(b"upgrade", b"echo"), (b"connection", b"upgrade")])
            conn.send(conn.recv_exactly(5))
            conn.wait_closed()
            return
        target = _ORIGIN.sub(b"", request.target)  # which a proxy that forwards is given
        if target == b"/large":
            conn.respond(body=b"x" * LARGE)
        elif target == b"/parts":
            conn.respond_chunked([b"one", b"two", b"three"], trailers=[(b"x-end", b"yes")])
        else:
            conn.respond(body=request.method + b" " + target + b" " + request.body[:10])


def serve_http2(conn: HTTP2Conn) -> None:
    """Everything that the stories ask for. `/sibling` is answered by halves, the second half at `/go-on`."""
    siblings: list[int] = []
    while True:
        head = conn.read_head()
        if head.header(b"expect") is not None:
            conn.send_head(head.stream_id, 100)
        request = conn.read_body_or_reset(head)
        if request is not None and not conn.is_reset(head.stream_id):
            _answer(conn, request, siblings)


def _answer(conn: HTTP2Conn, request: HTTP2Req, siblings: list[int]) -> None:
    stream_id = request.stream_id
    match request.target:
        case b"/sibling":
            siblings.append(stream_id)
            conn.respond(stream_id, body=b"first, ", end_stream=False)
            return
        case b"/go-on":
            for sibling in siblings:
                if not conn.is_reset(sibling):
                    conn.send_data(sibling, b"second", end_stream=True)
            siblings.clear()
            conn.respond(stream_id, body=b"gone on")
            return
        case b"/large":
            conn.respond(stream_id, body=bytes(_LARGE_FOR_HTTP2))
            return
        case b"/parts":
            conn.send_head(stream_id)
            for part in (b"one", b"two", b"three"):
                conn.send_data(stream_id, part)
            conn.send_headers(stream_id, [(b"x-end", b"yes")], end_stream=True)
            return
        case b"/refused" if stream_id > 1:
            conn.goaway(stream_id - 2)
            return
        case b"/goaway":
            conn.goaway(stream_id)
    conn.respond(stream_id, body=request.method + b" " + request.target + b" " + request.body[:10])


# Scenes


@contextmanager
def http11(ca: CertificateAuthority, tls: bool = False) -> Iterator[Place]:
    """Two origins, the other one always in clear."""
    context = ca.server_context() if tls else None
    with (
        ScriptedPeer(serve_http11, tls=context, expect_disconnect=True) as peer,
        ScriptedPeer(serve_http11, expect_disconnect=True) as other,
    ):
        yield _direct([peer, other], ssl=ca.client_context())


@contextmanager
def http2(ca: CertificateAuthority, tls: bool = False, streams: int | None = None) -> Iterator[Place]:
    """Two origins; and how many streams the first one takes at once, if that is limited."""
    context = http2_context(ca) if tls else None
    settings = {} if streams is None else {Setting.MAX_CONCURRENT_STREAMS: streams}
    options = {"ssl": httpcore.SSLConfig(str(ca.pem_path))} if tls else {"http1": False}
    with (
        HTTP2Peer(serve_http2, tls=context, settings=settings, expect_disconnect=True) as peer,
        HTTP2Peer(serve_http2, tls=context, expect_disconnect=True) as other,
    ):
        yield _direct([peer, other], "/sibling", streams or HTTP2_STREAMS, **options)


def _direct(peers: Sequence[ScriptedPeer], held: str = "/parts", at_once: int = 1, **options: object) -> Place:
    return Place(peers, [peer.origin for peer in peers], [peer.authority for peer in peers], options, held, at_once)


@contextmanager
def addresses(ca: CertificateAuthority) -> Iterator[Place]:
    """The first address refuses, at the second nobody answers, and meanwhile the third is tried."""
    hole = "127.0.0.2"
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        # What is a quarter of a second otherwise, at each of many steps.
        patch.setattr(racing, "_ATTEMPT_DELAY", racing._LEAST_DELAY)
        peers = [
            stack.enter_context(peer_among_black_holes(hole, script=serve_http11, expect_disconnect=True))
            for _ in range(2)
        ]
        origins = [f"http://name.test:{peer.port}" for peer in peers]
        yield Place(peers, origins, ["name.test"], {"network": to("127.0.0.9", hole, "127.0.0.1")})


@contextmanager
def proxy(ca: CertificateAuthority, kind: Kind) -> Iterator[Place]:
    def script(conn: Conn) -> None:
        kind.enter(conn, peers.inner)
        serve_http11(conn)

    with ProxyPeers(kind, ca, *[script] * 10_000, expect_disconnect=True) as peers:
        yield _proxied(ca, peers, peers.via())


@contextmanager
def chain(ca: CertificateAuthority) -> Iterator[Place]:
    """SOCKS, and CONNECT behind it."""

    def script(conn: Conn) -> None:
        accept(conn)
        connect(conn, peers.inner)
        serve_http11(conn)

    with ProxyPeers(TUNNEL, ca, *[script] * 10_000, expect_disconnect=True) as peers:
        yield _proxied(ca, peers, [peers.url.replace("http:", "socks5h:"), "http://second.test:81"])


def _proxied(ca: CertificateAuthority, peers: ProxyPeers, hops: object) -> Place:
    return Place([peers.proxy], peers.origins, ["127.0.0.1", "a.test"], {"proxy": hops, "ssl": ca.client_context()})


@dataclass(frozen=True)
class Scene:
    """A place that can be opened, and what takes place there.

    Args:
        breaks: whether its connections are made to fail, too, and not only its requests cancelled.
    """

    open: Callable[[CertificateAuthority], AbstractContextManager[Place]]
    stories: Mapping[str, Story]
    breaks: bool = True


def _with(opening: Callable[..., AbstractContextManager[Place]], *arguments: Any) -> Any:
    return lambda ca: opening(ca, *arguments)


SCENES: dict[str, Scene] = {
    "HTTP/1.1 in clear": Scene(http11, stories.HTTP11),
    "HTTP/1.1 over TLS": Scene(_with(http11, True), stories.HTTP11_OVER_TLS),
    "HTTP/1.1 at one of three addresses": Scene(addresses, stories.HTTP11_FROM_AFAR),
    "HTTP/2 in clear": Scene(http2, stories.HTTP2),
    "HTTP/2 over TLS": Scene(_with(http2, True), stories.HTTP2),
    "HTTP/2 in clear, beside a sibling": Scene(http2, stories.HTTP2_BESIDE_A_SIBLING),
    # What breaks under TLS is not what siblings share.
    "HTTP/2 over TLS, beside a sibling": Scene(_with(http2, True), stories.HTTP2_BESIDE_A_SIBLING, breaks=False),
    "HTTP/2 with one stream": Scene(_with(http2, False, 1), stories.HTTP2_WITH_ONE_STREAM),
    **{f"a proxy, {kind}": Scene(_with(proxy, kind), stories.HTTP11_FROM_AFAR) for kind in KINDS},
    "two proxies, SOCKS5 and CONNECT": Scene(chain, stories.HTTP11_FROM_AFAR),
}

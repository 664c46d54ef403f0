"""P39, P52, P54: HTTP/2 inside of tunnels, and with proxies that speak it themselves (RFC 9113, 8.5)."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Callable

import pytest

import httpcore
from httpcore import ConnectError, ConnectTimeout, ProxyError, SSLConfig, Timeout
from tests.support.http2_frames import SettingsFrame
from tests.support.http2_peer import Code, DataFrame, HTTP2Conn, HTTP2Peer, http2_context
from tests.support.http2_peer import serve as serve_http2
from tests.support.invariants import assert_holds, assert_still_works, error_of, one_slot
from tests.support.peer import Conn
from tests.support.scripted_proxies import (
    ESTABLISHED,
    SOCKS,
    SOCKS_IN_CLEAR,
    TLS_IN_TLS,
    TUNNEL,
    Kind,
    ProxyPeers,
    connect,
)
from tests.support.scripted_socks import accept
from tests.support.secrets import PROXY, watched
from tests.support.tls import CertificateAuthority
from tests.support.wire import RequestReader, TLSLayer
from tests.support.worlds import World

BASIC = b"Basic " + b64encode(":".join(PROXY.auth).encode())
ORIGINS = ("a.test", "b.test")

# HTTP/2 within a tunnel


@pytest.mark.parametrize("kind", [TUNNEL, TLS_IN_TLS, SOCKS], ids=str)
async def test_p39_fifty_requests_go_out_before_settings_arrive_through_a_tunnel(
    world: World, ca: CertificateAuthority, kind: Kind
) -> None:
    context = ca.server_context(*ORIGINS, alpn=("h2", "http/1.1"))

    def script(conn: Conn) -> None:
        kind.enter(conn, context)
        assert conn.tls is not None
        assert conn.tls.selected_alpn_protocol() == "h2"
        http2 = HTTP2Conn(conn)
        http2.read_preface()
        heads = [http2.read_head() for _ in range(50)]
        http2.settings({})
        for head in heads:
            http2.respond(head.stream_id, body=head.target)
        http2.end()

    with ProxyPeers(kind, ca, script) as peers:
        trusting = SSLConfig(verify=str(ca.pem_path))
        http = one_slot(world, proxy=peers.via(ssl=trusting) if kind is TLS_IN_TLS else peers.via(), ssl=trusting)
        responses = await world.gather_ok(
            *[lambda number=number: http.request("GET", f"{peers.origin}/{number}") for number in range(50)]
        )
        assert [response.body for response in responses] == [b"/%d" % number for number in range(50)]
        assert {response.http_version for response in responses} == {"HTTP/2"}
        assert peers.accepted == 1
        await http.aclose()


@pytest.mark.parametrize("kind", [TUNNEL, SOCKS_IN_CLEAR], ids=str)
async def test_prior_knowledge_on_an_http_origin_goes_through_a_tunnel(
    world: World, ca: CertificateAuthority, kind: Kind
) -> None:
    """The origin speaks first: its SETTINGS come in one piece with the proxy's yes."""
    hello = SettingsFrame(settings={}).serialize()

    def script(conn: Conn) -> None:
        if kind is TUNNEL:
            assert connect(conn, None, ESTABLISHED + hello).target == b"a.test:80"
        else:
            accept(conn)
            conn.send(hello)
        http2 = HTTP2Conn(conn)
        http2.rules.settings_sent({})
        http2.handshake({})
        while len(http2.frames) < 5:
            request = http2.read_request()
            http2.respond(request.stream_id, body=request.target)
        http2.end()

    with ProxyPeers(kind, ca, script) as peers:
        http = one_slot(world, proxy=peers.url, http1=False)
        for number in range(2):
            response = await http.request("GET", f"http://a.test/{number}")
            assert (response.http_version, response.body) == ("HTTP/2", b"/%d" % number)
        assert peers.accepted == 1
        await http.aclose()


# Proxies that speak HTTP/2


class StreamLayer:
    """The bytes of one stream of HTTP/2, from which TLS can be read and to which it can be written."""

    def __init__(self, conn: HTTP2Conn, stream_id: int, size: int = 16_384) -> None:
        self._conn = conn
        self._stream_id = stream_id
        self._size = size

    def recv(self, max_bytes: int) -> bytes:
        frame = self._conn.recv_until(DataFrame, self._stream_id)
        return frame.data

    def sendall(self, data: bytes) -> None:
        for at in range(0, len(data), self._size):
            self._conn.send_data(self._stream_id, data[at : at + self._size])


def serve_tunnel(conn: HTTP2Conn, stream_id: int, inner: ssl.SSLContext, count: int, size: int = 16_384) -> None:
    """Say yes, and be an https origin for so many requests."""
    conn.send_head(stream_id, 200)
    tls = TLSLayer(StreamLayer(conn, stream_id, size), inner)
    reader = RequestReader(tls)
    for _ in range(count):
        head = reader.read_head()
        assert not PROXY.seen_in(head.raw_head)
        tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(head.target), head.target))


class HTTP2Proxy:
    """An https proxy that speaks HTTP/2. Its first connections are scripted, on all others it makes tunnels.

    See `invariants.Reached`.
    """

    def __init__(self, ca: CertificateAuthority, *scripts: Callable[[HTTP2Conn], None]) -> None:
        self.inner = ca.server_context(*ORIGINS)
        self._ca = ca

        def script(conn: HTTP2Conn) -> None:
            if conn.index < len(scripts):
                scripts[conn.index](conn)
            else:
                serve_tunnel(conn, conn.read_head().stream_id, self.inner, 1)

        self.peer = HTTP2Peer(script, tls=http2_context(ca), expect_disconnect=True)

    @property
    def url(self) -> str:
        return self.peer.origin

    @property
    def origins(self) -> list[str]:
        return [f"https://{name}" for name in ORIGINS]

    @property
    def ports(self) -> set[int]:
        return {self.peer.port}

    def via(self, **options: object) -> httpcore.Proxy:
        trusting = SSLConfig(verify=str(self._ca.pem_path))
        return httpcore.Proxy(self.url, **{"ssl": trusting, **options})  # type: ignore[arg-type]

    def one_slot(self, world: World, **options: object) -> httpcore.ConnectionPool:
        return one_slot(world, **{"proxy": self.via(), "ssl": self._ca.client_context(), **options})

    def __enter__(self) -> HTTP2Proxy:
        self.peer.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.peer.__exit__(*exc_info)  # type: ignore[arg-type]


async def test_p53_connect_in_http2_has_what_is_the_proxys_and_nothing_else(
    world: World, ca: CertificateAuthority
) -> None:
    def script(conn: HTTP2Conn) -> None:
        head = conn.read_head()
        assert head.pseudo == {b":method": b"CONNECT", b":authority": b"a.test:443"}
        assert dict(head.headers) == {b"proxy-authorization": BASIC, b"x-proxy": b"proxy-header-marker"}
        serve_tunnel(conn, head.stream_id, proxy.inner, 2)

    with HTTP2Proxy(ca, script) as proxy:
        via = proxy.via(auth=PROXY.auth, headers={"X-Proxy": "proxy-header-marker"})
        with watched(world, PROXY, proxy=via, ssl=ca.client_context()) as (http, seen):
            for number in range(2):
                response = await http.request("GET", f"https://a.test/{number}", {"cookie": "a=b"})
                assert response.body == b"/%d" % number
                seen.append(response)
            assert proxy.peer.accepted == 1
            await http.aclose()


@pytest.mark.parametrize("size", [1, 7])
async def test_a_tunnel_in_http2_may_come_in_frames_of_any_size(
    world: World, ca: CertificateAuthority, size: int
) -> None:
    def script(conn: HTTP2Conn) -> None:
        serve_tunnel(conn, conn.read_head().stream_id, proxy.inner, 1, size)

    with HTTP2Proxy(ca, script) as proxy:
        assert (await proxy.one_slot(world).request("GET", "https://a.test/x")).body == b"/x"


async def test_p53_requests_are_forwarded_in_http2_each_with_the_proxys_credentials(
    world: World, ca: CertificateAuthority
) -> None:
    heads: list[tuple[dict[bytes, bytes], dict[bytes, bytes]]] = []

    def script(conn: HTTP2Conn) -> None:
        for _ in range(20):
            request = conn.read_request()
            heads.append((request.pseudo, dict(request.headers)))
            conn.respond(request.stream_id, body=request.target)

    with HTTP2Proxy(ca, script) as proxy:
        http = proxy.one_slot(world, proxy=proxy.via(auth=PROXY.auth))
        responses = await world.gather_ok(
            *[lambda number=number: http.request("GET", f"http://a.test:81/{number}") for number in range(20)]
        )
        assert [response.body for response in responses] == [b"/%d" % number for number in range(20)]
        assert proxy.peer.accepted == 1
        await http.aclose()
    for pseudo, headers in heads:
        assert (pseudo[b":scheme"], pseudo[b":authority"]) == (b"http", b"a.test:81")
        assert headers[b"proxy-authorization"] == BASIC


@pytest.mark.parametrize("url", ["https://a.test/", "http://a.test/"])
async def test_p54_a_challenge_is_answered_on_the_same_http2_connection(
    world: World, ca: CertificateAuthority, url: str
) -> None:
    def script(conn: HTTP2Conn) -> None:
        first = conn.read_request() if url.startswith("http:") else conn.read_head()
        conn.respond(first.stream_id, 407, [(b"proxy-authenticate", b"Digest")], b"who?")
        second = conn.read_request() if url.startswith("http:") else conn.read_head()
        assert dict(second.headers)[b"proxy-authorization"] == b"Digest it"
        if url.startswith("http:"):
            conn.respond(second.stream_id, body=b"/")
        else:
            serve_tunnel(conn, second.stream_id, proxy.inner, 1)

    with HTTP2Proxy(ca, script) as proxy:
        via = proxy.via(on_challenge=lambda _: {"proxy-authorization": "Digest it"})
        http = proxy.one_slot(world, proxy=via)
        assert (await http.request("GET", url)).body == b"/"
        assert proxy.peer.accepted == 1
        await http.aclose()


async def refused(
    world: World, ca: CertificateAuthority, script: Callable[[HTTP2Conn], None], **options: object
) -> httpcore.HTTPCoreError:
    """The error of a request through a proxy that does what the script says; the pool is as good as new after it."""

    def played(conn: HTTP2Conn) -> None:
        script(conn)
        if conn.conn.socket.sock.fileno() >= 0:
            conn.wait_closed()

    with HTTP2Proxy(ca, played) as proxy:
        http = proxy.one_slot(world)
        error = await error_of(lambda: http.request("GET", "https://a.test/", **options))  # type: ignore[arg-type]
        assert f"the proxy {proxy.url}" in str(error)
        assert not error.request_sent
        await assert_holds(world, http, proxy, idle=0)
        await assert_still_works(world, http, proxy)
        return error


@pytest.mark.parametrize("status", [302, 403, 407, 502])
async def test_p54_whatever_is_not_a_yes_is_a_proxy_error(world: World, ca: CertificateAuthority, status: int) -> None:
    def script(conn: HTTP2Conn) -> None:
        headers = [(b"proxy-authenticate", b"Basic"), (b"location", b"https://evil.test/")]
        conn.respond(conn.read_head().stream_id, status, headers, b"because of this")

    error = await refused(world, ca, script)
    assert isinstance(error, ProxyError)
    assert (error.status_code, error.body) == (status, b"because of this")
    assert (b"proxy-authenticate", b"Basic") in error.headers


def reset(conn: HTTP2Conn) -> None:
    # RFC 9113, 8.5: what a proxy does whose connection to the origin fails.
    conn.send_rst(conn.read_head().stream_id, Code.CONNECT_ERROR)


def refuse_stream(conn: HTTP2Conn) -> None:
    conn.send_rst(conn.read_head().stream_id, Code.REFUSED_STREAM)


def go_away(conn: HTTP2Conn) -> None:
    conn.read_head()
    conn.goaway(0)


def break_off(conn: HTTP2Conn) -> None:
    conn.read_head()
    conn.rst()


def break_the_protocol(conn: HTTP2Conn) -> None:
    conn.read_head()
    conn.send_raw(b"HTTP/1.1 200 OK\r\n\r\n")


def switch(conn: HTTP2Conn) -> None:
    conn.send_head(conn.read_head().stream_id, 101)


@pytest.mark.parametrize("script", [reset, refuse_stream, go_away, break_off, break_the_protocol, switch])
async def test_h_garbage_a_proxy_that_speaks_badly_is_a_proxy_error(
    world: World, ca: CertificateAuthority, script: Callable[[HTTP2Conn], None]
) -> None:
    error = await refused(world, ca, script)
    assert type(error) is ProxyError, error


async def test_h_hang_silence_is_a_connect_timeout(world: World, ca: CertificateAuthority) -> None:
    def at_connect(conn: HTTP2Conn) -> None:
        conn.read_head()

    def in_the_handshake(conn: HTTP2Conn) -> None:
        conn.send_head(conn.read_head().stream_id, 200)

    for script in (at_connect, in_the_handshake):
        error = await refused(world, ca, script, timeout=Timeout(10, connect=0.3))
        assert isinstance(error, ConnectTimeout), error


def then_reset(conn: HTTP2Conn) -> None:
    stream_id = conn.read_head().stream_id
    conn.send_head(stream_id, 200)
    conn.send_rst(stream_id, Code.CONNECT_ERROR)


def then_end(conn: HTTP2Conn) -> None:
    stream_id = conn.read_head().stream_id
    conn.send_head(stream_id, 200)
    conn.send_data(stream_id, b"", end_stream=True)


def end_at_once(conn: HTTP2Conn) -> None:
    conn.send_head(conn.read_head().stream_id, 200, end_stream=True)


@pytest.mark.parametrize("script", [then_reset, then_end, end_at_once])
async def test_h_close_tls_an_end_in_the_handshake_is_a_connect_error(
    world: World, ca: CertificateAuthority, script: Callable[[HTTP2Conn], None]
) -> None:
    assert isinstance(await refused(world, ca, script), ConnectError)


async def test_h_close_tls_an_end_between_requests_is_a_new_tunnel(world: World, ca: CertificateAuthority) -> None:
    def script(conn: HTTP2Conn) -> None:
        stream_id = conn.read_head().stream_id
        serve_tunnel(conn, stream_id, proxy.inner, 1)
        conn.send_data(stream_id, b"", end_stream=True)
        sent.open()
        conn.wait_closed()

    with HTTP2Proxy(ca, script) as proxy:
        sent = proxy.peer.gate()
        http = proxy.one_slot(world)
        assert (await http.request("GET", "https://a.test/1")).body == b"/1"
        await world.until(sent.is_open)
        assert (await http.request("GET", "https://a.test/2")).body == b"/2"
        assert proxy.peer.accepted == 2
        await http.aclose()


async def test_h_close_tls_an_end_in_a_response_is_an_error(world: World, ca: CertificateAuthority) -> None:
    def script(conn: HTTP2Conn) -> None:
        stream_id = conn.read_head().stream_id
        conn.send_head(stream_id, 200)
        tls = TLSLayer(StreamLayer(conn, stream_id), proxy.inner)
        RequestReader(tls).read_head()
        tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        conn.send_rst(stream_id, Code.CONNECT_ERROR)
        conn.wait_closed()

    with HTTP2Proxy(ca, script) as proxy:
        http = proxy.one_slot(world)
        error = await error_of(lambda: http.request("GET", "https://a.test/"))
        assert isinstance(error, (httpcore.ReadError, httpcore.RemoteProtocolError))
        assert error.request_sent
        await assert_holds(world, http, proxy, idle=0)
        await assert_still_works(world, http, proxy)


async def test_a_forwarding_connection_is_shared_like_any_other(world: World, ca: CertificateAuthority) -> None:
    """A refused stream is sent again, and hurts no other."""

    def script(conn: HTTP2Conn) -> None:
        conn.send_rst(conn.read_request().stream_id, Code.REFUSED_STREAM)
        serve_http2(conn)

    with HTTP2Proxy(ca, script) as proxy:
        http = proxy.one_slot(world)
        assert (await http.request("POST", "http://a.test/x", body=b"y")).body == b"/x"
        assert proxy.peer.accepted == 1
        await http.aclose()


async def test_what_a_proxy_says_of_its_own_while_a_tunnel_is_idle_does_not_end_it(
    world: World, ca: CertificateAuthority
) -> None:
    """PING, SETTINGS and WINDOW_UPDATE come on the connection, which is not idle for that: no byte of the origin's."""

    def script(conn: HTTP2Conn) -> None:
        stream_id = conn.read_head().stream_id
        conn.send_head(stream_id, 200)
        tls = TLSLayer(StreamLayer(conn, stream_id), proxy.inner)
        reader = RequestReader(tls)
        for _ in range(3):
            assert reader.read_head().method == b"GET"
            tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            conn.ping(b"are you?")
            conn.settings({})
            conn.window_update(0, 1000)
            said.append(1)

    said: list[int] = []
    bodies: list[bytes] = []
    with HTTP2Proxy(ca, script) as proxy:
        http = proxy.one_slot(world)
        for _ in range(3):
            bodies.append((await http.request("GET", "https://a.test/")).body)
            await world.until(lambda: len(said) == len(bodies))
        assert bodies == [b"ok"] * 3
        assert proxy.peer.accepted == 1
        await http.aclose()


async def test_a_proxy_that_goes_away_lets_its_tunnels_go_on(world: World, ca: CertificateAuthority) -> None:
    def script(conn: HTTP2Conn) -> None:
        stream_id = conn.read_head().stream_id
        conn.send_head(stream_id, 200)
        tls = TLSLayer(StreamLayer(conn, stream_id), proxy.inner)
        reader = RequestReader(tls)
        reader.read_head()
        conn.goaway(stream_id)
        tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nfirst")
        tls.sendall(b"-go")
        reader.read_head()
        tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond")

    with HTTP2Proxy(ca, script) as proxy:
        http = proxy.one_slot(world)
        assert (await http.request("GET", "https://a.test/")).body == b"first-go"
        assert (await http.request("GET", "https://a.test/")).body in (b"second", b"/")
        await http.aclose()

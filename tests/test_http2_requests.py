"""Requests over HTTP/2, as real servers and scripted peers see them: everything that works over HTTP/1.1 works here.

Each frame that the client sends to a scripted peer is held against the rules (`support/http2_rules.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

import httpcore
from tests.support.app import TEXT, pattern
from tests.support.http2_peer import (
    Code,
    HTTP2Conn,
    HTTP2Peer,
    HTTP2Peers,
    HTTP2Req,
    RstStreamFrame,
    Setting,
    http2_context,
    serve,
)
from tests.support.invariants import assert_holds, assert_still_works, error_of, one_slot
from tests.support.nghttpd import Nghttpd
from tests.support.nginx import Nginx
from tests.support.peer import ScriptedPeer
from tests.support.servers import Server
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, only_worlds

MB = 1_000_000

APP = ["hypercorn over TLS", "hypercorn in clear", "nginx over TLS", "nginx in clear"]


@pytest.fixture(params=APP)
def app(request: pytest.FixtureRequest) -> str:
    """Where the application of `support/app.py` is found by HTTP/2."""
    if request.param.startswith("hypercorn"):
        server: Server = request.getfixturevalue("hypercorn_server")
        return server.https if "TLS" in request.param else server.http
    nginx: Nginx = request.getfixturevalue("nginx_server")
    return (nginx.http2 if "TLS" in request.param else nginx.http2_clear) + "/app"


@pytest.fixture(params=["over TLS", "in clear"])
def nghttpd(request: pytest.FixtureRequest, nghttpd_server: Nghttpd) -> str:
    return nghttpd_server.https if request.param == "over TLS" else nghttpd_server.http


def pool_for(world: World, origin: str, ca: CertificateAuthority, **options: object) -> httpcore.ConnectionPool:
    """A pool that speaks HTTP/2 there: by ALPN, or because it knows."""
    if origin.startswith("https:"):
        return world.pool(ssl=httpcore.SSLConfig(str(ca.pem_path)), **options)
    return world.pool(http1=False, **options)


# Real servers


async def test_a_get(world: World, app: str, ca: CertificateAuthority) -> None:
    http = pool_for(world, app, ca)
    responses = [await http.request("GET", app + "/") for _ in range(3)]
    assert {(r.status_code, r.http_version, r.reason, r.body) for r in responses} == {(200, "HTTP/2", "", b"hello")}
    assert [response.extensions["stream_id"] for response in responses] == [1, 3, 5]
    assert {response.headers.get("content-type") for response in responses} == {b"text/plain"}
    stats = http.stats()
    assert (stats.opened, stats.reused, stats.idle, stats.active) == (1, 2, 1, 0)


async def test_a_request_as_the_server_sees_it(
    world: World, hypercorn_server: Server, ca: CertificateAuthority
) -> None:
    for origin in (hypercorn_server.http, hypercorn_server.https):
        http = pool_for(world, origin, ca)
        headers = [("X-Upper", "Value"), ("x-twice", "1"), ("x-other", ""), ("x-twice", "2")]
        response = await http.request("PUT", origin + "/headers?a=b", headers, b"hello")
        seen = json.loads(response.body)
        assert (seen["http_version"], seen["method"], seen["path"], seen["query"]) == ("2", "PUT", "/headers", "a=b")
        ours = [pair for pair in seen["headers"] if pair[0].startswith("x-")]
        assert ours == [["x-upper", "Value"], ["x-twice", "1"], ["x-other", ""], ["x-twice", "2"]]
        assert ["content-length", "5"] in seen["headers"]


@pytest.mark.parametrize("size", [0, 1, 16_384, 65_535, 65_536, 3 * MB])
async def test_a_post_of_bytes(world: World, app: str, ca: CertificateAuthority, size: int) -> None:
    http = pool_for(world, app, ca)
    body = pattern(size)
    response = await http.request("POST", app + "/upload", body=body)
    assert json.loads(response.body) == {"sha256": hashlib.sha256(body).hexdigest(), "length": size}
    assert response.http_version == "HTTP/2"


async def test_a_post_in_parts_of_unknown_length(world: World, app: str, ca: CertificateAuthority) -> None:
    parts = [pattern(size) for size in (1, 100_000, 16_384, 7, MB)]
    response = await pool_for(world, app, ca).request("POST", app + "/upload", body=iter(parts))
    assert json.loads(response.body)["sha256"] == hashlib.sha256(b"".join(parts)).hexdigest()


async def test_a_download_in_parts(world: World, app: str, ca: CertificateAuthority) -> None:
    http = pool_for(world, app, ca)
    for query in ("", "?chunked=1"):
        response = await http.request("GET", app + f"/bytes/{5 * MB}{query}", stream=True)
        received = b"".join([part async for part in response.stream()])
        assert received == pattern(5 * MB)
    assert http.stats().idle == 1


async def test_a_head_has_no_body(world: World, nginx_server: Nginx, ca: CertificateAuthority) -> None:
    for origin in (nginx_server.http2, nginx_server.http2_clear):
        http = pool_for(world, origin, ca)
        response = await http.request("HEAD", origin + "/1kB.bin")
        assert (response.status_code, response.body, response.headers.get("content-length")) == (200, b"", b"1000")
        assert (await http.request("GET", origin + "/1kB.bin")).body == pattern(1000)
        assert http.stats().opened == 1


@pytest.mark.parametrize("status", [204, 304, 404, 500])
async def test_statuses(world: World, app: str, ca: CertificateAuthority, status: int) -> None:
    http = pool_for(world, app, ca)
    response = await http.request("GET", app + f"/status/{status}")
    assert response.status_code == status
    assert response.body == (b"" if status in (204, 304) else b"%d" % status)
    assert (await http.request("GET", app + "/")).body == b"hello"
    assert http.stats().opened == 1


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_body_is_decoded(world: World, hypercorn_server: Server, ca: CertificateAuthority, coding: str) -> None:
    origin = hypercorn_server.https
    response = await pool_for(world, origin, ca, decompress=True).request("GET", f"{origin}/{coding}")
    assert response.body == TEXT
    assert response.headers.get("content-encoding") is None
    assert response.extensions["content_encoding"] == coding.encode()


async def test_many_requests_at_once(world: World, app: str, ca: CertificateAuthority) -> None:
    """More than any of these servers takes on one connection."""
    http = pool_for(world, app, ca, timeout=20)

    async def get(size: int) -> bool:
        return (await http.request("GET", app + f"/bytes/{size}")).body == pattern(size)

    assert all(await world.gather_ok(*[lambda size=size * 1001: get(size) for size in range(200)]))
    assert http.stats().active == 0
    assert http.stats().opened <= 4


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.time_limit(60)
async def test_large_bodies_both_ways_at_once(world: World, nghttpd: str, ca: CertificateAuthority) -> None:
    http = pool_for(world, nghttpd, ca, timeout=30)
    body = pattern(10 * MB)

    async def down() -> bool:
        return (await http.request("GET", nghttpd + "/10MB.bin")).body == body

    async def up() -> bool:
        return (await http.request("POST", nghttpd + "/echo", body=body)).body == body

    assert all(await world.gather_ok(down, up, down, up))
    assert http.stats().opened <= 2


async def test_p42_trailers_of_nghttpd(world: World, nghttpd: str, ca: CertificateAuthority) -> None:
    http = pool_for(world, nghttpd, ca)
    response = await http.request("GET", nghttpd + "/1kB.bin")
    assert (response.body, list(response.trailers)) == (pattern(1000), [(b"x-end", b"yes")])
    assert response.headers.get("x-end") is None


async def test_p22_expect_100_continue_of_nghttpd(world: World, nghttpd: str, ca: CertificateAuthority) -> None:
    http = pool_for(world, nghttpd, ca)
    response = await http.request("POST", nghttpd + "/echo", {"expect": "100-continue"}, b"hello")
    assert (response.status_code, response.body) == (200, b"hello")


async def test_p29_a_server_sent_event_is_seen_when_it_comes(world: World, app: str, ca: CertificateAuthority) -> None:
    async with await pool_for(world, app, ca).request("GET", app + "/sse?count=3", stream=True) as response:
        events = [part async for part in response.stream()]
    assert [b"event %d" % number in event for number, event in enumerate(events)] == [True] * 3


# Which protocol


async def test_http1_where_the_server_speaks_nothing_else(
    world: World, nginx_server: Nginx, uvicorn_server: Server, ca: CertificateAuthority
) -> None:
    http = world.pool(ssl=httpcore.SSLConfig(str(ca.pem_path)), http2=True)
    for url in (nginx_server.https + "/1kB.bin", uvicorn_server.https + "/bytes/1000", nginx_server.http + "/1kB.bin"):
        response = await http.request("GET", url)
        assert (response.http_version, response.body) == ("HTTP/1.1", pattern(1000))
        assert "stream_id" not in response.extensions


async def test_http1_where_http2_is_not_wanted(world: World, nginx_server: Nginx, ca: CertificateAuthority) -> None:
    http = world.pool(ssl=httpcore.SSLConfig(str(ca.pem_path)), http2=False)
    assert (await http.request("GET", nginx_server.http2 + "/1kB.bin")).http_version == "HTTP/1.1"


async def test_http2_alone_over_tls(world: World, nginx_server: Nginx, ca: CertificateAuthority) -> None:
    http = world.pool(ssl=httpcore.SSLConfig(str(ca.pem_path)), http1=False)
    assert (await http.request("GET", nginx_server.http2 + "/1kB.bin")).http_version == "HTTP/2"
    with pytest.raises(httpcore.ConnectError, match=r"application.protocol|h2 alone"):
        await http.request("GET", nginx_server.https + "/1kB.bin")
    assert http.stats().active == 0


async def test_a_context_of_the_callers_offers_what_they_told_it_to(world: World, ca: CertificateAuthority) -> None:
    """It is never changed, and so speaks HTTP/2 where it was made for that."""
    offered = ca.server_context(alpn=("h2", "http/1.1"))
    with HTTP2Peer(serve, tls=offered) as peer:
        http = world.pool(ssl=ca.client_context(alpn=("h2", "http/1.1")))
        assert (await http.request("GET", peer.url)).http_version == "HTTP/2"
    with ScriptedPeer.answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", tls=offered) as peer1:
        http = world.pool(ssl=ca.client_context())
        assert (await http.request("GET", peer1.url)).http_version == "HTTP/1.1"


async def test_a_pool_speaks_both_at_once(
    world: World, nginx_server: Nginx, uvicorn_server: Server, ca: CertificateAuthority
) -> None:
    http = world.pool(ssl=httpcore.SSLConfig(str(ca.pem_path)))
    urls = [nginx_server.http2 + "/1kB.bin", uvicorn_server.https + "/bytes/1000", uvicorn_server.http + "/bytes/1000"]
    responses = await world.gather_ok(*[lambda url=url: http.request("GET", url) for url in urls * 5])
    assert [response.http_version for response in responses] == ["HTTP/2", "HTTP/1.1", "HTTP/1.1"] * 5
    assert {response.body for response in responses} == {pattern(1000)}


# The head of a request


async def head_of(world: World, *args: object, **options: object) -> HTTP2Req:
    """A request as the peer saw it."""
    with HTTP2Peer(serve) as peer:
        await world.pool(http1=False).request(args[0], peer.origin + str(args[1]), *args[2:], **options)  # type: ignore[arg-type]
        (request,) = peer.requests
        assert isinstance(request, HTTP2Req)
        return request


async def test_pseudo_header_fields(world: World) -> None:
    request = await head_of(world, "GET", "/a/b?c=d")
    assert request.pseudo[b":path"] == b"/a/b?c=d"
    assert request.pseudo[b":scheme"] == b"http"
    assert request.pseudo[b":method"] == b"GET"
    assert request.pseudo[b":authority"].startswith(b"127.0.0.1:")


async def test_p30_header_order_duplicates_and_values_are_kept_both_ways(world: World) -> None:
    values = [
        (b"b", b"1"),
        (b"a", b"2"),
        (b"b", b"\xe4 \t3"),
        (b"c", b""),
        (b"set-cookie", b"x"),
        (b"set-cookie", b"y"),
    ]

    def script(conn: HTTP2Conn) -> None:
        request = conn.read_request()
        assert [pair for pair in request.headers if pair[0] != b"accept-encoding"] == values
        conn.respond(request.stream_id, headers=request.headers)

    with HTTP2Peer(script) as peer:
        response = await world.pool(http1=False).request("GET", peer.url, values)
        assert [pair for pair in response.headers if pair[0] != b"accept-encoding"] == values


async def test_what_belongs_to_http1_is_left_out(world: World) -> None:
    """A gateway may pass on what it got; the rules for each frame say that none of it arrives."""
    headers = {
        "Connection": "keep-alive, x-hop",
        "Keep-Alive": "timeout=5",
        "Proxy-Connection": "keep-alive",
        "Transfer-Encoding": "chunked",
        "Upgrade": "h2c",
        "TE": "trailers",
        "X-End": "1",
    }
    request = await head_of(world, "POST", "/", headers, [b"hello"])
    assert request.header(b"te") == b"trailers"
    assert request.header(b"x-end") == b"1"
    assert request.body == b"hello"


async def test_te_is_trailers_or_nothing(world: World) -> None:
    assert (await head_of(world, "GET", "/", {"TE": "gzip, trailers;q=0.5"})).header(b"te") in (None, b"trailers")


async def test_a_host_of_the_callers_is_the_authority(world: World) -> None:
    request = await head_of(world, "GET", "/", {"Host": "example.org:8080"})
    assert request.pseudo[b":authority"] == b"example.org:8080"


async def test_cookies_stay_as_they_were_given(world: World) -> None:
    """They may be split to compress better (RFC 9113, 8.2.3); what the server reads is the same."""
    request = await head_of(world, "GET", "/", {"Cookie": "a=b; c=d; e=f"})
    assert b"; ".join(request.header_list(b"cookie")) == b"a=b; c=d; e=f"


async def test_cookies_of_the_real_world(world: World, hypercorn_server: Server, ca: CertificateAuthority) -> None:
    http = pool_for(world, hypercorn_server.https, ca)
    response = await http.request("GET", hypercorn_server.https + "/headers", {"Cookie": "a=b; c=d"})
    crumbs = [value for name, value in json.loads(response.body)["headers"] if name == "cookie"]
    assert "; ".join(crumbs) == "a=b; c=d"


async def test_secrets_enter_no_table_of_hpack(world: World) -> None:
    """RFC 7541, 7.1.3: literals that are never indexed, so that nobody can guess them by the size of what is sent."""
    secret = {"Authorization": "Bearer secret-of-mine"}
    with HTTP2Peer(serve) as peer:
        http = world.pool(http1=False)
        await http.request("GET", peer.url, secret)
        await http.request("GET", peer.url, secret)
        first, second = (request.raw_head for request in peer.requests)
        # The name may be indexed, the value is there again in full.
        assert len(second) > 15
        assert len(first) >= len(second)


@pytest.mark.parametrize("size", [0, 100, 4096, 65_536])
async def test_the_table_of_hpack_is_as_small_as_the_peer_wants_it(world: World, size: int) -> None:
    """Its decoder refuses what is larger, and a size that was lowered without a word (RFC 7541, 4.2)."""

    def script(conn: HTTP2Conn) -> None:
        for at in range(10):
            request = conn.read_request()
            assert request.header(b"x-long") == b"v" * 50 + b"%d" % at
            if at == 5:
                conn.settings({Setting.HEADER_TABLE_SIZE: 50})
                conn.roundtrip()
            conn.respond(request.stream_id, body=request.target)
        serve(conn)

    with HTTP2Peers(script, settings={Setting.HEADER_TABLE_SIZE: size}) as peers:
        http = one_slot(world, http1=False)
        for at in range(10):
            headers = {"x-long": "v" * 50 + str(at), "x-same": "same"}
            assert (await http.request("GET", peers.url, headers)).body == b"/"
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


@pytest.mark.parametrize("target", [b"*", b"/a/../b", b"/%zz?a=\xff".replace(b"\xff", b"~")])
async def test_a_target_is_sent_as_it_is_given(world: World, target: bytes) -> None:
    request = await head_of(world, "OPTIONS", "/", extensions={"target": target})
    assert request.pseudo[b":path"] == target


async def test_a_long_head_goes_out_in_continuations(world: World) -> None:
    headers = [(f"x-{at}", "y" * 1000) for at in range(50)]
    request = await head_of(world, "GET", "/", headers)
    assert [value for name, value in request.headers if name.startswith(b"x-")] == [b"y" * 1000] * 50


async def test_p28_nothing_is_sent_of_what_is_not_http(world: World) -> None:
    with HTTP2Peer(serve) as peer:
        http = world.pool(http1=False)
        for headers in ({"a\r\nb": "c"}, {"a": "b\nc"}, {":path": "/evil"}, {"a b": "c"}, {"": "c"}):
            with pytest.raises(httpcore.LocalProtocolError):
                await http.request("GET", peer.url, headers)
        assert (await http.request("GET", peer.url)).status_code == 200
        assert len(peer.requests) == 1


# Bodies


async def test_p58_an_empty_body_ends_the_stream_at_once(world: World) -> None:
    for method, body, length in (("GET", None, None), ("POST", None, b"0"), ("POST", b"", b"0")):
        request = await head_of(world, method, "/", None, body)
        assert (request.body, request.header(b"content-length")) == (b"", length)


async def test_p58_a_body_that_disagrees_with_its_length_costs_its_stream(world: World) -> None:
    with HTTP2Peers(serve) as peers:
        http = one_slot(world, http1=False)
        for parts in ([b"hello"], [b"hello", b"world", b"!"]):
            job = partial(http.request, "POST", peers.url, {"content-length": "10"}, iter(parts))
            error = await error_of(job)
            assert isinstance(error, httpcore.LocalProtocolError)
            assert http.stats().active == 0
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1
        assert {code for _, code in peers.faulty.resets} <= {Code.CANCEL, Code.INTERNAL_ERROR, Code.PROTOCOL_ERROR}
        assert len(peers.faulty.resets) == 2


class Mine(Exception):
    pass


async def test_d_body_exc_the_exception_of_a_body_comes_through_and_costs_its_stream(world: World) -> None:
    def body() -> Iterator[bytes]:
        yield b"hello"
        raise Mine

    with HTTP2Peers(serve) as peers:
        http = one_slot(world, http1=False)
        with pytest.raises(Mine):
            await http.request("POST", peers.url, body=body())
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert (peers.accepted, len(peers.faulty.resets)) == (1, 1)


async def test_p24_trailers_of_a_request_follow_its_body(world: World) -> None:
    for body in ([b"hello", b" world"], iter([b"hello world"]), []):
        request = await head_of(
            world,
            "POST",
            "/",
            {"te": "trailers"},
            body,
            extensions={"trailers": lambda: [("X-Sum", "1"), ("x-b", "2")]},
        )
        assert request.body == (b"hello world" if body != [] else b"")
        assert request.trailers == [(b"x-sum", b"1"), (b"x-b", b"2")]


async def test_p42_trailers_of_a_response(world: World) -> None:
    """They come after the body and beside the headers; also of a response without a body."""
    trailers = [(b"x-sum", b"foot"), (b"x-more", b"1"), (b"x-more", b"2")]

    def script(conn: HTTP2Conn) -> None:
        stream_id = conn.read_request().stream_id
        conn.respond(stream_id, headers=[(b"x-sum", b"head")], body=b"hello", end_stream=False)
        has_head.wait()
        conn.send_headers(stream_id, trailers, end_stream=True)
        conn.respond(conn.read_request().stream_id, trailers=trailers)
        serve(conn)

    with HTTP2Peers(script) as peers:
        has_head = peers.faulty.gate()
        http = one_slot(world, http1=False)
        response = await http.request("GET", peers.url, stream=True)
        with pytest.raises(httpcore.ResponseNotRead, match="trailers follow the body"):
            _ = response.trailers
        has_head.open()
        assert await response.read() == b"hello"
        assert list(response.trailers) == trailers
        assert response.headers.get_list("x-sum") == [b"head"]
        response = await http.request("GET", peers.url)
        assert (response.body, list(response.trailers)) == (b"", trailers)
        await assert_still_works(world, http, peers)


@only_worlds("asyncio", "uvloop", "trio")
async def test_full_duplex_a_body_that_waits_for_the_response(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        head = conn.read_head()
        conn.respond(head.stream_id, body=b"go", end_stream=False)
        conn.send_data(head.stream_id, conn.read_body(head).body, end_stream=True)
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        may_go = world.event()

        async def body() -> AsyncIterator[bytes]:
            await may_go.wait()
            yield b"gone"

        response = await http.request("POST", peers.url, body=body(), stream=True)
        parts = response.stream()
        assert await anext(parts) == b"go"
        may_go.set()
        assert [part async for part in parts] == [b"gone"]
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


# 1xx and Expect


async def test_p42_interim_responses_reach_a_callback(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        stream_id = conn.read_request().stream_id
        conn.send_head(stream_id, 103, [(b"link", b"</a.css>")])
        conn.send_head(stream_id, 102)
        conn.send_head(stream_id, 103, [(b"link", b"</b.css>")])
        conn.respond(stream_id, body=b"hello")
        serve(conn)

    with HTTP2Peers(script) as peers:
        seen: list[tuple[int, bytes | None]] = []
        http = one_slot(world, http1=False)
        extensions = {"on_informational": lambda status, headers: seen.append((status, headers.get("link")))}
        response = await http.request("GET", peers.url, extensions=extensions)
        assert (response.status_code, response.body, response.headers.get("link")) == (200, b"hello", None)
        assert seen == [(103, b"</a.css>"), (102, None), (103, b"</b.css>")]
        await assert_still_works(world, http, peers)


async def test_p23_a_callback_that_raises_costs_its_stream(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        conn.send_head(conn.read_request().stream_id, 103)
        conn.recv_until(RstStreamFrame)
        serve(conn)

    def fail(status: int, headers: httpcore.Headers) -> None:
        raise Mine

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        with pytest.raises(Mine):
            await http.request("GET", peers.url, extensions={"on_informational": fail})
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


EXPECT = {"expect": "100-continue"}


async def test_p22_expect_100_continue_holds_the_body_until_100(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        head = conn.read_head()
        assert head.header(b"expect") == b"100-continue"
        conn.roundtrip()
        assert conn.received(head.stream_id) == 0
        conn.send_head(head.stream_id, 100)
        assert conn.read_body(head).body == b"hello"
        conn.respond(head.stream_id, body=b"thanks")
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        assert (await http.request("POST", peers.url, EXPECT, b"hello")).body == b"thanks"
        await assert_still_works(world, http, peers)


async def test_p22_expect_100_continue_a_final_answer_is_instead_of_the_body(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        head = conn.read_head()
        conn.respond(head.stream_id, 417, body=b"no")
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        response = await http.request("POST", peers.url, EXPECT, b"hello")
        assert (response.status_code, response.body) == (417, b"no")
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1
        assert peers.faulty.http2_connections[0].received(1) == 0
        # The stream is not left half open at the server.
        assert [stream_id for stream_id, _ in peers.faulty.resets] == [1]


@only_worlds("asyncio", "uvloop", "trio")
async def test_p22_expect_100_continue_an_async_body_is_not_begun_where_the_answer_is_there(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        conn.respond(conn.read_head().stream_id, 417, body=b"no")
        serve(conn)

    begun: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        begun.append(b"begun")
        yield b"hello"

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        assert (await http.request("POST", peers.url, EXPECT, body())).status_code == 417
        await assert_still_works(world, http, peers)
        assert begun == []


async def test_p22_expect_100_continue_holds_the_body_for_a_second_at_most(world: World) -> None:
    with HTTP2Peers(serve) as peers:
        http = one_slot(world, http1=False)
        assert (await http.request("POST", peers.url, EXPECT, b"hello")).body == b"/"
        assert peers.faulty.requests[0].body == b"hello"


@only_worlds("asyncio", "uvloop", "trio")
async def test_a_request_that_ends_after_its_response_leaves_room_for_the_next(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        head = conn.read_head()
        conn.send_head(head.stream_id)
        has_head.wait()
        conn.send_data(head.stream_id, b"all", end_stream=True)
        conn.read_body(head)
        serve(conn)

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await world.until(lambda: parts)
        yield b"last"
        ends.append(True)

    parts: list[bytes] = []
    ends: list[bool] = []
    with HTTP2Peers(script, settings={Setting.MAX_CONCURRENT_STREAMS: 1}) as peers:
        has_head = peers.faulty.gate()
        http = one_slot(world, http1=False)
        async with await http.request("POST", peers.url, body=body(), stream=True) as response:
            has_head.open()
            stream = aiter(response.stream())
            parts.append(await anext(stream))
            await world.until(lambda: ends)
            assert [part async for part in stream] == []
        assert parts == [b"all"]
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


# CONNECT


async def test_p25_connect_hands_over_the_tunnel(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        head = conn.read_head()
        assert head.pseudo == {b":method": b"CONNECT", b":authority": b"example.org:443"}
        conn.respond(head.stream_id, body=b"welcome\n", end_stream=False)
        beside = conn.read_request()
        conn.respond(beside.stream_id, body=beside.target)
        while conn.body_so_far(head.stream_id) != b"hello":
            conn.recv_frame()
        conn.send_data(head.stream_id, b"goodbye", end_stream=True)
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        response = await http.request("CONNECT", peers.url, extensions={"target": b"example.org:443"})
        assert (response.status_code, response.body) == (200, b"")
        stream = response.extensions["network_stream"]
        assert isinstance(stream, httpcore.NetworkStream)
        assert await stream.read() == b"welcome\n"
        await stream.write(b"hello")
        # The connection is not the tunnel's alone.
        assert (await http.request("GET", peers.faulty.origin + "/beside")).body == b"/beside"
        assert await stream.read() == b"goodbye"
        assert await stream.read() == b""
        await stream.aclose()
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


async def test_p25_connect_that_is_refused_is_a_normal_response(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        conn.respond(conn.read_head().stream_id, 403, body=b"no tunnel")
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        response = await http.request("CONNECT", peers.url)
        assert (response.status_code, response.body) == (403, b"no tunnel")
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


async def test_p25_a_tunnel_obeys_the_windows_both_ways(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        stream_id = conn.read_head().stream_id
        conn.send_head(stream_id)
        while conn.received(stream_id) < MB:
            conn.recv_frame()
        conn.send_data(stream_id, conn.body_so_far(stream_id), end_stream=True)
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        response = await http.request("CONNECT", peers.url)
        stream = response.extensions["network_stream"]
        assert isinstance(stream, httpcore.NetworkStream)
        await stream.write(pattern(MB))
        received = b""
        while part := await stream.read():
            received += part
        assert received == pattern(MB)
        await stream.aclose()
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


async def test_p25_a_tunnel_that_is_closed_or_reset_costs_its_stream(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        first = conn.read_head().stream_id
        conn.send_head(first)
        assert conn.recv_rst(first) is Code.CANCEL
        second = conn.read_head().stream_id
        conn.send_head(second)
        conn.send_rst(second, Code.CONNECT_ERROR)
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        for is_reset in (False, True):
            response = await http.request("CONNECT", peers.url)
            stream = response.extensions["network_stream"]
            assert isinstance(stream, httpcore.NetworkStream)
            if is_reset:
                error = await error_of(stream.read)
                assert "CONNECT_ERROR" in str(error)
            await stream.aclose()
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


async def test_extended_connect_carries_another_protocol(world: World) -> None:
    """RFC 8441, where the peer offers it."""

    def script(conn: HTTP2Conn) -> None:
        head = conn.read_head()
        assert head.pseudo[b":method"] == b"CONNECT"
        assert head.pseudo[b":protocol"] == b"websocket"
        assert head.pseudo[b":path"] == b"/chat?room=1"
        assert head.pseudo[b":scheme"] == b"http"
        conn.send_head(head.stream_id, headers=[(b"sec-websocket-protocol", b"chat")])
        while conn.body_so_far(head.stream_id) != b"hello":
            conn.recv_frame()
        conn.send_data(head.stream_id, b"hello to you", end_stream=True)
        serve(conn)

    with HTTP2Peers(script, settings={Setting.ENABLE_CONNECT_PROTOCOL: 1}) as peers:
        http = one_slot(world, http1=False)
        headers = {"sec-websocket-protocol": "chat"}
        url = peers.faulty.origin + "/chat?room=1"
        response = await http.request("CONNECT", url, headers, extensions={"protocol": b"websocket"})
        assert (response.status_code, response.headers.get("sec-websocket-protocol")) == (200, b"chat")
        stream = response.extensions["network_stream"]
        assert isinstance(stream, httpcore.NetworkStream)
        await stream.write(b"hello")
        assert await stream.read() == b"hello to you"
        assert await stream.read() == b""
        await stream.aclose()
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


async def test_extended_connect_is_refused_where_the_peer_does_not_offer_it(world: World) -> None:
    with HTTP2Peers(serve) as peers:
        http = one_slot(world, http1=False)
        error = await error_of(lambda: http.request("CONNECT", peers.url, extensions={"protocol": b"websocket"}))
        assert isinstance(error, httpcore.LocalProtocolError)
        assert not error.request_sent
        assert peers.faulty.requests == []
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


# Scripted, over TLS


async def test_a_scripted_peer_over_tls(world: World, ca: CertificateAuthority) -> None:
    with HTTP2Peers(tls=http2_context(ca)) as peers:
        http = one_slot(world, ssl=httpcore.SSLConfig(str(ca.pem_path)))
        for at in range(3):
            response = await http.request("POST", peers.faulty.origin + f"/{at}", body=pattern(100_000))
            assert (response.body, response.http_version) == (b"/%d" % at, "HTTP/2")
        assert {request.body for request in peers.faulty.requests} == {pattern(100_000)}
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1

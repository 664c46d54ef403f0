"""HTTP/2 from many threads at once, and from a gateway: one connection carries them all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import httpcore
from examples.gateway import Gateway
from scripts.demo import serving
from tests.support.app import TEXT, pattern
from tests.support.http2_peer import Code, HTTP2Conn, HTTP2Peer
from tests.support.servers import Server
from tests.support.threads import in_threads
from tests.support.worlds import World


@pytest.mark.time_limit(60)
def test_p20_64_threads_share_one_connection_and_each_gets_its_own_answer(hypercorn_server: Server) -> None:
    with httpcore.SyncConnectionPool(http1=False, limits=httpcore.Limits(max_connections=1), timeout=20) as http:

        def work(number: int) -> None:
            for round in range(8):
                body = b"%d-%d." % (number, round) * (1 + 4000 * (round % 2))
                with http.request("POST", f"{hypercorn_server.http}/echo", body=body, stream=True) as response:
                    assert response.http_version == "HTTP/2"
                    assert b"".join(response.stream()) == body

        in_threads(64, work, patience=50)
        stats = http.stats()
        assert (stats.opened, stats.active, stats.idle, stats.waiting) == (1, 0, 1, 0)
        assert stats.reused == 64 * 8 - 1


@pytest.mark.time_limit(60)
def test_threads_that_close_early_leave_the_others_their_answers(hypercorn_server: Server) -> None:
    with httpcore.SyncConnectionPool(http1=False, limits=httpcore.Limits(max_connections=1), timeout=20) as http:

        def work(number: int) -> None:
            for round in range(6):
                size = 300_000 + number
                with http.request("GET", f"{hypercorn_server.http}/bytes/{size}", stream=True) as response:
                    if (number + round) % 3:
                        assert hashlib.sha256(b"".join(response.stream())).digest() == wanted(size)
                    else:
                        next(iter(response.stream()))

        in_threads(16, work, patience=50)
        assert http.request("GET", hypercorn_server.http + "/").body == b"hello"
        stats = http.stats()
        assert (stats.opened, stats.active, stats.idle) == (1, 0, 1)


def wanted(size: int) -> bytes:
    return hashlib.sha256(pattern(size)).digest()


def test_a_connection_that_breaks_tells_each_thread_that_waits_on_it() -> None:
    def script(conn: HTTP2Conn) -> None:
        for _ in range(16):
            conn.read_request()
        conn.goaway(0, Code.INTERNAL_ERROR)
        conn.fin()
        conn.wait_closed()

    errors: list[httpcore.HTTPCoreError] = []
    with HTTP2Peer(script) as peer, httpcore.SyncConnectionPool(http1=False, timeout=20) as http:

        def work(number: int) -> None:
            with pytest.raises(httpcore.HTTPCoreError) as caught:
                http.request("POST", peer.url, body=iter([b"once"]))
            errors.append(caught.value)

        in_threads(16, work, patience=50)
        assert http.stats().active == 0
    assert len(set(map(id, errors))) == 16
    assert {str(error).partition(" (waiting")[0].partition(" (INTERNAL")[0] for error in errors} == {
        "the peer is going away"
    }


# The gateway, with an upstream that speaks HTTP/2


@contextmanager
def gateway_to(upstream: str) -> Iterator[str]:
    gateway = Gateway(upstream)
    gateway.http = httpcore.ConnectionPool(http1=False)
    with serving(gateway, server_header=False, date_header=False) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def gateway(hypercorn_server: Server) -> Iterator[str]:
    with gateway_to(hypercorn_server.http) as origin:
        yield origin


async def test_a_gateway_passes_requests_and_answers_on_over_http2(world: World, gateway: str) -> None:
    http = world.pool()
    seen = json.loads((await http.request("GET", f"{gateway}/headers?a=b", headers={"x-a": "1"})).body)
    assert (seen["path"], seen["query"]) == ("/headers", "a=b")
    assert seen["http_version"] == "2"
    assert ["x-a", "1"] in seen["headers"]
    coded = await world.pool(decompress=False).request("GET", f"{gateway}/gzip")
    assert (coded.body, coded.headers.get("content-encoding")) == (TEXT, None)
    response = await http.request("GET", f"{gateway}/status/404")
    assert (response.status_code, response.headers.get("connection")) == (404, None)


async def test_a_gateway_streams_both_ways_over_http2(world: World, gateway: str) -> None:
    http = world.pool(timeout=20)
    body = pattern(5_000_000)
    answer = json.loads((await http.request("POST", f"{gateway}/upload", body=iter([body]))).body)
    assert answer["sha256"] == hashlib.sha256(body).hexdigest()
    assert (await http.request("GET", f"{gateway}/bytes/5000000")).body == body
    assert (await http.request("POST", f"{gateway}/echo", body=body[:1_000_000])).body == body[:1_000_000]


async def test_a_client_that_hangs_up_resets_the_stream_of_its_request(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        request = conn.read_request()
        conn.send_head(request.stream_id)
        conn.send_data(request.stream_id, b"first")
        resets.append(conn.recv_rst(request.stream_id))
        request = conn.read_request()
        conn.respond(request.stream_id, body=b"second")
        conn.wait_closed()

    resets: list[object] = []
    with HTTP2Peer(script) as peer, gateway_to(peer.origin) as origin:
        http = world.pool()
        response = await http.request("GET", origin, stream=True)
        assert await anext(aiter(response.stream())) == b"first"
        await response.aclose()
        await world.until(lambda: resets)
        assert resets == [Code.CANCEL]
        assert (await http.request("GET", origin)).body == b"second"
        assert peer.accepted == 1

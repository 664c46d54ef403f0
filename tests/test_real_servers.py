"""HTTP/1.1 with real servers, in every world, over both engines, in clear and over TLS."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import httpcore
from tests.support.app import TEXT, pattern
from tests.support.nginx import Nginx
from tests.support.servers import Server
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, only_worlds

PLACES = ["uvicorn", "uvicorn over TLS", "hypercorn", "hypercorn over TLS", "nginx", "nginx over TLS"]


@dataclass(frozen=True)
class Place:
    """One way to reach the application: a server, in clear or over TLS."""

    name: str
    base_url: str
    pool: dict[str, Any]
    """What a pool needs to be told: whom to trust, which engine."""

    def url(self, path: str) -> str:
        return self.base_url + path


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, ca: CertificateAuthority, engine: str) -> Place:
    name, _, tls = request.param.partition(" ")
    server: Server = request.getfixturevalue(f"{name}_server")
    origin = server.https if tls else server.http
    pool = {"ssl": ca.client_context(), "http2": False, "http1_engine": engine}
    return Place(request.param, origin + ("/app" if name == "nginx" else ""), pool)


async def test_get(world: World, place: Place) -> None:
    http = world.pool(**place.pool)
    response = await http.request("GET", place.url("/"))
    # Hypercorn sends no reason phrase.
    reason = "" if place.name.startswith("hypercorn") else "OK"
    assert (response.status_code, response.reason, response.http_version) == (200, reason, "HTTP/1.1")
    assert response.headers.get(b"content-type") == b"text/plain"
    assert response.headers.get(b"content-length") == b"5"
    assert response.body == b"hello"


async def test_one_connection_serves_requests_one_after_another(world: World, place: Place) -> None:
    http = world.pool(**place.pool)
    for _ in range(5):
        assert (await http.request("GET", place.url("/"))).body == b"hello"
    assert (await http.request("POST", place.url("/upload"), body=b"x" * 100_000)).status_code == 200
    assert len(http.connections) == 1
    # uvicorn and hypercorn tell the client's port; nginx is the client of the application, with connections of its own.
    if not place.name.startswith("nginx"):
        ports = {json.loads((await http.request("GET", place.url("/headers"))).body)["client"][1] for _ in range(3)}
        assert len(ports) == 1


async def test_request_headers_arrive_in_order_with_their_duplicates(world: World, place: Place) -> None:
    http = world.pool(**place.pool)
    sent = [("x-one", "1"), ("x-two", "2"), ("x-one", "3")]
    seen = json.loads((await http.request("GET", place.url("/headers?a=b%20c&d"), headers=sent)).body)
    assert (seen["method"], seen["path"], seen["query"]) == ("GET", "/headers", "a=b%20c&d")
    assert [(name, value) for name, value in seen["headers"] if name.startswith("x-")] == sent
    # What stands behind nginx is told the same host as nginx, by its configuration.
    host = place.base_url.split("/")[2]
    assert [value for name, value in seen["headers"] if name == "host"] == [host]


BODY = pattern(300_000)
DIGEST = {"sha256": hashlib.sha256(BODY).hexdigest(), "length": len(BODY)}


def parts() -> Iterator[bytes]:
    for start in range(0, len(BODY), 70_000):
        yield BODY[start : start + 70_000]


async def test_bytes_files_and_iterables_are_uploaded(world: World, place: Place) -> None:
    http = world.pool(**place.pool)
    for body in (BODY, io.BytesIO(BODY), parts()):
        response = await http.request("POST", place.url("/upload"), body=body)
        assert json.loads(response.body) == DIGEST, type(body)
    assert (await http.request("POST", place.url("/echo"), body="grüße")).body == "grüße".encode()
    assert len(http.connections) == 1


@only_worlds("asyncio", "uvloop", "trio")
async def test_an_async_iterable_is_uploaded(world: World, place: Place) -> None:
    async def async_parts() -> AsyncIterator[bytes]:
        for part in parts():
            await world.sleep(0)
            yield part

    http = world.pool(**place.pool)
    response = await http.request("PUT", place.url("/upload"), body=async_parts())
    assert json.loads(response.body) == DIGEST


@pytest.mark.parametrize("query", ["", "?chunked=1"], ids=["with a length", "chunked"])
async def test_a_body_is_had_whole_in_decoded_parts_and_in_raw_parts(world: World, place: Place, query: str) -> None:
    http = world.pool(**place.pool)
    size = 1_000_003
    url = place.url(f"/bytes/{size}{query}")
    assert (await http.request("GET", url)).body == pattern(size)
    async with await http.request("GET", url, stream=True) as response:
        assert await response.read() == pattern(size)
    async with await http.request("GET", url, stream=True) as response:
        assert b"".join([part async for part in response.stream()]) == pattern(size)
    async with await http.request("GET", url, stream=True) as response:
        assert b"".join([part async for part in response.raw()]) == pattern(size)
    assert len(http.connections) == 1


async def test_a_body_streams_up_and_down_at_once(world: World, place: Place) -> None:
    http = world.pool(**place.pool)
    async with await http.request("POST", place.url("/echo"), body=parts(), stream=True) as response:
        assert b"".join([part async for part in response.stream()]) == BODY


async def test_codings_that_the_pool_asked_for_are_decoded(world: World, place: Place) -> None:
    http = world.pool(**place.pool)
    for coding in ("gzip", "deflate", "br", "zstd"):
        response = await http.request("GET", place.url(f"/{coding}"))
        assert response.body == TEXT, coding
        assert response.headers.get(b"content-encoding") is None
        assert response.headers.get(b"content-length") is None
        assert response.extensions["content_encoding"] == coding.encode()
    assert len(http.connections) == 1


async def test_codings_that_the_caller_asked_for_are_left_alone(world: World, place: Place) -> None:
    http = world.pool(**place.pool)
    for coding in ("gzip", "deflate", "br", "zstd"):
        response = await http.request("GET", place.url(f"/{coding}"), headers={"accept-encoding": coding})
        assert response.headers.get(b"content-encoding") == coding.encode()
        assert response.headers.get(b"content-length") == b"%d" % len(response.body)
        assert len(response.body) < len(TEXT)
    assert len(http.connections) == 1


async def test_responses_without_a_body_leave_the_connection_usable(world: World, place: Place) -> None:
    http = world.pool(**place.pool)
    for method, path, status in [("HEAD", "/", 200), ("GET", "/status/204", 204), ("GET", "/status/304", 304)]:
        response = await http.request(method, place.url(path))
        assert (response.status_code, response.body) == (status, b"")
    assert (await http.request("GET", place.url("/"))).body == b"hello"
    assert len(http.connections) == 1


async def test_every_status_is_an_answer(world: World, place: Place) -> None:
    http = world.pool(**place.pool)
    for status in (201, 302, 404, 418, 500, 503, 599):
        response = await http.request("GET", place.url(f"/status/{status}"))
        assert (response.status_code, response.body) == (status, b"%d" % status)
    assert len(http.connections) == 1


async def test_requests_at_once_get_their_own_answers(world: World, place: Place) -> None:
    http = world.pool(**place.pool, limits=httpcore.Limits(max_connections=4))

    def get(size: int) -> Any:
        return lambda: http.request("GET", place.url(f"/bytes/{size}"))

    sizes = range(1000, 1020)
    responses = await world.gather_ok(*(get(size) for size in sizes))
    assert [response.body for response in responses] == [pattern(size) for size in sizes]
    assert 1 <= len(http.connections) <= 4


async def test_a_body_that_is_closed_early_costs_no_slot(world: World, place: Place) -> None:
    http = world.pool(**place.pool, limits=httpcore.Limits(max_connections=1))
    for _ in range(3):
        async with await http.request("GET", place.url("/bytes/20000000"), stream=True) as response:
            async for part in response.stream():
                assert part == pattern(len(part))
                break
    assert (await http.request("GET", place.url("/"))).body == b"hello"


async def test_a_slow_answer_times_out_and_the_pool_goes_on(world: World, place: Place) -> None:
    http = world.pool(**place.pool, limits=httpcore.Limits(max_connections=1))
    with pytest.raises(httpcore.ReadTimeout):
        await http.request("GET", place.url("/slow?delay=3"), timeout=httpcore.Timeout(30, read=0.1))
    assert (await http.request("GET", place.url("/"))).body == b"hello"


async def test_server_sent_events_are_seen_as_they_come(world: World, uvicorn_server: Server, engine: str) -> None:
    http = world.pool(http1_engine=engine)
    url = f"{uvicorn_server.http}/sse?count=3&delay=0.05"
    async with await http.request("GET", url, stream=True) as response:
        parts = [part async for part in response.stream()]
    # A machine that stalls may bring two at once, but never the first together with the last.
    assert b"".join(parts) == b"".join(b"id: %d\ndata: event %d\n\n" % (number, number) for number in range(3))
    assert b"event 2" not in parts[0]


async def test_a_certificate_of_an_unknown_ca_is_refused(world: World, uvicorn_server: Server) -> None:
    http = world.pool()
    with pytest.raises(httpcore.ConnectError, match=r"(?i)certificate"):
        await http.request("GET", f"{uvicorn_server.https}/")


# What is nginx's own


@pytest.fixture(params=["in clear", "over TLS"])
def files(request: pytest.FixtureRequest, nginx_server: Nginx, ca: CertificateAuthority, engine: str) -> Place:
    origin = nginx_server.https if request.param == "over TLS" else nginx_server.http
    return Place(request.param, origin, {"ssl": ca.client_context(), "http2": False, "http1_engine": engine})


async def test_nginx_serves_files(world: World, files: Place) -> None:
    http = world.pool(**files.pool)
    assert (await http.request("GET", files.url("/1kB.bin"))).body == pattern(1000)
    assert (await http.request("GET", files.url("/1MB.bin"))).body == pattern(1_000_000)
    assert (await http.request("GET", files.url("/absent"))).status_code == 404
    partial = await http.request("GET", files.url("/1MB.bin"), headers={"range": "bytes=10-19"})
    assert (partial.status_code, partial.body) == (206, pattern(10, 10))
    assert len(http.connections) == 1


async def test_nginx_serves_100_megabytes(world: World, files: Place) -> None:
    http = world.pool(**files.pool)
    received = 0
    async with await http.request("GET", files.url("/100MB.bin"), stream=True) as response:
        async for part in response.stream():
            received += len(part)
    assert received == 100_000_000


async def test_what_nginx_compresses_is_decoded(world: World, files: Place) -> None:
    http = world.pool(**files.pool)
    response = await http.request("GET", files.url("/text.txt"))
    assert response.extensions["content_encoding"] == b"gzip"
    assert response.body == TEXT
    plain = await http.request("GET", files.url("/text.txt"), headers={"accept-encoding": "identity"})
    assert (plain.body, plain.headers.get(b"content-encoding")) == (TEXT, None)


@pytest.mark.parametrize(("directory", "connections"), [("three-requests", 4), ("no-keepalive", 10)])
async def test_connections_that_nginx_ends_are_replaced(
    world: World, files: Place, nginx_server: Nginx, directory: str, connections: int
) -> None:
    http = world.pool(**files.pool)
    # Marked, as nginx logs the requests of all tests.
    mark = uuid.uuid4().hex
    for _ in range(10):
        assert (await http.request("GET", files.url(f"/{directory}/1kB.bin?{mark}"))).body == pattern(1000)

    def logged() -> list[str]:
        return [line.split()[0] for line in nginx_server.log.read_text().splitlines() if mark in line]

    # A request is logged after its response was sent.
    await world.until(lambda: len(logged()) == 10)
    assert len(set(logged())) == connections


async def test_nginx_refuses_a_big_upload_before_reading_it(world: World, files: Place) -> None:
    http = world.pool(**files.pool, limits=httpcore.Limits(max_connections=1))
    response = await http.request("POST", files.url("/small-uploads/upload"), body=bytes(20_000_000))
    assert response.status_code == 413
    assert (await http.request("GET", files.url("/1kB.bin"))).body == pattern(1000)


async def test_nginx_on_a_unix_socket(world: World, nginx_server: Nginx, engine: str) -> None:
    http = world.pool(network=httpcore.Network(uds=nginx_server.uds), http1_engine=engine)
    for _ in range(2):
        assert (await http.request("GET", "http://localhost/1kB.bin")).body == pattern(1000)
    assert len(http.connections) == 1


async def test_nobody_listens(world: World, engine: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    http = world.pool(http1_engine=engine)
    with pytest.raises(httpcore.ConnectError, match=rf"127\.0\.0\.1:{port}") as caught:
        await http.request("GET", f"http://127.0.0.1:{port}/")
    assert caught.value.request_sent is False


# The sync face


def test_the_sync_pool(place: Place) -> None:
    options = dict(place.pool)
    with httpcore.SyncConnectionPool(**options) as http:
        assert http.request("GET", place.url("/")).body == b"hello"
        assert json.loads(http.request("POST", place.url("/upload"), body=parts()).body) == DIGEST
        with http.request("GET", place.url("/bytes/300000"), stream=True) as response:
            assert b"".join(response.stream()) == BODY
        assert http.request("GET", place.url("/gzip")).body == TEXT
        assert len(http.connections) == 1

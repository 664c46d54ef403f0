"""`httpcore.testing`: what users test with must itself be right."""

from __future__ import annotations

import threading

import pytest

import httpcore
from fuzz.http2_wire import serve_http2
from httpcore.testing import Fault, Faults, MemoryNetwork, Peer, Script
from tests.support.http2_frames import Kind, raw_frame
from tests.support.worlds import World, can_cancel_worlds, only_worlds


def echo(peer: Peer) -> Script:
    while True:
        request = yield from peer.read_request()
        peer.respond(body=request.method + b" " + request.target + b" " + request.body)


async def test_a_script_answers_requests_in_memory(world: World, engine: str) -> None:
    network = MemoryNetwork(echo, world.backend)
    http = world.pool(backend=network.backend, http1_engine=engine)
    assert (await http.request("GET", "http://example.org/a")).body == b"GET /a "
    assert (await http.request("POST", "http://example.org/b", body=b"bytes")).body == b"POST /b bytes"
    chunks = await http.request(
        "PUT", "http://example.org/c", body=iter([b"in ", b"chunks"]), extensions={"trailers": [("x", "y")]}
    )
    assert chunks.body == b"PUT /c in chunks"
    assert (await http.request("GET", "http://other.example:8080/d")).body == b"GET /d "
    assert [(peer.host, peer.port) for peer in network.peers] == [("example.org", 80), ("other.example", 8080)]
    assert len(network.open_peers) == 2
    await http.aclose()
    assert network.open_peers == []


async def test_a_script_may_send_byte_by_byte_and_end_when_it_likes(world: World, engine: str) -> None:
    def script(peer: Peer) -> Script:
        assert (yield from peer.read_exactly(4)) == b"GET "
        yield from peer.read_until(b"\r\n\r\n")
        for byte in b"HTTP/1.1 200 Fine\r\n\r\nuntil the end":
            peer.send(bytes([byte]))

    http = world.pool(backend=MemoryNetwork(script, world.backend).backend, http1_engine=engine)
    response = await http.request("GET", "http://example.org/")
    assert (response.reason, response.body) == ("Fine", b"until the end")
    assert http.connections == []


async def test_a_peer_that_resets_or_ends_too_soon_is_an_error(world: World) -> None:
    def script(peer: Peer) -> Script:
        request = yield from peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")
        if request.target == b"/reset":
            peer.reset()

    http = world.pool(backend=MemoryNetwork(script, world.backend).backend)
    with pytest.raises(httpcore.ReadError, match="reset"):
        await http.request("GET", "http://example.org/reset")
    with pytest.raises(httpcore.RemoteProtocolError, match="after 2 of the 5 bytes"):
        await http.request("GET", "http://example.org/end")
    assert http.connections == []


async def test_a_test_may_speak_for_the_peer(world: World) -> None:
    def script(peer: Peer) -> Script:
        yield from peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        yield from peer.read()  # which never comes

    network = MemoryNetwork(script, world.backend)
    http = world.pool(backend=network.backend)
    response = await http.request("GET", "http://example.org/", stream=True)
    async with world.tasks() as tasks:
        task = tasks.start(response.read)
        await world.sleep(0.01)
        assert not task.is_done
        network.peers[0].send(b"later")
        assert await task.outcome() == b"later"
    # On an idle connection nobody may speak.
    network.peers[0].send(b"HTTP/1.1 408 Too Late\r\n\r\n")
    async with await http.request("GET", "http://example.org/", stream=True) as again:
        assert again.status_code == 200
    assert len(network.peers) == 2
    assert network.peers[0].is_closed


async def test_a_peer_may_speak_in_the_middle_of_what_the_client_writes(world: World) -> None:
    """The second request finds the connection with frames that are unread, and answers them at once."""
    network = MemoryNetwork(serve_http2, world.backend)
    http = world.pool(backend=network.backend, http1=False)
    for path in (b"/one", b"/two", b"/three"):
        for peer in network.peers:
            peer.send(raw_frame(Kind.PING, 0, 0, bytes(8)))
        assert (await http.request("GET", b"http://example.org" + path)).body == path
    assert len(network.peers) == 1


async def test_a_timeout_in_memory_takes_its_time(world: World) -> None:
    def script(peer: Peer) -> Script:
        yield from peer.read_request()
        yield from peer.read()

    http = world.pool(backend=MemoryNetwork(script, world.backend).backend)
    with pytest.raises(httpcore.ReadTimeout):
        await http.request("GET", "http://example.org/", timeout=httpcore.Timeout(read=0.05))


async def test_a_script_that_fails_fails_the_request(world: World) -> None:
    def script(peer: Peer) -> Script:
        request = yield from peer.read_request()
        assert request.target == b"/expected"

    http = world.pool(backend=MemoryNetwork(script, world.backend).backend)
    with pytest.raises(AssertionError, match="expected"):
        await http.request("GET", "http://example.org/unexpected")
    assert http.connections == []


async def test_a_script_is_closed_where_it_waits_when_the_client_leaves(world: World) -> None:
    ended: list[Peer] = []

    def script(peer: Peer) -> Script:
        try:
            while True:
                yield from peer.read_request()
                peer.respond()
        finally:
            ended.append(peer)

    network = MemoryNetwork(script, world.backend)
    http = world.pool(backend=network.backend)
    await http.request("GET", "http://example.org/")
    assert ended == []
    await http.aclose()
    assert ended == network.peers


@can_cancel_worlds
async def test_a_request_in_memory_can_be_cancelled(world: World) -> None:
    def script(peer: Peer) -> Script:
        heard.append((yield from peer.read_request()))
        yield from peer.read()

    heard: list[object] = []  # before that the connection would be as good as new, and kept
    network = MemoryNetwork(script)
    http = world.pool(backend=network.backend)
    assert await world.cancel_when(lambda: bool(heard), lambda: http.request("GET", "http://example.org/"))
    assert network.open_peers == []
    assert http.connections == []


async def test_faults_count_the_steps_of_io(world: World) -> None:
    faults = Faults()
    network = MemoryNetwork(echo, world.backend)
    http = world.pool(backend=faults.over(network.backend))
    await http.request("GET", "http://example.org/")
    assert faults.steps == ["resolve", "connect", "send", "receive"]
    assert not faults.has_failed
    assert faults.open_streams == 1
    faults.stop()
    await http.request("GET", "http://example.org/")
    assert len(faults.steps) == 4
    await http.aclose()
    assert faults.open_streams == 0


EXPECTED: dict[Fault, list[type[httpcore.HTTPCoreError]]] = {
    Fault.ERROR: [httpcore.ConnectError, httpcore.ConnectError, httpcore.WriteError, httpcore.ReadError],
    Fault.TIMEOUT: [httpcore.ConnectTimeout, httpcore.ConnectTimeout, httpcore.WriteTimeout, httpcore.ReadTimeout],
    Fault.END: [httpcore.ConnectError, httpcore.ConnectError, httpcore.WriteError, httpcore.RemoteProtocolError],
}


@pytest.mark.parametrize("fault", EXPECTED, ids=lambda fault: fault.value)
async def test_a_fault_fails_the_step_that_was_asked_for(world: World, fault: Fault) -> None:
    for at, error in enumerate(EXPECTED[fault]):
        network = MemoryNetwork(echo, world.backend)
        faults = Faults(at, fault)
        http = world.pool(backend=faults.over(network.backend))
        with pytest.raises(error, match=r"example\.org:80") as caught:
            await http.request("GET", "http://example.org/")
        assert type(caught.value) is error
        assert caught.value.request_sent is (at == 3)
        assert faults.has_failed
        assert faults.open_streams == 0
        # Only that one step fails.
        assert (await http.request("GET", "http://example.org/")).status_code == 200


@only_worlds("blocking")
async def test_a_fault_may_be_an_exception_of_the_tests_own(world: World) -> None:
    for at in range(4):
        faults = Faults(at, KeyboardInterrupt())
        http = world.pool(backend=faults.over(MemoryNetwork(echo, world.backend).backend))
        with pytest.raises(KeyboardInterrupt):
            await http.request("GET", "http://example.org/")
        assert faults.open_streams == 0


def test_one_network_serves_event_loops_in_a_row(world: World) -> None:
    network = MemoryNetwork(echo, world.backend)
    http = httpcore.ConnectionPool(backend=network.backend)

    async def body() -> None:
        assert (await http.request("GET", "http://example.org/")).status_code == 200

    world.run(body, may_leave=True)
    world.run(body, may_leave=True)
    world.run(http.aclose)
    assert network.open_peers == []


@only_worlds("blocking")
async def test_threads_may_share_a_network(world: World) -> None:
    network = MemoryNetwork(echo, world.backend)
    http = world.pool(backend=network.backend, limits=httpcore.Limits(max_connections=3))
    names: set[str] = set()

    async def ask(number: int) -> None:
        names.add(threading.current_thread().name)
        assert (await http.request("GET", f"http://example.org/{number}")).body == b"GET /%d " % number

    await world.gather_ok(*(lambda number=number: ask(number) for number in range(20)))
    assert len(names) == 20
    assert len(network.peers) <= 3


@pytest.mark.parametrize("backend", ["curio", 1, object()])
def test_an_unknown_backend_is_refused(backend: object) -> None:
    with pytest.raises((ValueError, TypeError), match="backend"):
        httpcore.ConnectionPool(backend=backend)  # type: ignore[arg-type]  # that is the point

"""P47, P49, P51 and FAULTS L: how a connection is made, to which address and from which, and what if it is not."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import httpcore
from httpcore import ConnectError, ConnectTimeout, Limits, Network, Timeout
from tests.support.descriptors import no_more_descriptors
from tests.support.destinations import hello, peer_among_black_holes, to
from tests.support.peer import Conn, ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, can_cancel_worlds, only_worlds

NOBODY = "127.0.0.9"
"""A loopback address at which nothing listens, whatever the port."""


# P47: every address is tried within one connect timeout


async def test_p47_e_connect_many_the_last_address_is_reached_within_the_connect_timeout(world: World) -> None:
    holes = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
    with peer_among_black_holes(*holes) as peer:
        http = world.pool(network=to(*holes, "127.0.0.1"), timeout=Timeout(30, connect=2))
        began = time.monotonic()
        assert (await http.request("GET", f"http://name.test:{peer.port}/")).body == b"hello"
        # With a timeout for each address it would take four times 2 s.
        assert time.monotonic() - began < 5


async def test_p47_addresses_that_refuse_cost_no_time(world: World) -> None:
    refusing = [f"127.0.0.{last}" for last in range(10, 30)]
    with ScriptedPeer(hello) as peer:
        http = world.pool(network=to(*refusing, "127.0.0.1"))
        began = time.monotonic()
        assert (await http.request("GET", f"http://name.test:{peer.port}/")).body == b"hello"
        assert time.monotonic() - began < 2
        assert peer.requests[0].header(b"host") == f"name.test:{peer.port}".encode()


async def test_p47_one_error_tells_of_every_address(world: World) -> None:
    with ScriptedPeer(hello) as peer:
        http = world.pool(network=to("127.0.0.10", "127.0.0.11", "127.0.0.10"))
        with pytest.raises(ConnectError, match=r"none of 2 addresses could be connected to: ") as caught:
            await http.request("GET", f"http://name.test:{peer.port}/")
        for ip in ("127.0.0.10", "127.0.0.11"):
            assert str(caught.value).count(f"{ip}:{peer.port}: Connection refused") == 1
        assert f"name.test:{peer.port}" in str(caught.value)
        assert not caught.value.request_sent


async def test_p47_e_connect_drop_all_of_them_silent_is_a_connect_timeout_of_one_timeout(world: World) -> None:
    holes = [f"127.0.0.{last}" for last in range(2, 9)]
    with peer_among_black_holes(*holes) as peer:
        http = world.pool(network=to(*holes), timeout=Timeout(30, connect=0.4))
        began = time.monotonic()
        with pytest.raises(ConnectTimeout, match="none of 7 addresses answered in time"):
            await http.request("GET", f"http://name.test:{peer.port}/")
        # With a timeout for each address it would take 2.8 s.
        assert 0.39 < time.monotonic() - began < 2.4
        assert http.connections == []


async def test_l_empty_the_number_of_attempts_is_bounded(world: World) -> None:
    a_thousand = [f"127.1.{third}.{last}" for third in range(4) for last in range(250)]
    with ScriptedPeer(hello) as peer:
        http = world.pool(network=to(*a_thousand, "127.0.0.1"))
        with pytest.raises(ConnectError, match="none of 32 addresses"):
            await http.request("GET", f"http://name.test:{peer.port}/")


@can_cancel_worlds
async def test_l_cancel_a_connection_attempt_that_is_cancelled_leaves_nothing(
    world: World, black_hole: tuple[str, int]
) -> None:
    http = world.pool(limits=Limits(max_connections=1))
    host, port = black_hole

    async def request() -> None:
        await http.request("GET", f"http://{host}:{port}/")

    assert await world.cancel_when(lambda: [c.state for c in http.connections] == ["opening"], request)
    await world.until(lambda: http.connections == [])
    with ScriptedPeer(hello) as peer:
        assert (await http.request("GET", peer.url)).body == b"hello"


# The resolver


async def test_a_resolver_is_asked_with_host_and_port_and_its_order_is_kept(world: World) -> None:
    asked: list[tuple[str, int]] = []

    def resolver(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return ["127.0.0.1"] if host == "name.test" else [NOBODY, "127.0.0.1"]

    with ScriptedPeer(hello) as peer:
        http = world.pool(network=Network(resolver=resolver))
        for host in ("name.test", "other.test", "name.test"):
            response = await http.request("GET", f"http://{host}:{peer.port}/")
            info = response.extensions["connection"]
            assert isinstance(info, httpcore.StreamInfo)
            assert info.remote_address == ("127.0.0.1", peer.port)
        assert asked == [("name.test", peer.port), ("other.test", peer.port)]


async def test_an_address_is_not_resolved(world: World) -> None:
    def resolver(host: str, port: int) -> Sequence[str]:
        raise AssertionError(f"asked for {host}")

    with ScriptedPeer(hello) as peer:
        http = world.pool(network=Network(resolver=resolver))
        assert (await http.request("GET", peer.url)).body == b"hello"


async def test_names_are_resolved_by_the_system_otherwise(world: World) -> None:
    with ScriptedPeer(hello) as peer:
        assert (await world.pool().request("GET", f"http://localhost:{peer.port}/")).body == b"hello"


@only_worlds("asyncio", "uvloop", "trio")
async def test_a_resolver_may_be_async(world: World) -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        await world.sleep(0)
        return ["127.0.0.1"]

    with ScriptedPeer(hello) as peer:
        http = world.pool(network=Network(resolver=resolver))
        assert (await http.request("GET", f"http://name.test:{peer.port}/")).body == b"hello"


@only_worlds("asyncio", "uvloop", "trio")
async def test_an_async_resolver_has_the_connect_timeout(world: World) -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        await world.sleep(3600)
        return []

    http = world.pool(network=Network(resolver=resolver), timeout=Timeout(5, connect=0.05))
    with pytest.raises(ConnectTimeout, match=r"the name name\.test was not resolved in time .*resolving name\.test"):
        await http.request("GET", "http://name.test/")


@only_worlds("blocking")
async def test_an_async_resolver_in_the_sync_pool_is_a_clear_error(world: World) -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    http = world.pool(network=Network(resolver=resolver))
    with pytest.raises(ConnectError, match="to be awaited was given to the sync pool"):
        await http.request("GET", "http://name.test/")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "the name name.test has no address"),
        (["not-an-address"], "the name name.test has no address"),
        (None, "TypeError"),
        ([5], "TypeError"),
        (OSError(5, "out of order"), "the name name.test does not resolve: out of order"),
        (UnicodeError("bad label"), "the name name.test does not resolve: bad label"),
        (TimeoutError("slow"), "the name name.test was not resolved in time"),
        (ValueError("a bug"), "ValueError: a bug"),
        (["::zz"], "the name name.test does not resolve"),
    ],
    ids=repr,
)
async def test_a_resolver_that_fails_is_a_connect_error_with_the_name(world: World, answer: Any, words: str) -> None:
    def resolver(host: str, port: int) -> Sequence[str]:
        if isinstance(answer, Exception):
            raise answer
        return answer if answers else ["127.0.0.1"]

    answers = [answer]
    http = world.pool(network=Network(resolver=resolver))
    with ScriptedPeer(hello) as peer:
        expected = ConnectTimeout if isinstance(answer, TimeoutError) else ConnectError
        with pytest.raises(expected, match=re.escape(words)) as caught:
            await http.request("GET", f"http://name.test:{peer.port}/")
        assert "name.test" in str(caught.value)
        assert not caught.value.request_sent
        assert http.connections == []
        answers.clear()
        if not isinstance(answer, Exception):
            assert (await http.request("GET", f"http://name.test:{peer.port}/")).body == b"hello"


@pytest.mark.parametrize("host", ["does-not-exist.invalid", "a" * 63 + ".invalid"])
async def test_l_nx_a_name_that_does_not_resolve_is_a_connect_error_with_the_name(world: World, host: str) -> None:
    http = world.pool(timeout=20)
    with pytest.raises(ConnectError, match=f"the name {host} does not resolve: .*{host}:80"):
        await http.request("GET", f"http://{host}/")


# P49: options of TCP


def options_of(response: httpcore.Response, *options: tuple[int, int]) -> list[int]:
    """What our side of the connection is set to, asked of the kernel."""
    info = response.extensions["connection"]
    assert isinstance(info, httpcore.StreamInfo)
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            # Looked at before it is copied: a copy of what is no socket would be ours to close.
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as copy:
                if copy.getsockname() == info.local_address and copy.getpeername() == info.remote_address:
                    return [copy.getsockopt(level, option) for level, option in options]
    raise AssertionError(f"no socket from {info.local_address} to {info.remote_address}")


TCP = socket.IPPROTO_TCP
KEEPALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_p49_tcp_options_are_sane_by_default(world: World) -> None:
    with ScriptedPeer(hello) as peer:
        response = await world.pool().request("GET", peer.url)
        keepalive, no_delay = options_of(response, KEEPALIVE, (TCP, socket.TCP_NODELAY))
        assert (bool(keepalive), bool(no_delay)) == (True, True)
        idle, interval, count = options_of(
            response, (TCP, socket.TCP_KEEPIDLE), (TCP, socket.TCP_KEEPINTVL), (TCP, socket.TCP_KEEPCNT)
        )
        assert 10 <= idle <= 60
        assert 10 <= interval <= 60
        assert 2 <= count <= 9
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            (milliseconds,) = options_of(response, (TCP, socket.TCP_USER_TIMEOUT))
            # Data that nobody acknowledges is given up when the probes would give up.
            assert milliseconds == 1000 * (idle + interval * count)


async def test_p51_socket_options_of_the_callers_are_set_after_ours(world: World) -> None:
    chosen = ((TCP, socket.TCP_KEEPIDLE, 33), (*KEEPALIVE, 0), (TCP, socket.TCP_NODELAY, 0))
    packed = (77).to_bytes(4, "little")
    with ScriptedPeer(hello) as peer:
        http = world.pool(network=Network(socket_options=(*chosen, (TCP, socket.TCP_KEEPINTVL, packed))))
        response = await http.request("GET", peer.url)
        asked = [(TCP, socket.TCP_KEEPIDLE), KEEPALIVE, (TCP, socket.TCP_NODELAY), (TCP, socket.TCP_KEEPINTVL)]
        assert options_of(response, *asked) == [33, 0, 0, 77]


async def test_p51_a_socket_option_that_does_not_exist_is_a_connect_error(world: World) -> None:
    with ScriptedPeer(hello) as peer:
        http = world.pool(network=Network(socket_options=((TCP, 12_345, 1),)))
        with pytest.raises(ConnectError, match=r"no connection to .*: Protocol not available"):
            await http.request("GET", peer.url)
        assert http.connections == []


# P51: unix sockets, local addresses


@pytest.fixture(params=["path", "abstract"])
def uds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "abstract":
        return f"\0httpcore-{os.getpid()}-{time.monotonic_ns()}"
    return str(tmp_path_factory.mktemp("u") / "s")


async def test_p51_a_unix_socket_is_connected_to_whatever_the_host_is(world: World, uds: str) -> None:
    with ScriptedPeer(hello, uds=uds) as peer:
        http = world.pool(network=Network(uds=uds))
        for host in ("example.org", "does-not-exist.invalid:8080", "192.0.2.1"):
            assert (await http.request("GET", f"http://{host}/path")).body == b"hello"
            assert peer.requests[-1].header(b"host") == host.encode()
        # One connection for each origin, as with TCP.
        assert peer.accepted == 3


async def test_p51_big_bodies_go_both_ways_over_a_unix_socket(world: World, uds: str) -> None:
    def script(conn: Conn) -> None:
        conn.respond(body=conn.read_request().body)

    body = os.urandom(2_000_000)
    with ScriptedPeer(script, uds=uds):
        response = await world.pool(network=Network(uds=uds)).request("POST", "http://x/", body=body)
        assert response.body == body


async def test_p51_tls_over_a_unix_socket_verifies_the_urls_host(
    world: World, ca: CertificateAuthority, uds: str
) -> None:
    with ScriptedPeer(hello, uds=uds, tls=ca.server_context("name.test")):
        http = world.pool(ssl=ca.client_context(), network=Network(uds=uds))
        assert (await http.request("GET", "https://name.test/")).body == b"hello"
        with pytest.raises(ConnectError, match=r"not valid for 'other.test'"):
            await http.request("GET", "https://other.test/")


@pytest.mark.parametrize("kind", ["missing", "a file", "too long", "abstract"])
async def test_l_uds_a_unix_socket_that_is_not_there_is_a_connect_error(
    world: World, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "file"
    file.touch()
    path = {
        "missing": str(tmp_path / "missing"),
        "a file": str(file),
        "too long": str(tmp_path / ("x" * 120)),
        "abstract": "\0httpcore-nobody",
    }[kind]
    http = world.pool(network=Network(uds=path))
    with pytest.raises(ConnectError, match=r"no connection to the unix socket .*: .+") as caught:
        await http.request("GET", "http://example.org/")
    assert path.strip("\0") in str(caught.value)
    assert http.connections == []


@pytest.mark.parametrize("local", ["127.0.0.7", ("127.0.0.7", 0)])
async def test_p51_connections_leave_from_the_local_address(world: World, local: Any) -> None:
    with ScriptedPeer(hello) as peer:
        response = await world.pool(network=Network(local_address=local)).request("GET", peer.url)
        info = response.extensions["connection"]
        assert isinstance(info, httpcore.StreamInfo)
        assert info.local_address == peer.connections[0].socket.sock.getpeername()
        assert isinstance(info.local_address, tuple)
        assert info.local_address[0] == "127.0.0.7"


async def test_p51_connections_leave_from_the_local_port(world: World) -> None:
    with socket.create_server(("127.0.0.7", 0)) as taken:
        port = taken.getsockname()[1]
        network = Network(local_address=("127.0.0.7", port))
        with ScriptedPeer(hello) as peer:
            with pytest.raises(ConnectError, match=r"no connection to .*: Address already in use"):
                await world.pool(network=network).request("GET", peer.url)
            taken.close()
            assert (await world.pool(network=network).request("GET", peer.url)).body == b"hello"
            assert peer.connections[0].socket.sock.getpeername() == ("127.0.0.7", port)


async def test_p51_of_a_name_only_addresses_of_the_local_addresss_family_are_tried(world: World) -> None:
    network = Network(local_address="127.0.0.7", resolver=lambda host, port: ["::1", "127.0.0.1"])
    with ScriptedPeer(hello) as peer:
        assert (await world.pool(network=network).request("GET", f"http://name.test:{peer.port}/")).body == b"hello"
        http = world.pool(network=Network(local_address="::1"))
        with pytest.raises(ConnectError, match="has no address of the local address's family"):
            await http.request("GET", peer.url)


async def test_l_emfile_a_local_address_that_is_not_ours_is_a_connect_error(world: World) -> None:
    with ScriptedPeer(hello) as peer:
        http = world.pool(network=Network(local_address="192.0.2.1"))
        with pytest.raises(ConnectError, match=r"no connection to .*: (Cannot|Can't) assign requested address"):
            await http.request("GET", peer.url)
        assert http.connections == []


# When the system has no more


async def test_l_emfile_too_many_open_files_is_a_connect_error_and_the_pool_works_as_before(world: World) -> None:
    http = world.pool(limits=Limits(max_connections=1))
    with ScriptedPeer(hello) as peer:
        await http.request("GET", peer.url)
        await http.close_idle()
        # Closed on the peer's side too, which would make room for one more.
        await world.until(lambda: peer.connections[0].socket.sock.fileno() < 0)
        with no_more_descriptors(), pytest.raises(ConnectError, match=r"no connection to .*: Too many open files"):
            await http.request("GET", peer.url)
        assert http.connections == []
        assert (await http.request("GET", peer.url)).body == b"hello"


async def test_l_emfile_an_attempt_that_gets_no_descriptor_does_not_end_the_one_that_runs(world: World) -> None:
    holes = ("127.0.0.2", "127.0.0.3")
    with peer_among_black_holes(*holes) as peer:
        http = world.pool(network=to(*holes), timeout=Timeout(30, connect=1))
        await http.request("GET", peer.url)  # modules that are loaded meanwhile are files as well
        await http.close_idle()
        await world.until(lambda: peer.connections[0].socket.sock.fileno() < 0)
        with no_more_descriptors(but=1), pytest.raises(ConnectTimeout, match="none of 2 addresses") as caught:
            await http.request("GET", f"http://name.test:{peer.port}/")
        assert f"127.0.0.3:{peer.port}: Too many open files" in str(caught.value)
        assert f"127.0.0.2:{peer.port} in time" in str(caught.value)
        assert http.connections == []
        assert (await http.request("GET", peer.url)).body == b"hello"


async def test_a_refused_connection_says_by_whom(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    http = world.pool()
    with pytest.raises(ConnectError, match=rf"no connection to 127\.0\.0\.1:{port}: Connection refused"):
        await http.request("GET", f"http://127.0.0.1:{port}/")


# Retries


class Attempts:
    """A resolver that notes when it is asked, and sends the first ones where nobody listens."""

    def __init__(self, refused: int) -> None:
        self.times: list[float] = []
        self._refused = refused

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.times.append(time.monotonic())
        return [NOBODY if len(self.times) <= self._refused else "127.0.0.1"]


async def test_l_refused_retry_a_connection_attempt_is_made_again_after_a_pause(world: World) -> None:
    attempts = Attempts(refused=1)
    with ScriptedPeer(hello) as peer:
        http = world.pool(network=Network(resolver=attempts), retries=1)
        # A request that could not be sent again once it was sent, but of this one nothing was.
        assert (await http.request("POST", f"http://name.test:{peer.port}/", body=iter([b"once"]))).body == b"hello"
        assert peer.requests[0].body == b"once"
    first, second = attempts.times
    assert 0.49 <= second - first < 5


@only_worlds("asyncio")
async def test_l_refused_retry_the_pauses_grow(world: World) -> None:
    attempts = Attempts(refused=2)
    with ScriptedPeer(hello) as peer:
        http = world.pool(network=Network(resolver=attempts), retries=2)
        assert (await http.request("GET", f"http://name.test:{peer.port}/")).body == b"hello"
    first, second, third = attempts.times
    assert second - first >= 0.49
    assert third - second >= 0.99


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.parametrize("retries", [0, 1])
async def test_retries_are_as_many_as_were_asked_for(world: World, retries: int) -> None:
    attempts = Attempts(refused=100)
    http = world.pool(network=Network(resolver=attempts), retries=retries)
    with pytest.raises(ConnectError, match="Connection refused"):
        await http.request("GET", "http://name.test:9/")
    assert len(attempts.times) == retries + 1


async def test_the_total_timeout_bounds_the_pauses_too(world: World) -> None:
    http = world.pool(network=Network(resolver=Attempts(refused=100)), retries=100, timeout=Timeout(30, total=0.3))
    began = time.monotonic()
    with pytest.raises(httpcore.TotalTimeout, match=r"waiting to connect again, name\.test:9"):
        await http.request("GET", "http://name.test:9/")
    assert time.monotonic() - began < 2


@can_cancel_worlds
async def test_l_refused_retry_a_pause_can_be_cancelled(world: World) -> None:
    attempts = Attempts(refused=100)
    http = world.pool(network=Network(resolver=attempts), retries=100, limits=Limits(max_connections=1))

    async def request() -> None:
        await http.request("GET", "http://name.test:9/")

    assert await world.cancel_when(lambda: len(attempts.times) == 1, request)
    await world.until(lambda: http.connections == [])
    assert len(attempts.times) == 1
    with ScriptedPeer(hello) as peer:
        assert (await http.request("GET", peer.url)).body == b"hello"

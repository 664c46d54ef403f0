"""Where connections go: overrides of hosts, the veto on addresses (against SSRF), and all of it for one request."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

import httpcore
from httpcore import ConnectError, Limits, Network, StreamInfo
from httpcore._backends import make_backend
from httpcore._clock import Clock
from httpcore._config import Timeout
from httpcore._dial import resolve
from httpcore._resolver import Names
from tests.support.destinations import hello
from tests.support.peer import ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World

FRESH = Limits(max_keepalive_connections=0)
IP = IPv4Address | IPv6Address


@pytest.fixture
def peer() -> Iterator[ScriptedPeer]:
    with ScriptedPeer(hello) as peer:
        yield peer


def to(*ips: str) -> Callable[[str, int], Sequence[str]]:
    return lambda host, port: ips


def remote_of(response: httpcore.Response) -> object:
    info = response.extensions["connection"]
    assert isinstance(info, StreamInfo)
    return info.remote_address


# Overrides


@pytest.mark.parametrize("target", ["127.0.0.1:{port}", "localhost:{port}", ["127.0.0.9:{port}", "127.0.0.1:{port}"]])
async def test_a_host_is_overridden_with_another_address_and_port(
    world: World, peer: ScriptedPeer, target: Any
) -> None:
    targets = [one.format(port=peer.port) for one in ([target] if isinstance(target, str) else target)]
    http = world.pool(network=Network(host_overrides={"API.Example": targets[0] if len(targets) == 1 else targets}))
    for host in ("api.example", "api.example:8080"):
        response = await http.request("GET", f"http://{host}/")
        assert remote_of(response) == ("127.0.0.1", peer.port)
        assert peer.requests[-1].header(b"host") == host.encode()


async def test_without_a_port_an_override_leaves_that_of_the_url(world: World, peer: ScriptedPeer) -> None:
    http = world.pool(network=Network(host_overrides={"api.example": "127.0.0.1", "192.0.2.1": "localhost"}))
    for host in ("api.example", "192.0.2.1"):
        assert (await http.request("GET", f"http://{host}:{peer.port}/")).body == b"hello"


async def test_what_is_overridden_with_a_name_asks_the_resolver_for_that_name(world: World, peer: ScriptedPeer) -> None:
    asked: list[tuple[str, int]] = []

    def resolver(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    # Overrides are no chain: "other.example" means what the resolver says.
    overrides = {"api.example": f"other.example:{peer.port}", "other.example": "192.0.2.1"}
    http = world.pool(network=Network(host_overrides=overrides, resolver=resolver))
    assert (await http.request("GET", "http://api.example/")).body == b"hello"
    assert asked == [("other.example", peer.port)]


async def test_an_override_leaves_the_server_name_and_what_is_verified_alone(
    world: World, ca: CertificateAuthority
) -> None:
    with ScriptedPeer(hello, tls=ca.server_context("name.test")) as peer:
        overrides = {"name.test": f"127.0.0.1:{peer.port}", "other.test": f"127.0.0.1:{peer.port}"}
        http = world.pool(ssl=ca.client_context(), network=Network(host_overrides=overrides))
        assert (await http.request("GET", "https://name.test/")).body == b"hello"
        with pytest.raises(ConnectError, match=r"not valid for 'other\.test'"):
            await http.request("GET", "https://other.test/")


def test_overrides_are_a_value() -> None:
    one = Network(host_overrides={"A.example": "127.0.0.1", "b": ["::1", "[::1]:80", "c:5"]})
    two = Network(host_overrides={"b": ("::1", "[::1]:80", "c:5"), "a.EXAMPLE": ["127.0.0.1"]})
    assert one == two
    assert hash(one) == hash(two)
    assert one != Network(host_overrides={"a.example": "127.0.0.2"})
    assert replace(one, dns_cache_ttl=5).host_overrides == one.host_overrides
    assert dict(one.host_overrides) == {"a.example": ("127.0.0.1",), "b": ("::1", "[::1]:80", "c:5")}
    assert "a.example" in repr(one)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"host_overrides": [("a", "b")]}, TypeError, "host_overrides are a mapping .* not list"),
        ({"host_overrides": {"a": 5}}, TypeError, "one of host_overrides is 'a': 5"),
        ({"host_overrides": {"a": []}}, TypeError, "one of host_overrides is 'a'"),
        ({"host_overrides": {5: "a"}}, TypeError, "one of host_overrides is 5"),
        ({"host_overrides": {"a": "b:99999"}}, ValueError, "'b:99999'.* is not a port"),
        ({"host_overrides": {"a": "http://b"}}, ValueError, "one of host_overrides is 'a'"),
        ({"host_overrides": {"a": "127.1"}}, ValueError, "four decimal parts"),
        ({"host_overrides": {"a:80": "b"}}, ValueError, "it is for a name, whatever the port"),
        ({"allow_address": 5}, TypeError, "allow_address is a callable .* not int"),
        ({"allow_address": lambda *_: True, "uds": "/x"}, ValueError, "uds and allow_address exclude each other"),
        ({"interface": 5}, TypeError, "interface is the name of one, not 5"),
        ({"interface": ""}, ValueError, "1 to 15 bytes"),
        ({"interface": "a" * 16}, ValueError, "1 to 15 bytes"),
        ({"interface": "lo", "uds": "/x"}, ValueError, "uds and interface exclude each other"),
        ({"dns_cache_ttl": None}, TypeError, "dns_cache_ttl is a number of seconds, not None"),
        ({"dns_cache_ttl": True}, TypeError, "dns_cache_ttl is a number of seconds, not True"),
        ({"dns_cache_ttl": -1}, ValueError, "dns_cache_ttl is -1"),
        ({"dns_cache_ttl": float("nan")}, ValueError, "dns_cache_ttl is nan"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Network(**options)


def test_an_async_veto_is_refused_since_its_answer_would_always_be_true() -> None:
    async def allow(host: str, address: IP, port: int) -> bool:
        return False

    with pytest.raises(TypeError, match="allow_address is a plain function, not an async one"):
        Network(allow_address=allow)  # type: ignore[arg-type]


# The veto


def is_public(host: str, address: IP, port: int) -> bool:
    return address.is_global


@pytest.mark.parametrize("host", ["127.0.0.1", "name.test", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"])
async def test_nothing_is_connected_to_that_the_veto_refuses(world: World, peer: ScriptedPeer, host: str) -> None:
    resolver = None if host == "localhost" else to("127.0.0.1", "::1", "10.0.0.1")
    http = world.pool(network=Network(resolver=resolver, allow_address=is_public))
    with pytest.raises(ConnectError, match=r"allow_address refused .+: .+") as caught:
        await http.request("GET", f"http://{host}:{peer.port}/")
    assert not caught.value.request_sent
    assert peer.accepted == 0
    assert http.connections == []


async def test_the_veto_sees_host_address_and_port_and_what_it_allows_is_connected_to(
    world: World, peer: ScriptedPeer
) -> None:
    seen: list[tuple[str, IP, int]] = []

    def allow(host: str, address: IP, port: int) -> bool:
        seen.append((host, address, port))
        return address != IPv4Address("127.0.0.9")

    network = Network(
        resolver=to("127.0.0.9", "127.0.0.1", "::ffff:127.0.0.9"),
        host_overrides={"other.test": f"127.0.0.1:{peer.port}"},
        allow_address=allow,
    )
    http = world.pool(network=network)
    assert (await http.request("GET", f"http://name.test:{peer.port}/")).body == b"hello"
    assert sorted(seen, key=str) == sorted(
        [("name.test", IPv4Address(ip), peer.port) for ip in ("127.0.0.9", "127.0.0.1", "127.0.0.9")], key=str
    )
    seen.clear()
    assert (await http.request("GET", "http://other.test/")).body == b"hello"
    assert seen == [("other.test", IPv4Address("127.0.0.1"), peer.port)]


async def test_a_name_that_changes_its_mind_is_connected_to_where_the_veto_saw_it(
    world: World, peer: ScriptedPeer
) -> None:
    """DNS rebinding: an address that passes, and then, a moment later, one that would not."""
    answers = iter([["127.0.0.1"], ["127.0.0.9"], ["127.0.0.1"]])
    seen: list[str] = []

    def allow(host: str, address: IP, port: int) -> bool:
        seen.append(str(address))
        return str(address) == "127.0.0.1"

    network = Network(resolver=lambda host, port: next(answers), allow_address=allow, dns_cache_ttl=0)
    http = world.pool(network=network, limits=FRESH)
    url = f"http://name.test:{peer.port}/"
    assert remote_of(await http.request("GET", url)) == ("127.0.0.1", peer.port)
    with pytest.raises(ConnectError, match=r"allow_address refused name\.test: 127\.0\.0\.9"):
        await http.request("GET", url)
    assert remote_of(await http.request("GET", url)) == ("127.0.0.1", peer.port)
    assert seen == ["127.0.0.1", "127.0.0.9", "127.0.0.1"]


async def test_what_is_remembered_of_a_name_passes_the_veto_each_time(world: World, peer: ScriptedPeer) -> None:
    verdicts = iter([True, False, True])
    asked: list[str] = []

    def resolver(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    network = Network(resolver=resolver, allow_address=lambda *_: next(verdicts))
    http = world.pool(network=network, limits=FRESH)
    url = f"http://name.test:{peer.port}/"
    assert (await http.request("GET", url)).body == b"hello"
    with pytest.raises(ConnectError, match="allow_address refused"):
        await http.request("GET", url)
    assert (await http.request("GET", url)).body == b"hello"
    assert asked == ["name.test"]


async def test_a_veto_may_raise(world: World, peer: ScriptedPeer) -> None:
    def allow(host: str, address: IP, port: int) -> bool:
        raise PermissionError(f"{host} is none of your business")

    http = world.pool(network=Network(allow_address=allow))
    with pytest.raises(ConnectError, match="none of your business") as caught:
        await http.request("GET", peer.url)
    assert isinstance(caught.value.__cause__, PermissionError)
    assert peer.accepted == 0


@pytest.mark.parametrize("answer", [None, 1, "yes"])
async def test_only_true_is_a_permission(world: World, peer: ScriptedPeer, answer: Any) -> None:
    http = world.pool(network=Network(allow_address=lambda *_: answer))
    with pytest.raises(ConnectError, match="allow_address returns True or False, not"):
        await http.request("GET", peer.url)
    assert peer.accepted == 0


async def test_addresses_that_somebody_else_is_to_connect_to_pass_the_veto_as_well(world: World) -> None:
    """Those that a SOCKS5 proxy is given, when names are resolved here."""
    backend = make_backend(world.backend)
    network = Network(resolver=to("10.0.0.1", "192.0.2.1", "93.184.215.14"), allow_address=is_public)
    clock = Clock(backend.now, Timeout(5))
    addresses = await resolve("name.test", 80, network, Names(), backend, clock, clock.deadline(5))
    assert [address.target for address in addresses] == [("93.184.215.14", 80)]


# One request's own


async def test_a_network_of_a_request_has_connections_of_its_own(world: World, peer: ScriptedPeer) -> None:
    http = world.pool()
    own = {"network": Network(local_address="127.0.0.7")}
    for extensions in (None, own, None, {"network": Network(local_address="127.0.0.7")}, {"network": Network()}):
        assert (await http.request("GET", peer.url, extensions=extensions)).body == b"hello"
    assert [conn.socket.sock.getpeername()[0] for conn in peer.connections] == ["127.0.0.1", "127.0.0.7"]
    assert [len(conn.requests) for conn in peer.connections] == [3, 2]


async def test_a_network_of_a_request_is_all_that_counts_for_it(world: World, peer: ScriptedPeer) -> None:
    http = world.pool(network=Network(allow_address=lambda *_: False, resolver=to("127.0.0.9")))
    url = f"http://name.test:{peer.port}/"
    assert (await http.request("GET", url, extensions={"network": Network(resolver=to("127.0.0.1"))})).body == b"hello"
    with pytest.raises(ConnectError, match="allow_address refused"):
        await http.request("GET", url)
    guarded = world.pool(network=Network(resolver=to("127.0.0.1")))
    with pytest.raises(ConnectError, match="allow_address refused"):
        await guarded.request(
            "GET", url, extensions={"network": Network(allow_address=is_public, resolver=to(peer.host))}
        )
    assert (await guarded.request("GET", url)).body == b"hello"


async def test_a_network_of_a_request_that_is_none_is_refused(world: World, peer: ScriptedPeer) -> None:
    with pytest.raises(TypeError, match="the extension network is a Network, not str"):
        await world.pool().request("GET", peer.url, extensions={"network": "127.0.0.7"})
    assert peer.accepted == 0


# P51: interfaces

needs_interfaces = pytest.mark.skipif(not hasattr(socket, "SO_BINDTODEVICE"), reason="Linux only")


@needs_interfaces
async def test_p51_connections_leave_by_the_interface(world: World, peer: ScriptedPeer) -> None:
    response = await world.pool(network=Network(interface="lo")).request("GET", peer.url, stream=True)
    try:
        assert _devices() == {b"lo"}
    finally:
        await response.aclose()


@needs_interfaces
async def test_p51_an_interface_that_is_not_there_is_a_connect_error(world: World, peer: ScriptedPeer) -> None:
    http = world.pool(network=Network(interface="nosuch0"))
    with pytest.raises(ConnectError, match=r"no connection to .*: No such device"):
        await http.request("GET", peer.url)
    assert http.connections == []


def _devices() -> set[bytes]:
    """The interfaces to which sockets of this process are bound."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as copy:
                    found.add(copy.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0"))
    return found - {b""}

"""P52, P55, h_hang: proxies of every kind that hang, at each step on the way through.

All that lies before a request is one connect timeout. What is cancelled or breaks there is in `test_sweeps.py`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

import httpcore
from httpcore import ConnectTimeout, Timeout
from httpcore._backends import make_backend
from httpcore._streams import Address, Backend, Stream
from tests.support.invariants import assert_holds, assert_still_works, error_of
from tests.support.peer import Conn, Script
from tests.support.scripted_proxies import (
    ESTABLISHED,
    FORWARD,
    KINDS,
    SOCKS,
    SOCKS_IN_CLEAR,
    TLS_IN_TLS,
    TUNNEL,
    Kind,
    ProxyPeers,
    connect,
)
from tests.support.scripted_socks import NO_AUTH, accept, greet, read_greeting, read_target, reply
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World

TUNNELS = [kind for kind in KINDS if kind is not FORWARD]


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    assert isinstance(request.param, Kind)
    return request.param


# h_hang: silence, wherever it begins


def after_connect(conn: Conn) -> None:
    conn.read_request()


def in_the_head(conn: Conn) -> None:
    conn.read_request()
    conn.send(ESTABLISHED[:-2])


def after_an_interim_response(conn: Conn) -> None:
    conn.read_request()
    conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def in_the_origins_handshake(conn: Conn) -> None:
    connect(conn, None)
    conn.recv()


def after_the_greeting(conn: Conn) -> None:
    read_greeting(conn)


def in_the_reply(conn: Conn) -> None:
    greet(conn, NO_AUTH)
    read_target(conn)
    conn.send(reply()[:-1])


def in_the_handshake_behind_socks(conn: Conn) -> None:
    accept(conn)
    conn.recv()


SILENCES: list[tuple[Kind, Script]] = [
    (TUNNEL, after_connect),
    (TUNNEL, in_the_head),
    (TUNNEL, after_an_interim_response),
    (TUNNEL, in_the_origins_handshake),
    (TLS_IN_TLS, after_connect),
    (TLS_IN_TLS, in_the_origins_handshake),
    (SOCKS, after_the_greeting),
    (SOCKS, in_the_reply),
    (SOCKS, in_the_handshake_behind_socks),
]


@pytest.mark.parametrize(("kind", "step"), SILENCES, ids=lambda part: getattr(part, "__name__", str(part)))
async def test_h_hang_silence_at_any_step_is_a_connect_timeout(
    world: World, ca: CertificateAuthority, kind: Kind, step: Script
) -> None:
    def script(conn: Conn) -> None:
        step(conn)
        assert conn.wait_closed()

    with ProxyPeers(kind, ca, script, expect_disconnect=True) as peers:
        http = peers.one_slot(world)
        begun = time.monotonic()
        error = await error_of(lambda: http.request("GET", peers.origin, timeout=Timeout(10, connect=0.2)))
        assert isinstance(error, ConnectTimeout), error
        assert 0.19 < time.monotonic() - begun < 5
        assert f"the proxy {peers.url}" in str(error)
        assert not error.request_sent
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_h_hang_a_proxy_whose_tls_hangs_is_a_connect_timeout_that_names_it(
    world: World, ca: CertificateAuthority
) -> None:
    def script(conn: Conn) -> None:
        conn.recv()
        conn.wait_closed()

    for url in ("http://a.test/", "https://a.test/"):
        with ProxyPeers(TUNNEL, ca, script, expect_disconnect=True) as peers:
            proxy = peers.url.replace("http:", "https:")
            http = peers.one_slot(world, proxy=proxy)
            with pytest.raises(ConnectTimeout, match=f"the proxy {proxy}") as caught:
                await http.request("GET", url, timeout=Timeout(10, connect=0.2))
            assert not caught.value.request_sent
            await assert_holds(world, http, peers, idle=0)


async def test_h_hang_a_reply_that_never_ends_does_not_prolong_the_deadline(
    world: World, ca: CertificateAuthority
) -> None:
    """Something comes all the time, so that no wait for the next bytes is a long one."""

    def dripping(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nx: ")
        while not stop.is_open():
            conn.send(b"y")
            time.sleep(0.01)

    with ProxyPeers(TUNNEL, ca, dripping, expect_disconnect=True) as peers:
        stop = peers.proxy.gate()
        http = peers.one_slot(world)
        error = await error_of(lambda: http.request("GET", peers.origin, timeout=Timeout(10, connect=0.3)))
        assert isinstance(error, ConnectTimeout), error
        stop.open()
        await assert_still_works(world, http, peers)


class _Deadlines:
    """A backend that notes which deadlines it is given while a connection is made."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.seen: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def connect(
        self, addresses: Sequence[Address], deadline: float, resolve_seconds: float
    ) -> tuple[Any, Address]:
        self.seen.append(deadline)
        stream, address = await self._inner.connect(addresses, deadline, resolve_seconds)
        return _DeadlineStream(stream, self.seen), address


class _DeadlineStream:
    def __init__(self, inner: Stream, seen: list[float]) -> None:
        self._inner = inner
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def receive(self, max_bytes: int, deadline: float) -> bytes:
        self._seen.append(deadline)
        return await self._inner.receive(max_bytes, deadline)

    async def send(self, data: bytes, deadline: float, until_heard: bool = False) -> bool:
        self._seen.append(deadline)
        return await self._inner.send(data, deadline, until_heard)


@pytest.mark.parametrize("kind", TUNNELS, ids=str)
async def test_h_hang_one_deadline_covers_all_that_lies_before_the_request(
    world: World, ca: CertificateAuthority, kind: Kind
) -> None:
    """TCP, TLS to the proxy, CONNECT or SOCKS, and TLS to the origin: no step gets a time of its own."""
    made: list[_Deadlines] = []
    choice: Any = world.backend

    def make() -> Any:
        made.append(_Deadlines(make_backend(choice)))
        return made[-1]

    with ProxyPeers(kind, ca) as peers:
        http = peers.one_slot(world, backend=make)
        # The steps of a request have other timeouts, and so other deadlines.
        timeout = Timeout(connect=1000, read=10, write=20, pool=30)
        assert (await http.request("GET", f"{peers.origin}/x", timeout=timeout)).body == b"/x"
        seen = made[0].seen
        connecting = [deadline for deadline in seen if deadline > made[0].now() + 500]
        assert len(set(connecting)) == 1, seen
        assert len(connecting) >= (3 if kind is SOCKS_IN_CLEAR else 5)


# Timeouts and early answers after that are those of any request


async def test_a_read_timeout_and_a_total_timeout_count_through_a_proxy(
    world: World, ca: CertificateAuthority, kind: Kind
) -> None:
    def script(conn: Conn) -> None:
        kind.enter(conn, peers.inner)
        conn.read_request()
        conn.wait_closed()

    with ProxyPeers(kind, ca, script, script, expect_disconnect=True) as peers:
        http = peers.one_slot(world)
        timeouts: list[tuple[type[Exception], Timeout]] = [
            (httpcore.ReadTimeout, Timeout(10, read=0.05)),
            (httpcore.TotalTimeout, Timeout(10, total=0.3)),
        ]
        for expected, timeout in timeouts:
            with pytest.raises(expected, match="the proxy") as caught:
                await http.request("GET", peers.origin, timeout=timeout)
            # A total may pass earlier, where the machine is busy.
            assert expected is httpcore.TotalTimeout or caught.value.request_sent  # type: ignore[attr-defined]
            await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_an_early_413_ends_the_upload_and_is_returned(
    world: World, engine: str, ca: CertificateAuthority, kind: Kind
) -> None:
    def script(conn: Conn) -> None:
        kind.enter(conn, peers.inner)
        conn.read_head()
        conn.respond(413, b"too large", [(b"connection", b"close")])
        conn.wait_closed()

    with ProxyPeers(kind, ca, script, expect_disconnect=True) as peers:
        http = peers.one_slot(world, http1_engine=engine)
        body = (bytes(100_000) for _ in range(1_000))
        response = await http.request("POST", peers.origin, body=body)
        assert (response.status_code, response.body) == (413, b"too large")
        await assert_still_works(world, http, peers)


# Closing


@pytest.mark.parametrize(
    ("kind", "step"), [(TUNNEL, after_connect), (SOCKS, after_the_greeting)], ids=["connect", "socks"]
)
async def test_m_close_race_closing_the_pool_ends_what_is_on_its_way_through_a_proxy(
    world: World, ca: CertificateAuthority, kind: Kind, step: Script
) -> None:
    def script(conn: Conn) -> None:
        step(conn)
        assert conn.wait_closed()

    with ProxyPeers(kind, ca, script, expect_disconnect=True) as peers:
        http = peers.one_slot(world)
        async with world.tasks() as tasks:
            # The longest that it may take where nothing can break off a dial.
            task = tasks.start(lambda: http.request("GET", peers.origin, timeout=Timeout(10, connect=1)))
            await world.until(lambda: peers.proxy.connections and http.stats().opening)
            await http.aclose()
            with pytest.raises((httpcore.PoolClosed, ConnectTimeout)):
                await task.outcome()
        await world.until(lambda: not peers.proxy.open_connections)
        assert http.connections == []

"""FAULTS g_resume: a session is resumed by whoever would have verified the same, and by nobody else."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import httpcore
from httpcore import SSLConfig
from httpcore._sessions import Sessions
from tests.support.certificates import Authority
from tests.support.nginx import Nginx
from tests.support.peer import Conn, ScriptedPeer
from tests.support.tls import CertificateAuthority, shake_hands
from tests.support.tls_peers import HELLO, TO_LOOPBACK, hello
from tests.support.worlds import World

GOODBYE = HELLO.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
VERSIONS = ["TLSv1_2", "TLSv1_3"]


def goodbye(conn: Conn) -> None:
    conn.read_request()
    conn.send(GOODBYE)


def is_resumed(response: httpcore.Response) -> bool:
    info = response.extensions["connection"]
    assert isinstance(info, httpcore.StreamInfo)
    return info.resumed


def resumed_by(peer: ScriptedPeer) -> list[bool | None]:
    """As the peer says, connection by connection."""
    return [conn.tls.session_reused for conn in peer.connections if conn.tls is not None]


@pytest.mark.parametrize("version", VERSIONS)
async def test_g_resume_the_next_connection_resumes_the_session_of_the_last(
    world: World, ca: CertificateAuthority, version: str
) -> None:
    context = ca.server_context()
    context.maximum_version = ssl.TLSVersion[version]
    http = world.pool(ssl=SSLConfig(ca.pem_path))
    with ScriptedPeer(goodbye, tls=context) as peer:
        first, second, third = [await http.request("GET", peer.url) for _ in range(3)]
        assert [is_resumed(response) for response in (first, second, third)] == [False, True, True]
        assert resumed_by(peer) == [False, True, True]
        facts = [response.extensions["connection"] for response in (first, second)]
        assert facts[0].peer_certificate == facts[1].peer_certificate is not None  # type: ignore[attr-defined]


async def test_g_resume_a_real_server_resumes_in_http11_and_in_http2(
    world: World, ca: CertificateAuthority, nginx_server: Nginx
) -> None:
    for origin, http2 in ((nginx_server.https, False), (nginx_server.http2, True)):
        http = world.pool(ssl=SSLConfig(ca.pem_path), http2=http2)
        resumed = []
        for _ in range(3):
            response = await http.request("GET", f"{origin}/")
            resumed.append((response.http_version, is_resumed(response)))
            await http.close_idle()
        version = "HTTP/2" if http2 else "HTTP/1.1"
        assert resumed == [(version, False), (version, True), (version, True)]


async def test_g_resume_a_peer_that_has_forgotten_the_session_shakes_hands_in_full(
    world: World, ca: CertificateAuthority
) -> None:
    """Two contexts with keys of their own are two servers behind one address."""
    contexts = [ca.server_context(), ca.server_context()]

    def script(conn: Conn) -> None:
        conn.start_tls(contexts[conn.index % 2])
        goodbye(conn)

    http = world.pool(ssl=SSLConfig(ca.pem_path))
    with ScriptedPeer(script) as peer:
        for _ in range(4):
            assert (await http.request("GET", f"https://{peer.authority}/")).body == b"hello"
        assert resumed_by(peer) == [False] * 4


# Each makes two ways to reach the same peer, between which nothing is resumed.
Ways = Callable[[World, CertificateAuthority], list[tuple[httpcore.ConnectionPool, dict[str, Any]]]]


def two_pools(world: World, ca: CertificateAuthority) -> list[tuple[httpcore.ConnectionPool, dict[str, Any]]]:
    context = ca.client_context()
    return [(world.pool(ssl=context), {}), (world.pool(ssl=context), {})]


def per_request(*settings: Any) -> Callable[..., list[tuple[httpcore.ConnectionPool, dict[str, Any]]]]:
    def ways(world: World, ca: CertificateAuthority) -> list[tuple[httpcore.ConnectionPool, dict[str, Any]]]:
        http = world.pool(ssl=SSLConfig(ca.pem_path), network=TO_LOOPBACK)
        return [(http, setting(ca) if callable(setting) else setting) for setting in settings]

    return ways


APART: dict[str, Ways] = {
    "pools": two_pools,
    "verify and no verification": per_request({"ssl": False}, {}),
    "contexts": per_request(
        lambda ca: {"ssl": ca.client_context()},
        lambda ca: {"ssl": ca.client_context()},
    ),
    "a client certificate and none": per_request(
        {}, lambda ca: {"ssl": SSLConfig(ca.pem_path, cert=ca.client_certificate())}
    ),
    "client certificates": per_request(
        lambda ca: {"ssl": SSLConfig(ca.pem_path, cert=ca.client_certificate("a@example.org"))},
        lambda ca: {"ssl": SSLConfig(ca.pem_path, cert=ca.client_certificate("b@example.org"))},
    ),
    "server names": per_request(
        {"extensions": {"sni_hostname": "a.test"}},
        {"extensions": {"sni_hostname": "b.test"}},
    ),
    "a server name and none": per_request({}, {"extensions": {"sni_hostname": "a.test"}}),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", APART)
async def test_g_resume_nothing_is_resumed_across(
    world: World, ca: CertificateAuthority, kind: str, version: str
) -> None:
    context = ca.server_context("localhost", "127.0.0.1", "a.test", "b.test")
    context.maximum_version = ssl.TLSVersion[version]
    with ScriptedPeer(goodbye, tls=context) as peer:
        ways = APART[kind](world, ca)
        for http, options in (*ways, *ways):
            assert (await http.request("GET", peer.url, **options)).body == b"hello"
        # The first of each is in full, though the other has left a session; the second shows that each would resume.
        assert resumed_by(peer) == [False, False, True, True]


async def test_g_resume_a_connection_that_was_not_verified_is_no_way_around_verification(
    world: World, ca: CertificateAuthority
) -> None:
    """The context is the caller's, and may become stricter between two connections."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    http = world.pool(ssl=context)
    with ScriptedPeer(goodbye, tls=ca.untrusted()) as peer:
        for _ in range(2):
            await http.request("GET", peer.url)
        assert resumed_by(peer) == [False, True]
        context.verify_mode = ssl.CERT_REQUIRED
        with pytest.raises(httpcore.ConnectError, match="the certificate is not valid"):
            await http.request("GET", peer.url)
        context.load_verify_locations(ca.pem_path)
        context.check_hostname = True
        with pytest.raises(httpcore.ConnectError, match="the certificate is not valid"):
            await http.request("GET", peer.url)


async def test_g_resume_authorities_that_were_replaced_end_what_the_old_ones_had_verified(
    world: World, ca: CertificateAuthority, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(ca.pem_path.read_bytes())
    http = world.pool(ssl=SSLConfig(path))
    with ScriptedPeer(goodbye, tls=ca.server_context()) as peer:
        for _ in range(2):
            await http.request("GET", peer.url)
        assert resumed_by(peer) == [False, True]
        path.write_bytes(Authority(tmp_path).path.read_bytes())
        with pytest.raises(httpcore.ConnectError, match="the certificate is not valid"):
            await http.request("GET", peer.url)


async def test_g_resume_a_context_without_tickets_resumes_nothing(world: World, ca: CertificateAuthority) -> None:
    context = ca.client_context()
    context.options |= ssl.OP_NO_TICKET
    http = world.pool(ssl=context)
    with ScriptedPeer(goodbye, tls=ca.server_context()) as peer:
        for _ in range(3):
            await http.request("GET", peer.url)
        assert resumed_by(peer) == [False] * 3


async def test_g_resume_a_ticket_is_used_once(world: World, ca: CertificateAuthority) -> None:
    """Of connections that are opened at once, one resumes; the others must not show the same ticket."""
    http = world.pool(ssl=SSLConfig(ca.pem_path))

    def script(conn: Conn) -> None:
        conn.read_request()
        if conn.index > 0:
            together.wait()
        conn.send(GOODBYE)

    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        together = peer.gate()
        await http.request("GET", peer.url)

        async def get() -> None:
            assert (await http.request("GET", peer.url)).body == b"hello"

        async with world.tasks() as tasks:
            for _ in range(3):
                tasks.start(get)
            await world.until(lambda: len(peer.requests) == 4)
            together.open()
        assert sorted(resumed_by(peer)) == [False, False, False, True]  # type: ignore[type-var]


@pytest.mark.parametrize("version", VERSIONS)
async def test_g_resume_through_an_https_proxy_both_layers_resume_their_own(
    world: World, ca: CertificateAuthority, version: str
) -> None:
    """FAULTS g_tls_in_tls: proxy and origin have the same name and the same certificate, and are never mistaken."""
    context = ca.server_context(alpn=("http/1.1",))
    context.maximum_version = ssl.TLSVersion[version]
    resumed: list[tuple[bool | None, bool | None]] = []

    def script(conn: Conn) -> None:
        conn.start_tls(context)
        outer = conn.tls
        assert conn.read_head().method == b"CONNECT"
        conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
        conn.start_tls(context)
        assert outer is not None
        assert conn.tls is not None
        resumed.append((outer.session_reused, conn.tls.session_reused))
        goodbye(conn)

    config = SSLConfig(ca.pem_path)
    with ScriptedPeer(script) as peer:
        proxy = httpcore.Proxy(f"https://{peer.authority}", ssl=config)
        http = world.pool(ssl=config, proxy=proxy)
        for expected in (False, True, True):
            response = await http.request("GET", "https://127.0.0.1:1/")
            assert is_resumed(response) is expected
        assert resumed == [(False, False), (True, True), (True, True)]
        # Another origin behind the same proxy, of the same name: the tunnel is the same way, and the origin is not.
        await http.request("GET", "https://127.0.0.1:2/")
        assert resumed[-1] == (True, False)


# The store


def test_g_resume_the_store_is_bounded_in_all_and_of_the_same_peer(ca: CertificateAuthority) -> None:
    sessions = Sessions()
    tls = shake_hands(ca.client_context(), ca.server_context())
    for number in range(100):
        sessions.keep(number, tls)
    assert [number for number in range(100) if sessions.take(number) is not None] == list(range(36, 100))
    for _ in range(100):
        sessions.keep("the same", tls)
    assert [sessions.take("the same") is not None for _ in range(5)] == [True] * 4 + [False]


def test_g_resume_a_session_whose_time_is_over_is_not_used(ca: CertificateAuthority) -> None:
    passed = 0.0
    sessions = Sessions(lambda: time.time() + passed)
    tls = shake_hands(ca.client_context(), ca.server_context())
    assert tls.session is not None
    lifetime = min(tls.session.timeout, tls.session.ticket_lifetime_hint)
    assert 0 < lifetime <= 7200
    for seconds, is_usable in ((lifetime - 60, True), (lifetime + 60, False), (-3600, False)):
        passed = 0.0
        sessions.keep("key", tls)
        passed = seconds
        assert (sessions.take("key") is not None) == is_usable, seconds


def test_g_resume_a_closed_store_keeps_nothing(ca: CertificateAuthority) -> None:
    sessions = Sessions()
    tls = shake_hands(ca.client_context(), ca.server_context())
    sessions.keep("key", tls)
    sessions.close()
    assert sessions.take("key") is None
    sessions.keep("key", tls)
    assert sessions.take("key") is None


async def test_g_resume_a_pool_that_is_closed_has_no_sessions_any_more(world: World, ca: CertificateAuthority) -> None:
    http = world.pool(ssl=SSLConfig(ca.pem_path))
    assert http._options.dialing is not None
    sessions = http._options.dialing.sessions
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        await http.request("GET", peer.url)
        await http.close_idle()
        assert len(sessions._kept) == 1
        await http.request("GET", peer.url)
        await http.aclose()
        assert len(sessions._kept) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_g_resume_a_forked_child_has_none_of_its_parents_sessions(ca: CertificateAuthority) -> None:
    """Not even where another thread of the parent held the lock."""
    sessions = Sessions()
    sessions.keep("key", shake_hands(ca.client_context(), ca.server_context()))
    with sessions._lock:
        sessions.after_fork()
        assert sessions.take("key") is None


def test_g_resume_many_threads_never_get_the_same_session(ca: CertificateAuthority) -> None:
    sessions = Sessions()
    tls = shake_hands(ca.client_context(), ca.server_context())
    taken: list[ssl.SSLSession] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait(10)
        for _ in range(20):
            sessions.keep("key", tls)
            if (session := sessions.take("key")) is not None:
                taken.append(session)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(taken) >= 20
    assert len({id(session) for session in taken}) == len(taken)

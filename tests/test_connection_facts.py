"""What `response.extensions["connection"]` tells of the connection that a response came on."""

from __future__ import annotations

import ssl
import time
from dataclasses import FrozenInstanceError

import pytest

import httpcore
from httpcore import SSLConfig, StreamInfo
from tests.support.nghttpd import Nghttpd
from tests.support.peer import Conn, ScriptedPeer
from tests.support.servers import Server
from tests.support.tls import CertificateAuthority
from tests.support.tls_peers import hello
from tests.support.worlds import World


def facts(response: httpcore.Response | httpcore.SyncResponse) -> StreamInfo:
    info = response.extensions["connection"]
    assert isinstance(info, StreamInfo)
    return info


async def test_a_response_says_whether_its_connection_had_been_used_before(world: World, engine: str) -> None:
    http = world.pool(http1_engine=engine)
    with ScriptedPeer(hello) as peer:
        first, second, third = [facts(await http.request("GET", peer.url)) for _ in range(3)]
        assert (first.reused, second.reused, third.reused) == (False, True, True)
        assert third is second  # so that it costs a request nothing
        assert first.remote_address == second.remote_address == (peer.host, peer.port)
        assert first.local_address == second.local_address
        await http.close_idle()
        assert not facts(await http.request("GET", peer.url)).reused
        assert peer.accepted == 2


async def test_the_facts_of_a_response_do_not_change_under_it(world: World) -> None:
    http = world.pool()
    with ScriptedPeer(hello) as peer:
        first = await http.request("GET", peer.url)
        await http.request("GET", peer.url)
        assert not facts(first).reused
        with pytest.raises(FrozenInstanceError):
            facts(first).reused = True  # type: ignore[misc]


async def test_in_the_clear_there_are_no_facts_of_tls(world: World) -> None:
    with ScriptedPeer(hello) as peer:
        info = facts(await world.pool().request("GET", peer.url))
    assert (info.tls_version, info.cipher, info.alpn, info.peer_certificate) == (None,) * 4
    assert (info.tls_seconds, info.resumed) == (None, False)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_over_tls_they_tell_what_was_agreed_upon_and_how_long_that_took(
    world: World, ca: CertificateAuthority, version: str
) -> None:
    context = ca.server_context(alpn=("http/1.1",))
    context.maximum_version = ssl.TLSVersion["TLSv1_2" if version == "TLSv1.2" else "TLSv1_3"]
    http = world.pool(ssl=SSLConfig(ca.pem_path))
    with ScriptedPeer(hello, tls=context) as peer:
        began = time.monotonic()
        first, second = [facts(await http.request("GET", peer.url)) for _ in range(2)]
        elapsed = time.monotonic() - began
        tls = peer.connections[0].tls
        assert tls is not None
        cipher = tls.cipher()
        assert cipher is not None
        assert (first.tls_version, first.cipher, first.alpn) == (version, cipher[0], "http/1.1")
        assert first.tls_seconds is not None
        assert 0 < first.tls_seconds < elapsed
        assert (second.reused, second.tls_seconds) == (True, first.tls_seconds)


async def test_of_requests_that_share_an_http2_connection_one_was_its_first(
    world: World, ca: CertificateAuthority, hypercorn_server: Server
) -> None:
    http = world.pool(ssl=SSLConfig(ca.pem_path))

    async def get() -> StreamInfo:
        response = await http.request("GET", f"{hypercorn_server.https}/")
        assert response.http_version == "HTTP/2"
        return facts(response)

    infos = await world.gather_ok(*[get] * 10)
    later = await get()
    assert len(http.connections) == 1
    assert sorted(info.reused for info in infos) == [False] + [True] * 9
    assert later.reused
    assert all(info is later for info in infos if info.reused)
    assert {info.alpn for info in infos} == {"h2"}
    leaf = ca.server_chain_path.read_text().partition("-----END CERTIFICATE-----")
    assert later.peer_certificate == ssl.PEM_cert_to_DER_cert(leaf[0] + leaf[1])


async def test_the_facts_of_a_stream_after_connect_are_those_of_its_response(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(body=b"x")
        conn.read_head()
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
        conn.wait_closed()

    http = world.pool()
    with ScriptedPeer(script) as peer:
        await http.request("GET", peer.url)
        upgrade = [("upgrade", "x"), ("connection", "upgrade")]
        response = await http.request("GET", peer.url, upgrade, stream=True)
        stream = response.extensions["network_stream"]
        assert isinstance(stream, (httpcore.NetworkStream, httpcore.SyncNetworkStream))
        assert stream.info is facts(response)
        assert stream.info.reused
        await response.aclose()


def test_the_sync_pool_tells_the_same(ca: CertificateAuthority, nghttpd_server: Nghttpd) -> None:
    with httpcore.SyncConnectionPool(ssl=SSLConfig(ca.pem_path)) as http:
        first, second = [facts(http.request("GET", nghttpd_server.https)) for _ in range(2)]
    assert (first.reused, second.reused) == (False, True)
    assert first.alpn == "h2"
    assert first.tls_seconds is not None

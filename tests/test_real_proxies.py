"""P52, P53, P54, P55 with real proxies: squid, haproxy, nghttpx and proxy.py, dante and microsocks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from functools import partial

import pytest

import httpcore
from httpcore import ConnectError, Network, ProxyError, SSLConfig
from tests.support.app import pattern
from tests.support.http_proxies import RealProxy, Squid
from tests.support.nghttpd import Nghttpd
from tests.support.nginx import Nginx
from tests.support.programs import free_ports
from tests.support.servers import Server
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, can_cancel_worlds

# What RFC 9110, 7.6.1 and 11.7.2 have for the first hop alone, and what was never in any RFC.
_FOR_PROXIES = {"proxy-authorization", "proxy-connection", "keep-alive"}


def pool(world: World, proxy: RealProxy, ca: CertificateAuthority, **options: object) -> httpcore.ConnectionPool:
    return world.pool(**{"proxy": proxy.via(ca), "ssl": SSLConfig(verify=str(ca.pem_path)), **options})


async def test_p52_p55_any_origin_is_reached_and_sees_what_is_meant_for_it(
    world: World, real_proxy: RealProxy, uvicorn_server: Server, ca: CertificateAuthority
) -> None:
    http = pool(world, real_proxy, ca)
    for origin in (uvicorn_server.http, uvicorn_server.https):
        response = await http.request("GET", f"{origin}/headers?a=b", {"authorization": "Bearer of the origin"})
        seen = json.loads(response.body)
        headers = dict(seen["headers"])
        assert (seen["path"], seen["query"]) == ("/headers", "a=b")
        assert headers["host"] == origin.partition("://")[2]
        assert headers["authorization"] == "Bearer of the origin"
        assert not _FOR_PROXIES & headers.keys()
    assert http.stats().opened == 2
    await http.aclose()
    for origin in (uvicorn_server.http, uvicorn_server.https):
        port = origin.rpartition(":")[2]
        await world.until(partial(real_proxy.knows_of, port))


async def test_p52_bodies_stream_both_ways(
    world: World, real_proxy: RealProxy, uvicorn_server: Server, ca: CertificateAuthority
) -> None:
    http, body = pool(world, real_proxy, ca), pattern(1_000_000)
    for origin in (uvicorn_server.http, uvicorn_server.https):
        response = await http.request("GET", f"{origin}/bytes/1000000", stream=True)
        assert b"".join([part async for part in response.stream()]) == body
        response = await http.request(
            "POST", f"{origin}/upload", body=(body[at : at + 50_000] for at in range(0, len(body), 50_000))
        )
        assert json.loads(response.body) == {"sha256": hashlib.sha256(body).hexdigest(), "length": len(body)}
    assert http.stats().opened == 2


@can_cancel_worlds  # in blocking code a body cannot wait for the response that it belongs to
async def test_p52_a_tunnel_carries_both_directions_at_once(
    world: World, real_proxy: RealProxy, uvicorn_server: Server, ca: CertificateAuthority
) -> None:
    """Each part is sent when the one before has come back, for which the tunnel must hold nothing up."""
    http = pool(world, real_proxy, ca)
    come = [world.event() for _ in range(5)]

    async def body() -> AsyncIterator[bytes]:
        for number, event in enumerate(come):
            yield b"%d" % number * 1000
            await event.wait()

    response = await http.request("POST", f"{uvicorn_server.https}/echo", body=body(), stream=True)
    received = 0
    async for part in response.stream():
        received += len(part)
        for event in come[: received // 1000]:
            event.set()
    assert received == 5000


async def test_p39_fifty_requests_at_once_share_one_http2_connection_in_one_tunnel(
    world: World, real_proxy: RealProxy, nghttpd_server: Nghttpd, ca: CertificateAuthority
) -> None:
    http = pool(world, real_proxy, ca)
    before = len(real_proxy.lines())
    responses = await world.gather_ok(*[lambda: http.request("GET", f"{nghttpd_server.https}/1kB.bin")] * 50)
    assert {(response.http_version, response.body) for response in responses} == {("HTTP/2", pattern(1_000))}
    assert http.stats().opened == 1
    await http.aclose()
    port = nghttpd_server.https.rpartition(":")[2]
    if not real_proxy.is_socks:
        await world.until(lambda: len(real_proxy.lines()) > before)
        assert len([line for line in real_proxy.lines()[before:] if "CONNECT" in line and f":{port}" in line]) == 1


async def test_a_tunnel_is_used_again_and_again(
    world: World, real_proxy: RealProxy, nginx_server: Nginx, ca: CertificateAuthority
) -> None:
    http = pool(world, real_proxy, ca)
    for _ in range(5):
        assert (await http.request("GET", f"{nginx_server.https}/1kB.bin")).body == pattern(1_000)
    assert (http.stats().opened, http.stats().idle) == (1, 1)


async def test_h_key_target_forwarded_requests_go_to_the_origin_that_they_name(
    world: World, squid_proxy: Squid, uvicorn_server: Server, nginx_server: Nginx, ca: CertificateAuthority
) -> None:
    http = pool(world, squid_proxy.asking, ca)
    for _ in range(3):
        assert (await http.request("GET", f"{uvicorn_server.http}/")).body == b"hello"
        assert (await http.request("GET", f"{nginx_server.http}/1kB.bin")).body == pattern(1_000)
    assert http.stats().opened <= 2


async def test_a_proxy_behind_another_program_learns_by_proxy_protocol_who_asks(
    world: World, haproxy_proxy: RealProxy, uvicorn_server: Server, ca: CertificateAuthority
) -> None:
    """haproxy tells squid our address, so that squid's log has it."""
    http = pool(world, haproxy_proxy, ca)
    for method, origin in (("GET", uvicorn_server.http), ("CONNECT", uvicorn_server.https)):
        facts = (await http.request("GET", f"{origin}/")).extensions["connection"]
        assert isinstance(facts, httpcore.StreamInfo)
        assert isinstance(facts.local_address, tuple)
        line = f" {facts.local_address[1]} {method} {origin.removeprefix('https://')}"
        await http.close_idle()
        await world.until(partial(haproxy_proxy.lines, line))


async def test_p52_an_https_proxy_is_spoken_to_in_http2_where_it_can(
    world: World, nghttpx_proxy: RealProxy, uvicorn_server: Server, ca: CertificateAuthority
) -> None:
    http = pool(world, nghttpx_proxy, ca)
    before = len(nghttpx_proxy.lines())
    for origin in (uvicorn_server.http, uvicorn_server.https):
        assert (await http.request("GET", f"{origin}/")).body == b"hello"
    await http.aclose()
    await world.until(lambda: len(nghttpx_proxy.lines()) >= before + 2)
    forwarded, tunnel = sorted(nghttpx_proxy.lines()[before:], key=lambda line: "CONNECT" in line)
    assert forwarded == f"h2 GET {uvicorn_server.http}/ HTTP/2 200"
    assert tunnel.startswith("h2 CONNECT ")
    in_http1 = pool(world, nghttpx_proxy, ca, http2=False)
    assert (await in_http1.request("GET", f"{uvicorn_server.http}/")).body == b"hello"
    await world.until(lambda: nghttpx_proxy.lines(f"http/1.1 GET {uvicorn_server.http}/"))


# Trust: each TLS has its own


@pytest.mark.parametrize("name", ["haproxy", "nghttpx", "proxy.py"])
async def test_p52_a_proxy_and_an_origin_are_verified_each_by_its_own_context(
    world: World,
    name: str,
    haproxy_proxy: RealProxy,
    nghttpx_proxy: RealProxy,
    proxy_py_proxy: RealProxy,
    uvicorn_server: Server,
    ca: CertificateAuthority,
) -> None:
    proxy = next(p for p in (haproxy_proxy, nghttpx_proxy, proxy_py_proxy) if p.name == name)
    trusting = SSLConfig(verify=str(ca.pem_path))
    only_the_proxy = world.pool(proxy=proxy.via(ca, ssl=trusting))
    with pytest.raises(ConnectError, match="certificate is not valid") as caught:
        await only_the_proxy.request("GET", uvicorn_server.https)
    assert uvicorn_server.https.removeprefix("https://") in str(caught.value)
    only_the_origin = world.pool(proxy=proxy.via(ca, ssl=None), ssl=trusting)
    for origin in (uvicorn_server.https, uvicorn_server.http):
        with pytest.raises(ConnectError, match="certificate is not valid") as caught:
            await only_the_origin.request("GET", origin)
        assert proxy.url.removeprefix("https://") in str(caught.value)
    both = world.pool(proxy=proxy.via(ca, ssl=trusting), ssl=trusting)
    assert (await both.request("GET", uvicorn_server.https)).body == b"hello"
    unverified = world.pool(proxy=proxy.via(ca, ssl=False), ssl=trusting)
    assert (await unverified.request("GET", uvicorn_server.https)).body == b"hello"


# Refusals


@pytest.mark.parametrize("auth", [None, ("proxy-user", "wrong")], ids=["no credentials", "wrong ones"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_p54_a_407_is_a_proxy_error_with_all_that_the_proxy_said(
    world: World,
    scheme: str,
    auth: tuple[str, str] | None,
    squid_proxy: Squid,
    uvicorn_server: Server,
    ca: CertificateAuthority,
) -> None:
    http = world.pool(proxy=squid_proxy.asking.via(ca, auth=auth), ssl=ca.client_context())
    with pytest.raises(ProxyError) as caught:
        await http.request("GET", getattr(uvicorn_server, scheme))
    error = caught.value
    assert (error.status_code, error.reason) == (407, "Proxy Authentication Required")
    assert (b"proxy-authenticate", b'Basic realm="the tests", charset="UTF-8"') in error.headers
    assert b"Cache Access Denied" in error.body
    assert squid_proxy.asking.url in str(error)
    assert "407" in str(error)
    assert http.stats().active == 0


async def test_p54_a_challenge_is_answered_on_the_same_connection(
    world: World, squid_proxy: Squid, uvicorn_server: Server, ca: CertificateAuthority
) -> None:
    seen: list[ProxyError] = []

    def answer(error: ProxyError) -> list[tuple[bytes, bytes]]:
        seen.append(error)
        return [httpcore.Proxy("http://x", auth=squid_proxy.asking.auth).headers_for(httpcore.Headers())[0]]

    http = world.pool(proxy=squid_proxy.asking.via(ca, auth=None, on_challenge=answer), ssl=ca.client_context())
    for origin in (uvicorn_server.http, uvicorn_server.https):
        assert (await http.request("GET", origin)).body == b"hello"
    assert [error.status_code for error in seen] == [407, 407]
    assert http.stats().opened == 2


async def test_p54_an_origin_that_nobody_reaches_is_a_proxy_error(
    world: World, real_proxy: RealProxy, ca: CertificateAuthority
) -> None:
    http, (port,) = pool(world, real_proxy, ca), free_ports(1)
    with pytest.raises(ProxyError) as caught:
        await http.request("GET", f"https://127.0.0.1:{port}/")
    assert real_proxy.url in str(caught.value)
    if real_proxy.is_socks:
        assert "connection refused" in str(caught.value)
        assert caught.value.status_code is None
    else:
        assert caught.value.status_code in (502, 503)
    assert not caught.value.request_sent
    assert http.connections == []


async def test_p54_what_a_proxy_answers_for_an_origin_is_a_response(
    world: World, squid_proxy: Squid, ca: CertificateAuthority
) -> None:
    """A forwarded request has one answer, and who wrote it only the caller can judge."""
    http, (port,) = pool(world, squid_proxy.open, ca), free_ports(1)
    response = await http.request("GET", f"http://127.0.0.1:{port}/")
    assert response.status_code == 503
    assert response.headers.get("x-squid-error") == b"ERR_CONNECT_FAIL 111"


async def test_p54_a_destination_that_is_not_allowed_is_a_proxy_error(
    world: World, squid_proxy: Squid, ca: CertificateAuthority
) -> None:
    http = pool(world, squid_proxy.open, ca)
    with pytest.raises(ProxyError, match="403 Forbidden") as caught:
        await http.request("GET", "https://192.0.2.1/")
    assert caught.value.status_code == 403
    assert b"Access Denied" in caught.value.body


async def test_p55_wrong_credentials_for_socks_are_a_proxy_error(
    world: World, microsocks_proxy: RealProxy, uvicorn_server: Server, ca: CertificateAuthority
) -> None:
    for auth in (None, ("proxy-user", "wrong")):
        http = world.pool(proxy=microsocks_proxy.via(ca, auth=auth))
        with pytest.raises(ProxyError) as caught:
            await http.request("GET", uvicorn_server.http)
        assert microsocks_proxy.url in str(caught.value)
        assert "wrong" not in str(caught.value)


# Who resolves


async def test_p55_socks5h_lets_the_proxy_resolve(
    world: World, microsocks_proxy: RealProxy, uvicorn_server: Server, ca: CertificateAuthority
) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    url = uvicorn_server.https.replace("127.0.0.1", "localhost")
    port = url.rpartition(":")[2]
    proxy = microsocks_proxy.url.replace("127.0.0.1", "proxy.test")
    for scheme, names, log in (
        ("socks5h", ["proxy.test"], f"connected to localhost:{port}"),
        ("socks5", ["proxy.test", "localhost"], f"connected to 127.0.0.1:{port}"),
    ):
        asked.clear()
        via = microsocks_proxy.via(ca, url=proxy.replace("socks5", scheme))
        http = world.pool(proxy=via, ssl=ca.client_context(), network=Network(resolver=resolve))
        assert (await http.request("GET", url)).body == b"hello"
        assert sorted(asked) == sorted(names)
        await http.aclose()
        await world.until(partial(microsocks_proxy.lines, log))


# Chains


async def test_a_chain_of_two_goes_through_both(
    world: World,
    haproxy_proxy: RealProxy,
    squid_proxy: Squid,
    dante_proxy: RealProxy,
    uvicorn_server: Server,
    ca: CertificateAuthority,
) -> None:
    second = squid_proxy.asking
    port = second.url.rpartition(":")[2]
    for first in (haproxy_proxy, dante_proxy):
        http = world.pool(proxy=[first.via(ca), second.via(ca)], ssl=ca.client_context())
        for origin in (uvicorn_server.https, uvicorn_server.http):
            assert (await http.request("GET", origin)).body == b"hello"
        await http.aclose()
        await world.until(partial(first.knows_of, port))
    await world.until(
        lambda: second.lines(port, f"CONNECT {uvicorn_server.https.removeprefix('https://')}", "proxy-user")
    )


async def test_a_chain_may_end_in_socks(
    world: World,
    squid_proxy: Squid,
    haproxy_proxy: RealProxy,
    microsocks_proxy: RealProxy,
    uvicorn_server: Server,
    ca: CertificateAuthority,
) -> None:
    for first in (squid_proxy.asking, haproxy_proxy):
        http = world.pool(proxy=[first.via(ca), microsocks_proxy.via(ca)], ssl=ca.client_context())
        for origin in (uvicorn_server.https, uvicorn_server.http):
            assert (await http.request("GET", origin)).body == b"hello"
    port = uvicorn_server.http.rpartition(":")[2]
    await world.until(lambda: microsocks_proxy.lines(f"connected to 127.0.0.1:{port}"))


@pytest.mark.parametrize("first", ["haproxy", "nghttpx"])
async def test_p52_tls_in_tls_in_tls(
    world: World,
    first: str,
    haproxy_proxy: RealProxy,
    nghttpx_proxy: RealProxy,
    proxy_py_proxy: RealProxy,
    uvicorn_server: Server,
    ca: CertificateAuthority,
) -> None:
    one = haproxy_proxy if first == "haproxy" else nghttpx_proxy
    http = world.pool(proxy=[one.via(ca), proxy_py_proxy.via(ca)], ssl=ca.client_context())
    response = await http.request("GET", f"{uvicorn_server.https}/bytes/300000")
    assert response.body == pattern(300_000)

"""P52, P53, P54 and FAULTS H: HTTP proxies that are scripted, for what no real one does.

The real ones are asked in `test_real_proxies.py`; SOCKS5 is in `test_socks.py`, answers to challenges in
`test_proxy_challenges.py`, time in `test_proxy_steps.py`, cancelling and faults at each step in `test_sweeps.py`.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable
from functools import partial

import pytest

import httpcore
from httpcore import (
    ConnectError,
    ConnectTimeout,
    InvalidURL,
    LocalProtocolError,
    Network,
    Origin,
    Proxy,
    ProxyError,
    RemoteProtocolError,
)
from tests.support.black_hole import black_hole
from tests.support.invariants import assert_holds, assert_still_works, error_of
from tests.support.peer import Conn, ScriptedPeer
from tests.support.programs import free_ports
from tests.support.proxy_rows import BAD_REPLIES
from tests.support.scripted_proxies import (
    ESTABLISHED,
    FORWARD,
    KINDS,
    TLS_IN_TLS,
    TUNNEL,
    Kind,
    ProxyPeers,
    connect,
    serve,
)
from tests.support.secrets import ORIGIN, PROXY, watched
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, can_cancel_worlds

TUNNELS = (TUNNEL, TLS_IN_TLS)
BASIC = b"Basic " + b64encode(":".join(PROXY.auth).encode())
ORIGIN_HEADERS = {"authorization": "Bearer origin-password", "cookie": "a=origin-cookie-marker"}


@pytest.fixture(params=TUNNELS, ids=str)
def tunnel(request: pytest.FixtureRequest) -> Kind:
    assert isinstance(request.param, Kind)
    return request.param


# P52: what goes over the wire


@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_every_kind_of_proxy_is_used_again_and_keeps_what_a_pool_keeps(
    world: World, engine: str, ca: CertificateAuthority, kind: Kind
) -> None:
    with ProxyPeers(kind, ca) as peers:
        http = peers.one_slot(world, http1_engine=engine)
        for number in range(3):
            assert (await http.request("GET", f"{peers.origin}/{number}")).body == b"/%d" % number
        assert peers.accepted == 1
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)


async def test_p52_a_forwarded_request_has_its_target_in_absolute_form(world: World, ca: CertificateAuthority) -> None:
    with ProxyPeers(FORWARD, ca) as peers:
        http = peers.one_slot(world)
        await http.request("GET", "http://a.test/path?query")
        await http.request("OPTIONS", "http://a.test:81")
        await http.request("HEAD", "http://[2001:db8::1]:8080")
        first, second, third = peers.requests
    assert first.raw_head.startswith(b"GET http://a.test/path?query HTTP/1.1\r\n")
    assert first.header(b"host") == b"a.test"
    assert second.target == b"http://a.test:81/"
    assert (third.target, third.header(b"host")) == (b"http://[2001:db8::1]:8080/", b"[2001:db8::1]:8080")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a.test", b"a.test:443"),
        ("https://a.test:8443/path", b"a.test:8443"),
        ("https://[2001:db8::1]/", b"[2001:db8::1]:443"),
        ("https://[fe80::1%25eth0]:444/", b"[fe80::1]:444"),
    ],
)
async def test_h_ipv6_connect_names_host_and_port(
    world: World, ca: CertificateAuthority, url: str, target: bytes
) -> None:
    def script(conn: Conn) -> None:
        request = conn.read_request()
        assert request.raw_head.startswith(b"CONNECT %s HTTP/1.1\r\n" % target)
        assert request.header_list(b"host") == [target]
        conn.respond(403)

    with ProxyPeers(TUNNEL, ca, script) as peers:
        await error_of(lambda: peers.one_slot(world).request("GET", url))
        assert len(peers.requests) == 1


async def test_h_ipv6_a_proxy_with_an_ipv6_address(world: World, ca: CertificateAuthority) -> None:
    for kind in (FORWARD, TUNNEL):
        with ProxyPeers(kind, ca, host="::1") as peers:
            assert peers.url.startswith("http://[::1]:")
            assert (await peers.one_slot(world).request("GET", f"{peers.origin}/6")).body == b"/6"


async def test_h_te_conn_nothing_is_sent_that_belongs_to_no_rfc(world: World, ca: CertificateAuthority) -> None:
    for kind in (FORWARD, *TUNNELS):
        with ProxyPeers(kind, ca) as peers:
            await peers.one_slot(world).request("GET", peers.origin)
            assert all(request.header(b"proxy-connection") is None for request in peers.requests)
            assert {name for name, _ in peers.requests[0].headers} <= {b"host", b"accept-encoding"}


async def test_p52_a_unix_socket_may_lead_to_the_proxy(world: World, ca: CertificateAuthority) -> None:
    for kind in (FORWARD, TUNNEL):
        # In Linux's abstract namespace, where nothing is left behind.
        uds = f"\0proxy of {world.name} by {kind}"
        with ProxyPeers(kind, ca, uds=uds) as peers:
            http = peers.one_slot(world, proxy="http://proxy.test", network=Network(uds=uds))
            assert (await http.request("GET", f"{peers.origin}/uds")).body == b"/uds"


async def test_p46_every_address_of_a_proxys_name_is_tried(world: World, ca: CertificateAuthority) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["::1", "127.0.0.1"]  # nobody listens at the first

    with ProxyPeers(TUNNEL, ca) as peers:
        http = peers.one_slot(world, proxy=f"http://proxy.test:{peers.proxy.port}", network=Network(resolver=resolve))
        assert (await http.request("GET", f"{peers.origin}/eyes")).body == b"/eyes"
    assert asked == ["proxy.test"]


async def test_p46_an_address_of_the_proxys_that_does_not_answer_holds_nobody_up(
    world: World, ca: CertificateAuthority
) -> None:
    with ProxyPeers(TUNNEL, ca) as peers, black_hole("127.0.0.2", peers.proxy.port):
        network = Network(resolver=lambda host, port: ["127.0.0.2", "127.0.0.1"])
        proxy = f"http://proxy.test:{peers.proxy.port}"
        http = peers.one_slot(world, proxy=proxy, network=network, timeout=httpcore.Timeout(40, connect=40))
        begun = time.monotonic()
        assert (await http.request("GET", f"{peers.origin}/eyes")).body == b"/eyes"
        # A quarter of a second before the next address (RFC 8305, 5), where half of the timeout would be fair.
        assert time.monotonic() - begun < 10


async def test_p52_the_facts_of_a_connection_are_the_origins_tls_and_the_proxys_address(
    world: World, ca: CertificateAuthority
) -> None:
    for kind in (FORWARD, *TUNNELS):
        with ProxyPeers(kind, ca) as peers:
            response = await peers.one_slot(world).request("GET", peers.origin)
            facts = response.extensions["connection"]
            assert isinstance(facts, httpcore.StreamInfo)
            assert facts.remote_address == ("127.0.0.1", peers.proxy.port)
            if kind is FORWARD:
                assert (facts.tls_version, facts.peer_certificate) == (None, None)
            else:
                assert facts.peer_certificate is not None
                assert b"a.test" in facts.peer_certificate
                assert not facts.reused


# P53: credentials stay where they belong


async def test_h_creds_proxy_a_tunnel_tells_each_side_its_own(
    world: World, engine: str, ca: CertificateAuthority, tunnel: Kind
) -> None:
    with ProxyPeers(tunnel, ca) as peers:
        proxy = peers.via(auth=PROXY.auth, headers={"x-proxy": "proxy-header-marker"})
        options = {"ssl": ca.client_context(), "http1_engine": engine}
        with watched(world, PROXY, ORIGIN, proxy=proxy, **options) as (http, seen):
            for _ in range(2):
                seen.append(await http.request("GET", peers.origin, ORIGIN_HEADERS))
            seen.append(proxy)
        asked, *requests = peers.requests
    assert asked.header_list(b"proxy-authorization") == [BASIC]
    assert asked.header_list(b"x-proxy") == [b"proxy-header-marker"]
    assert not ORIGIN.seen_in(asked.raw_head)
    assert len(requests) == 2
    for request in requests:
        assert not PROXY.seen_in(request.raw_head)
        assert request.header(b"proxy-authorization") is None
        assert request.header(b"authorization") == b"Bearer origin-password"


async def test_p53_every_forwarded_request_has_the_proxys_credentials(world: World, ca: CertificateAuthority) -> None:
    with ProxyPeers(FORWARD, ca) as peers:
        proxy = peers.via(auth=PROXY.auth, headers={"x-proxy": "proxy-header-marker"})
        with watched(world, PROXY, proxy=proxy) as (http, seen):
            for origin in (*peers.origins, *peers.origins):
                seen.append(await http.request("GET", origin, ORIGIN_HEADERS))
        for request in peers.requests:
            assert request.header_list(b"proxy-authorization") == [BASIC]
            assert request.header_list(b"x-proxy") == [b"proxy-header-marker"]
        assert len(peers.requests) == 4


async def test_p53_credentials_of_the_url_are_the_same_as_auth(world: World, ca: CertificateAuthority) -> None:
    with ProxyPeers(FORWARD, ca) as peers:
        url = peers.url.replace("://", "://proxy-%C3%BCser:pr0xy%3Ap%40ss%2Fw%C3%B6rd@")
        other = url.replace("://proxy", "://somebody")
        for proxy in (url, Proxy(url), Proxy(url.encode()), Proxy(other, auth=PROXY.auth), [url]):
            with watched(world, PROXY, proxy=proxy) as (http, _):
                await http.request("GET", peers.origin)
        assert {request.header(b"proxy-authorization") for request in peers.requests} == {BASIC}


def refuse(conn: Conn) -> None:
    conn.read_request()
    conn.respond(407)


def echo(conn: Conn) -> None:
    """As some service does that is no proxy at all."""
    conn.send(conn.read_request().raw_head)


def break_off(conn: Conn) -> None:
    conn.read_request()
    conn.rst()


def fall_silent(conn: Conn) -> None:
    conn.read_request()
    conn.wait_closed()


@pytest.mark.parametrize("script", [refuse, echo, break_off, fall_silent])
@pytest.mark.parametrize("kind", [FORWARD, TUNNEL, TLS_IN_TLS], ids=str)
async def test_i9_a_failure_shows_no_secret(
    world: World, ca: CertificateAuthority, kind: Kind, script: Callable[[Conn], None]
) -> None:
    with ProxyPeers(kind, ca, script) as peers:
        proxy = peers.via(auth=PROXY.auth, headers={"x-proxy": "proxy-header-marker"})
        with watched(world, PROXY, ORIGIN, proxy=proxy, ssl=ca.client_context()) as (http, seen):
            timeout = 0.3 if script is fall_silent else 5.0
            seen.append(await error_of(lambda: http.request("GET", peers.origin, ORIGIN_HEADERS, timeout=timeout)))
            await http.close_idle()


async def test_h_creds_switch_a_proxy_never_sees_what_is_for_another(world: World, ca: CertificateAuthority) -> None:
    for kind in (FORWARD, *TUNNELS):
        with ProxyPeers(kind, ca) as one, ProxyPeers(kind, ca) as other:
            knowing = one.via(auth=PROXY.auth, headers={"x-proxy": "proxy-header-marker"})
            proxies = {"a.test": knowing, "b.test": other.via()}
            http = world.pool(proxy=lambda origin, proxies=proxies: proxies[origin.host], ssl=ca.client_context())
            for _ in range(2):
                for origin in one.origins:
                    await http.request("GET", origin)
            # The same origin, another choice.
            proxies["a.test"] = other.via()
            await http.request("GET", one.origin)
            PROXY.assert_unseen_by(*other.proxy.connections)
            assert one.requests[0].header(b"proxy-authorization") == BASIC
            assert (one.accepted, other.accepted) == (1, 2)


async def test_h_key_creds_a_tunnel_belongs_to_the_credentials_that_made_it(
    world: World, ca: CertificateAuthority, tunnel: Kind
) -> None:
    with ProxyPeers(tunnel, ca) as peers:
        choices = [
            peers.via(),
            peers.via(auth=("user", "one")),
            peers.via(auth=("user", "two")),
            peers.via(headers={"x-proxy": "one"}),
        ]
        chosen = list(choices)
        http = world.pool(proxy=lambda origin: chosen[0], ssl=ca.client_context())
        for _ in range(2):
            for chosen[0] in choices:
                await http.request("GET", peers.origin)
        assert peers.accepted == len(choices)
        assert [len(conn.requests) for conn in peers.proxy.connections] == [3] * len(choices)


async def test_h_key_target_a_tunnel_is_for_its_origin_alone(
    world: World, ca: CertificateAuthority, tunnel: Kind
) -> None:
    """Nor is it used to forward, whatever the port."""

    def script(conn: Conn) -> None:
        head = conn.read_head()
        if head.method == b"CONNECT":
            conn.send(ESTABLISHED)
            conn.start_tls(peers.tls)
            serve(conn)
        else:
            conn.respond(body=b"forwarded")
            serve(conn)

    with ProxyPeers(tunnel, ca, *[script] * 9) as peers:
        http = world.pool(proxy=peers.via(), ssl=ca.client_context())
        urls = ["https://a.test/", "https://b.test/", "http://a.test/", "http://a.test:443/", "https://a.test:444/"]
        for url in urls * 2:
            await http.request("GET", url)
        for conn in peers.proxy.connections:
            hosts = {request.header(b"host") for request in conn.requests if request.method != b"CONNECT"}
            if conn.requests[0].method == b"CONNECT":
                assert {bytes(host).partition(b":")[0] for host in hosts if host} == {
                    conn.requests[0].target.partition(b":")[0]
                }
                assert len(hosts) == 1
                assert len(conn.requests) == 3
            else:
                assert all(request.target.startswith(b"http://") for request in conn.requests)


# The choice of a proxy


async def test_a_function_chooses_for_each_origin(world: World, ca: CertificateAuthority) -> None:
    asked: list[Origin] = []
    with ProxyPeers(FORWARD, ca) as peers, ScriptedPeer(serve) as direct:
        answers = {"a.test": peers.url, "b.test": [Proxy(peers.url)], "127.0.0.1": None}

        def choose(origin: Origin) -> object:
            asked.append(origin)
            return answers[origin.host]

        http = world.pool(proxy=choose)
        for url in (*peers.origins, direct.origin):
            await http.request("GET", f"{url}/")
        assert asked == [
            Origin("http", "a.test", 80),
            Origin("http", "b.test", 80),
            Origin("http", "127.0.0.1", direct.port),
        ]
        assert (len(peers.requests), len(direct.requests)) == (2, 1)


async def test_what_a_choice_raises_is_the_callers_and_costs_nothing(world: World, ca: CertificateAuthority) -> None:
    with ProxyPeers(FORWARD, ca) as peers:
        answers: list[object] = [KeyError("mine"), 5, "ftp://proxy.test", peers.url]

        def choose(origin: Origin) -> object:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        http = peers.one_slot(world, proxy=choose)
        for error in (KeyError, TypeError, InvalidURL):
            with pytest.raises(error):
                await http.request("GET", peers.origin)
        assert (await http.request("GET", f"{peers.origin}/x")).body == b"/x"
        await assert_holds(world, http, peers, idle=1)


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (InvalidURL, lambda: Proxy("ftp://proxy.test")),
        (InvalidURL, lambda: Proxy("proxy.test")),
        (InvalidURL, lambda: Proxy("http://")),
        (InvalidURL, lambda: Proxy("http://a\r\nb")),
        (TypeError, lambda: Proxy(5)),  # type: ignore[arg-type]
        (TypeError, lambda: Proxy("http://proxy.test", auth="hunter2")),  # type: ignore[arg-type]
        (TypeError, lambda: Proxy("http://proxy.test", on_challenge=5)),  # type: ignore[arg-type]
        (LocalProtocolError, lambda: Proxy("http://proxy.test", auth=("us:er", "hunter2"))),
        (LocalProtocolError, lambda: Proxy("http://us%3Aer:hunter2@proxy.test")),
        (LocalProtocolError, lambda: Proxy("http://proxy.test", headers={"x": "hunter2\r\ny: z"})),
        (LocalProtocolError, lambda: Proxy("http://proxy.test", headers={"x\r\n": "hunter2"})),
        (LocalProtocolError, lambda: Proxy("http://proxy.test", headers={"content-length": "5"})),
        (ValueError, lambda: Proxy("http://proxy.test", ssl=True)),
        (ValueError, lambda: Proxy("socks5://proxy.test", headers={"x": "y"})),
        (TypeError, lambda: httpcore.ConnectionPool(proxy=5)),  # type: ignore[arg-type]
        (InvalidURL, lambda: httpcore.ConnectionPool(proxy="ftp://user:hunter2@proxy.test")),
    ],
)
def test_h_auth_crlf_h_hdr_crlf_a_proxy_that_cannot_be_is_refused_at_once(
    error: type[Exception], make: Callable[[], object]
) -> None:
    with pytest.raises(error) as caught:
        make()
    assert "hunter2" not in str(caught.value)


async def test_h_auth_crlf_base64_keeps_a_password_on_its_line(world: World, ca: CertificateAuthority) -> None:
    auth = ("user", "a\r\nx: y\0")
    with ProxyPeers(FORWARD, ca) as peers:
        await peers.one_slot(world, proxy=peers.via(auth=auth)).request("GET", peers.origin)
        assert peers.requests[0].header(b"proxy-authorization") == b"Basic " + b64encode(b"user:a\r\nx: y\0")


async def test_h_hdr_crlf_a_host_cannot_split_a_connect(world: World, ca: CertificateAuthority) -> None:
    with ProxyPeers(TUNNEL, ca) as peers:
        http = peers.one_slot(world)
        for url in ("https://a.test\r\nx: y/", "https://a.test%0d%0ax/", b"https://a.test\r\n\r\n:443/"):
            with pytest.raises(InvalidURL):
                await http.request("GET", url)
        assert peers.accepted == 0


# P54: refusals


@pytest.mark.parametrize("status", [302, 403, 404, 407, 502, 599])
async def test_h_403_whatever_is_not_a_yes_is_a_proxy_error(
    world: World, ca: CertificateAuthority, tunnel: Kind, status: int
) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        headers = [(b"Location", b"https://evil.test/"), (b"Proxy-Authenticate", b"Basic")]
        conn.respond(status, body=b"because of this", headers=headers)
        assert conn.wait_closed()

    with ProxyPeers(tunnel, ca, script) as peers:
        http = peers.one_slot(world, retries=2)
        error = await error_of(lambda: http.request("GET", peers.origin))
        assert isinstance(error, ProxyError)
        assert (error.status_code, error.body) == (status, b"because of this")
        assert (b"location", b"https://evil.test/") in error.headers
        assert error.reason or status == 599
        assert not error.request_sent
        assert peers.url in str(error)
        assert str(status) in str(error)
        assert peers.accepted == 1, "a refusal is not tried again"
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


@can_cancel_worlds  # in threads, whoever comes after the first has failed asks anew
async def test_p54_a_refusal_is_told_to_all_who_waited_for_the_tunnel(world: World, ca: CertificateAuthority) -> None:
    """A wrong password is shown once, not once for each request."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(407)
        conn.wait_closed()

    with ProxyPeers(TUNNEL, ca, *[script] * 20) as peers:
        http = world.pool(proxy=peers.via(auth=("user", "wrong")), ssl=httpcore.SSLConfig(verify=str(ca.pem_path)))
        errors = await world.gather(*[lambda: http.request("GET", peers.origin)] * 20)
        assert {type(error) for error in errors} == {ProxyError}
        assert peers.accepted == 1


async def test_p54_the_body_of_a_refusal_is_bounded_in_size_and_time(world: World, ca: CertificateAuthority) -> None:
    def endless(conn: Conn) -> None:
        conn.read_request()
        conn.respond(403, headers=[(b"transfer-encoding", b"chunked")])
        while True:
            conn.send(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")

    def stalled(conn: Conn) -> None:
        conn.read_request()
        conn.respond(403, headers=[(b"content-length", b"100")], body=b"the beginning")
        assert conn.wait_closed()

    def cut_off(conn: Conn) -> None:
        conn.read_request()
        conn.respond(403, headers=[(b"content-length", b"100")], body=b"the beginning")

    with ProxyPeers(TUNNEL, ca, endless, cut_off, stalled, expect_disconnect=True) as peers:
        http = peers.one_slot(world)
        error = await error_of(lambda: http.request("GET", peers.origin))
        assert isinstance(error, ProxyError)
        assert 60_000 < len(error.body) < 100_000
        for timeout in (None, 0.6):
            error = await error_of(partial(http.request, "GET", peers.origin, timeout=timeout))
            assert isinstance(error, ProxyError)
            assert (error.status_code, error.body) == (403, b"the beginning")
        await assert_still_works(world, http, peers)


# Content-Length and Transfer-Encoding at once are refused, as they are everywhere.
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, b"content-length: 5\r\n"),
        (200, b"transfer-encoding: chunked\r\n"),
        (201, b"content-length: 0\r\n"),
        (204, b""),
        (299, b"content-length: 99999999\r\n"),
    ],
)
async def test_h_2xx_h_200_cl_a_tunnel_begins_right_after_the_head(
    world: World, engine: str, ca: CertificateAuthority, status: int, headers: bytes
) -> None:
    def script(conn: Conn) -> None:
        connect(conn, peers.inner, b"HTTP/1.1 %d Yes\r\n%s\r\n" % (status, headers))
        serve(conn)

    with ProxyPeers(TUNNEL, ca, script) as peers:
        http = peers.one_slot(world, http1_engine=engine)
        for number in range(2):
            assert (await http.request("GET", f"{peers.origin}/{number}")).body == b"/%d" % number
        assert peers.accepted == 1
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + ESTABLISHED,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + ESTABLISHED,
        b"HTTP/1.0 200 Connection established\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nproxy-agent: x\r\nconnection: close\r\n\r\n",
    ],
    ids=["h_100", "two of them", "HTTP/1.0", "no reason", "connection: close"],
)
async def test_h_100_what_a_yes_may_look_like(
    world: World, engine: str, ca: CertificateAuthority, reply: bytes
) -> None:
    def whole(conn: Conn) -> None:
        connect(conn, peers.inner, reply)
        serve(conn)

    def bytewise(conn: Conn) -> None:
        assert conn.read_request().method == b"CONNECT"
        conn.send_bytewise(reply)
        conn.start_tls(peers.tls)
        serve(conn)

    with ProxyPeers(TUNNEL, ca, whole, bytewise) as peers:
        for _ in range(2):
            http = peers.one_slot(world, http1_engine=engine)
            for number in range(2):
                assert (await http.request("GET", f"{peers.origin}/{number}")).body == b"/%d" % number
        assert peers.accepted == 2


# h_101, h_garbage, h_close_0: a proxy that speaks badly


@pytest.mark.parametrize("case", BAD_REPLIES)
async def test_h_garbage_a_proxy_that_speaks_badly_is_a_proxy_error(
    world: World, ca: CertificateAuthority, case: str
) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(BAD_REPLIES[case])

    # One engine is enough where the worlds are compared.
    engines = ("h11", "auto") if world.name == "blocking" else ("auto",)
    with ProxyPeers(TUNNEL, ca, *[script] * len(engines), expect_disconnect=True) as peers:
        pools = [peers.one_slot(world, http1_engine=engine) for engine in engines]
        for http in pools:
            error = await error_of(partial(http.request, "GET", peers.origin, timeout=10))
            assert type(error) is ProxyError, error
            assert f"the proxy {peers.url}" in str(error)
            assert not error.request_sent
            await assert_holds(world, http, peers, idle=0)
        for http in pools:
            await assert_still_works(world, http, peers)
            assert http.stats().retried == 0


async def test_h_close_0_a_reset_is_a_proxy_error_too(world: World, ca: CertificateAuthority, tunnel: Kind) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.rst()

    with ProxyPeers(tunnel, ca, script) as peers:
        http = peers.one_slot(world)
        error = await error_of(lambda: http.request("GET", peers.origin))
        assert type(error) is ProxyError, error
        assert f"the proxy {peers.url}" in str(error)
        await assert_still_works(world, http, peers)


async def test_what_a_proxy_says_behind_its_yes_is_not_taken_for_the_origins(
    world: World, engine: str, ca: CertificateAuthority
) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(ESTABLISHED + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        conn.wait_closed()

    with ProxyPeers(TUNNEL, ca, script, expect_disconnect=True) as peers:
        http = peers.one_slot(world, http1_engine=engine)
        error = await error_of(lambda: http.request("GET", peers.origin))
        assert isinstance(error, ConnectError)
        await assert_still_works(world, http, peers)


# h_close_tls


async def test_h_close_tls_an_end_in_the_handshake_is_a_connect_error(
    world: World, ca: CertificateAuthority, tunnel: Kind
) -> None:
    def script(conn: Conn) -> None:
        connect(conn, None)
        conn.recv_exactly(1)

    with ProxyPeers(tunnel, ca, script) as peers:
        http = peers.one_slot(world)
        error = await error_of(lambda: http.request("GET", peers.origin))
        assert isinstance(error, ConnectError)
        assert "a.test:443 through the proxy" in str(error)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_h_close_tls_an_end_in_a_response_is_an_error(
    world: World, engine: str, ca: CertificateAuthority, tunnel: Kind
) -> None:
    def script(conn: Conn) -> None:
        connect(conn, peers.inner)
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")

    with ProxyPeers(tunnel, ca, script) as peers:
        http = peers.one_slot(world, http1_engine=engine)
        error = await error_of(lambda: http.request("GET", peers.origin))
        assert isinstance(error, (RemoteProtocolError, httpcore.ReadError))
        assert error.request_sent
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize("kind", [FORWARD, *TUNNELS], ids=str)
async def test_h_close_tls_an_end_between_requests_is_a_new_tunnel(
    world: World, ca: CertificateAuthority, kind: Kind
) -> None:
    def script(conn: Conn) -> None:
        kind.enter(conn, peers.inner)
        conn.read_request()
        conn.respond(body=b"first")

    with ProxyPeers(kind, ca, script) as peers:
        http = peers.one_slot(world, proxy=peers.via(auth=PROXY.auth))
        assert (await http.request("GET", peers.origin)).body == b"first"
        await world.until(lambda: peers.proxy.open_connections == 0)
        assert (await http.request("GET", f"{peers.origin}/second")).body == b"/second"
        assert [conn.requests[0].header(b"proxy-authorization") for conn in peers.proxy.connections] == [BASIC] * 2
        await assert_still_works(world, http, peers)


# Connecting to the proxy


async def test_a_proxy_that_is_not_there_is_a_connect_error_that_names_it(
    world: World, ca: CertificateAuthority
) -> None:
    (port,) = free_ports(1)
    for scheme in ("http", "https", "socks5", "socks5h"):
        for url in ("http://a.test/", "https://a.test/"):
            proxy = f"{scheme}://127.0.0.1:{port}"
            http = world.pool(proxy=proxy, network=Network(resolver=lambda host, port: ["192.0.2.1"]))
            with pytest.raises(ConnectError, match=re.escape(f"127.0.0.1:{port}")) as caught:
                await http.request("GET", url)
            assert f"proxy {proxy}" in str(caught.value)
            assert not caught.value.request_sent


async def test_a_proxy_that_does_not_resolve_is_a_connect_error_that_names_it(world: World) -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    http = world.pool(proxy="http://proxy.test:81", network=Network(resolver=resolve))
    for url in ("http://a.test/", "https://a.test/"):
        with pytest.raises(ConnectError, match=r"the name proxy\.test does not resolve"):
            await http.request("GET", url)


async def test_a_proxy_that_does_not_answer_is_a_connect_timeout_that_names_it(world: World) -> None:
    with black_hole() as (host, port):
        proxy = f"http://{host}:{port}"
        for url in ("http://a.test/", "https://a.test/"):
            http = world.pool(proxy=proxy, timeout=httpcore.Timeout(0.2))
            with pytest.raises(ConnectTimeout, match=re.escape(f"the proxy {proxy}")):
                await http.request("GET", url)


async def test_an_https_proxy_that_speaks_no_tls_is_a_connect_error(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.recv()
        conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        http = world.pool(proxy=f"https://{peer.authority}")
        for url in ("http://a.test/", "https://a.test/"):
            with pytest.raises(ConnectError, match=re.escape(peer.authority)):
                await http.request("GET", url)


# A proxy as a value


def test_a_proxy_is_a_value_that_shows_no_secret() -> None:
    one = Proxy("http://user:hunter2@proxy.test:3128", headers={"x-key": "hunter2"})
    same = Proxy(b"http://proxy.test:3128", auth=(b"user", b"hunter2"), headers=[("x-key", "hunter2")])
    assert one == same
    assert hash(one) == hash(same)
    for other in (
        Proxy("http://proxy.test:3128"),
        Proxy("http://proxy.test:3128", auth=("user", "hunter3"), headers={"x-key": "hunter2"}),
        Proxy("http://proxy.test:3128", auth=("user", "hunter2"), headers={"x-key": "hunter3"}),
        Proxy("http://proxy.test:3129", auth=("user", "hunter2"), headers={"x-key": "hunter2"}),
        Proxy("https://proxy.test:3128", auth=("user", "hunter2"), headers={"x-key": "hunter2"}),
    ):
        assert one != other
    for shown in (repr(one), str(one), f"{one}", repr([one])):
        assert "proxy.test:3128" in shown
        assert "hunter2" not in shown
    with pytest.raises(AttributeError) as caught:
        one.host = "evil.test"  # type: ignore[misc]
    assert "hunter2" not in str(caught.value)
    assert [(p.scheme, p.port) for p in map(Proxy, ("http://a", "https://a", "socks5://a", "socks5h://a"))] == [
        ("http", 80), ("https", 443), ("socks5", 1080), ("socks5h", 1080)
    ]  # fmt: skip


# What needs a tunnel on http too


@pytest.mark.parametrize("kind", [FORWARD, TLS_IN_TLS], ids=str)
async def test_an_upgrade_goes_through_a_tunnel(
    world: World, engine: str, ca: CertificateAuthority, kind: Kind
) -> None:
    """`upgrade` is for the next hop alone (RFC 9110, 7.8), which a proxy that forwards would be."""

    def script(conn: Conn) -> None:
        assert connect(conn, None).target == b"a.test:80"
        request = conn.read_request()
        assert (request.target, request.header(b"upgrade")) == (b"/chat", b"echo")
        assert request.header(b"proxy-authorization") is None
        # The first bytes of what comes after it, in one piece with the head.
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\nhello")
        conn.send(conn.recv_exactly(5))
        conn.wait_closed()

    with ProxyPeers(kind, ca, script) as peers:
        http = peers.one_slot(world, proxy=peers.via(auth=PROXY.auth), http1_engine=engine)
        headers = {"upgrade": "echo", "connection": "upgrade"}
        async with await http.request("GET", "http://a.test/chat", headers) as response:
            assert response.status_code == 101
            stream = response.extensions["network_stream"]
            assert isinstance(stream, httpcore.NetworkStream)
            assert await stream.read() == b"hello"
            await stream.write(b"there")
            assert await stream.read() == b"there"
        await assert_holds(world, http, peers, idle=0)


def test_the_sync_pool_takes_the_same(ca: CertificateAuthority) -> None:
    answers = [{"proxy-authorization": "Digest it"}]

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(407)
        assert connect(conn, peers.inner).header(b"proxy-authorization") == b"Digest it"
        serve(conn)

    with ProxyPeers(TUNNEL, ca, script) as peers:
        proxy = peers.via(on_challenge=lambda _: answers.pop())
        with httpcore.SyncConnectionPool(proxy=lambda origin: proxy, ssl=ca.client_context()) as http:
            for number in range(2):
                assert http.request("GET", f"{peers.origin}/{number}").body == b"/%d" % number
        assert peers.accepted == 1

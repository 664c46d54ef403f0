"""P55 and FAULTS H: SOCKS5 proxies that are scripted, byte by byte.

The real ones are asked in `test_real_proxies.py`; cancelling and faults at each step are in `test_sweeps.py`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from urllib.parse import quote

import pytest

import httpcore
from httpcore import ConnectError, ConnectTimeout, LocalProtocolError, Network, Proxy, ProxyError, SSLConfig
from tests.support.invariants import assert_holds, assert_still_works, error_of
from tests.support.peer import Conn, ScriptedPeer
from tests.support.scripted_proxies import SOCKS, SOCKS_IN_CLEAR, TLS_IN_TLS, ProxyPeers, connect, serve
from tests.support.scripted_socks import (
    NO_AUTH,
    NONE_ACCEPTED,
    PASSWORD,
    Target,
    accept,
    greet,
    read_greeting,
    read_password,
    read_target,
    reply,
)
from tests.support.secrets import PROXY, watched
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World

AUTH = ("user", "hunter2")
AUTH_BYTES = (b"user", b"hunter2")
Script = Callable[[Conn], object]


async def check_refused(
    world: World,
    ca: CertificateAuthority,
    script: Script,
    words: str,
    auth: tuple[str, str] | None = None,
    code: int | None = None,
) -> None:
    """One clear error, the connection closed by us, its slot free, and what comes next is served."""

    def played(conn: Conn) -> None:
        script(conn)
        assert conn.wait_closed()

    with ProxyPeers(SOCKS_IN_CLEAR, ca, played) as peers:
        chosen = peers.via(auth=auth)
        http = peers.one_slot(world, proxy=lambda origin: chosen, retries=2)
        error = await error_of(lambda: http.request("GET", peers.origin))
        assert type(error) is ProxyError, error
        assert words in str(error)
        assert f"{peers.url}" in str(error)
        assert "hunter2" not in str(error)
        assert (error.status_code, error.body, error.request_sent) == (None, b"", False)
        assert error.socks_code == code
        assert peers.accepted == 1, "a refusal is not tried again"
        chosen = peers.via()
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


# Who is asked for what


@pytest.mark.parametrize(
    ("scheme", "url", "target"),
    [
        ("socks5h", "http://a.test/", Target("a.test", 80, True)),
        ("socks5h", "http://a.test:8080/", Target("a.test", 8080, True)),
        ("socks5h", "http://bücher.test/", Target("xn--bcher-kva.test", 80, True)),
        ("socks5h", "http://192.0.2.1:65535/", Target("192.0.2.1", 65535, False)),
        ("socks5h", "http://[2001:db8::1]:1/", Target("2001:db8::1", 1, False)),
        ("socks5", "http://a.test/", Target("192.0.2.7", 80, False)),
        ("socks5", "http://six.test/", Target("2001:db8::7", 80, False)),
        ("socks5", "http://192.0.2.1/", Target("192.0.2.1", 80, False)),
        ("socks5", "http://[2001:db8::1]/", Target("2001:db8::1", 80, False)),
    ],
)
async def test_p55_who_resolves_is_explicit(
    world: World, ca: CertificateAuthority, scheme: str, url: str, target: Target
) -> None:
    targets: list[Target] = []
    asked: list[str] = []

    def script(conn: Conn) -> None:
        targets.append(accept(conn))
        serve(conn)

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if host == "proxy.test" else {"a.test": ["192.0.2.7"], "six.test": ["2001:db8::7"]}[host]

    with ProxyPeers(SOCKS_IN_CLEAR, ca, script) as peers:
        proxy = f"{scheme}://proxy.test:{peers.proxy.port}"
        http = peers.one_slot(world, proxy=proxy, network=Network(resolver=resolve))
        assert (await http.request("GET", url)).status_code == 200
        assert targets == [target]
        assert peers.requests[0].target == b"/", "a tunnel is not forwarding"
        host = httpcore.URL(url).host
        assert set(asked) - {"proxy.test"} == ({host} if scheme == "socks5" and host.endswith("test") else set())


async def test_p47_every_address_is_tried_where_names_are_resolved_here(world: World, ca: CertificateAuthority) -> None:
    targets: list[str] = []

    def refusing(conn: Conn) -> None:
        greet(conn, NO_AUTH)
        targets.append(read_target(conn).host)
        conn.send(reply(5))

    def accepting(conn: Conn) -> None:
        targets.append(accept(conn).host)
        serve(conn)

    addresses = ["192.0.2.1", "2001:db8::1", "192.0.2.2"]
    with ProxyPeers(SOCKS_IN_CLEAR, ca, refusing, refusing, accepting) as peers:
        proxy = peers.url.replace("socks5h", "socks5")
        http = peers.one_slot(world, proxy=proxy, network=Network(resolver=lambda host, port: addresses))
        assert (await http.request("GET", f"{peers.origin}/x")).body == b"/x"
        assert sorted(targets) == sorted(addresses)


async def test_p47_a_refused_password_is_not_tried_again_for_each_address(
    world: World, ca: CertificateAuthority
) -> None:
    """Where three wrong ones lock an account, a name with three addresses must not."""

    def script(conn: Conn) -> None:
        greet(conn, PASSWORD)
        read_password(conn)
        conn.send(b"\x01\x01")
        conn.wait_closed()

    with ProxyPeers(SOCKS_IN_CLEAR, ca, *[script] * 3) as peers:
        proxy = Proxy(peers.url.replace("socks5h", "socks5"), auth=AUTH)
        addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        http = peers.one_slot(world, proxy=proxy, network=Network(resolver=lambda host, port: addresses))
        error = await error_of(lambda: http.request("GET", peers.origin))
        assert isinstance(error, ProxyError)
        assert error.socks_code is None
        assert peers.accepted == 1


async def test_p55_a_name_that_does_not_resolve_here_is_a_connect_error(world: World, ca: CertificateAuthority) -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with ProxyPeers(SOCKS_IN_CLEAR, ca) as peers:
        http = peers.one_slot(world, proxy=peers.url.replace("socks5h", "socks5"), network=Network(resolver=resolve))
        with pytest.raises(ConnectError, match=r"a\.test does not resolve"):
            await http.request("GET", peers.origin)


async def test_h_s5_split_every_reply_may_come_byte_by_byte(world: World, ca: CertificateAuthority) -> None:
    def script(conn: Conn) -> None:
        read_greeting(conn)
        conn.send_bytewise(bytes([5, PASSWORD]))
        assert read_password(conn) == AUTH_BYTES
        conn.send_bytewise(b"\x01\x00")
        read_target(conn)
        conn.send_bytewise(reply(0, b"\x03\x0bexample.org"))
        conn.start_tls(peers.tls)
        serve(conn)

    with ProxyPeers(SOCKS, ca, script) as peers:
        http = peers.one_slot(world, proxy=peers.via(auth=AUTH))
        for number in range(2):
            assert (await http.request("GET", f"{peers.origin}/{number}")).body == b"/%d" % number
        assert peers.accepted == 1


@pytest.mark.parametrize(
    "bound",
    [
        b"\x01\x00\x00\x00\x00",
        b"\x04" + bytes(16),
        b"\x03\x0bexample.org",
        b"\x03\x00",
        b"\x03\xff" + b"x" * 255,
    ],
    ids=["IPv4", "IPv6", "a name", "an empty name", "a long name"],
)
async def test_h_s5_addr_whatever_the_proxy_is_bound_to_the_tunnel_begins_behind_it(
    world: World, ca: CertificateAuthority, bound: bytes
) -> None:
    def script(conn: Conn) -> None:
        greet(conn, NO_AUTH)
        read_target(conn)
        # An early byte of the origin's, in the same segment, must not be taken for the proxy's.
        conn.send(reply(0, bound) + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        conn.read_request()
        conn.send(b"early")
        serve(conn)

    with ProxyPeers(SOCKS_IN_CLEAR, ca, script, expect_disconnect=True) as peers:
        http = peers.one_slot(world)
        assert (await http.request("GET", peers.origin)).body == b"early"


async def test_h_s5_split_replies_may_come_in_one_tls_record_with_what_follows(
    world: World, ca: CertificateAuthority
) -> None:
    """SOCKS behind an https proxy. TLS gives a record whole, however little of it is asked for."""

    def script(conn: Conn) -> None:
        connect(conn, None)
        greet(conn, NO_AUTH)
        read_target(conn)
        conn.send(reply() + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        conn.read_request()
        conn.send(b"early")
        serve(conn)

    with ProxyPeers(TLS_IN_TLS, ca, script, expect_disconnect=True) as peers:
        http = peers.one_slot(world, proxy=[peers.via(), "socks5h://second.test"])
        assert (await http.request("GET", "http://a.test/")).body == b"early"
        assert (await http.request("GET", "http://a.test/next")).body == b"/next"


# Refusals


@pytest.mark.parametrize("auth", [None, AUTH], ids=["no auth", "auth"])
async def test_h_s5_none_no_method_that_both_know(
    world: World, ca: CertificateAuthority, auth: tuple[str, str] | None
) -> None:
    await check_refused(world, ca, lambda conn: greet(conn, NONE_ACCEPTED), "does not accept", auth)


@pytest.mark.parametrize(
    ("auth", "method"), [(None, PASSWORD), (None, 1), (None, 0x80), (AUTH, NO_AUTH), (AUTH, 1), (AUTH, 3)]
)
async def test_h_s5_unasked_a_method_that_was_not_offered(
    world: World, ca: CertificateAuthority, auth: tuple[str, str] | None, method: int
) -> None:
    def script(conn: Conn) -> None:
        assert greet(conn, method) == [NO_AUTH if auth is None else PASSWORD]

    await check_refused(world, ca, script, "not offered", auth)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "general failure"),
        (2, "not allowed"),
        (3, "network unreachable"),
        (4, "host unreachable"),
        (5, "connection refused"),
        (6, "TTL expired"),
        (7, "command not supported"),
        (8, "address type not supported"),
        (9, "code 9"),
        (255, "code 255"),
    ],
)
async def test_h_s5_codes_each_is_said_in_words(world: World, ca: CertificateAuthority, code: int, words: str) -> None:
    def script(conn: Conn) -> None:
        greet(conn, NO_AUTH)
        read_target(conn)
        conn.send(reply(code))

    await check_refused(world, ca, script, words, code=code)


@pytest.mark.parametrize("status", [1, 255])
async def test_p55_a_refused_password_is_a_proxy_error(world: World, ca: CertificateAuthority, status: int) -> None:
    def script(conn: Conn) -> None:
        greet(conn, PASSWORD)
        assert read_password(conn) == AUTH_BYTES
        conn.send(bytes([1, status]))

    await check_refused(world, ca, script, "refused the user and password", AUTH)


BAD: dict[str, tuple[list[bytes], tuple[str, str] | None]] = {
    "version 4": ([b"\x04\x00"], None),
    "version 0": ([b"\x00\x5a"], None),
    "HTTP": ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], None),
    "TLS": ([bytes.fromhex("15030100020228")], None),
    "version 4 in the reply": ([b"\x05\x00", reply(version=4)], None),
    "a reserved byte": ([b"\x05\x00", reply(reserved=1)], None),
    "type 0": ([b"\x05\x00", reply(bound=b"\x00")], None),
    "type 2": ([b"\x05\x00", reply(bound=b"\x02")], None),
    "type 255": ([b"\x05\x00", reply(bound=b"\xff")], None),
    "authentication of version 5": ([b"\x05\x02", b"\x05\x00"], AUTH),
    "authentication of version 0": ([b"\x05\x02", b"\x00\x00"], AUTH),
}


@pytest.mark.parametrize("case", BAD)
async def test_h_s5_ver_what_is_not_socks5_is_a_proxy_error(world: World, ca: CertificateAuthority, case: str) -> None:
    replies, auth = BAD[case]

    def script(conn: Conn) -> None:
        steps = [read_greeting, read_target] if auth is None else [read_greeting, read_password, read_target]
        for read, answer in zip(steps, replies, strict=False):
            read(conn)
            conn.send(answer)

    await check_refused(world, ca, script, "SOCKS5", auth)


# Ends and silences, at each step


def through_greeting(conn: Conn) -> None:
    read_greeting(conn)


def through_method(conn: Conn) -> None:
    greet(conn, PASSWORD)


def half_a_method(conn: Conn) -> None:
    read_greeting(conn)
    conn.send(b"\x05")


def through_password(conn: Conn) -> None:
    greet(conn, PASSWORD)
    read_password(conn)


def half_a_verdict(conn: Conn) -> None:
    through_password(conn)
    conn.send(b"\x01")


def through_target(conn: Conn) -> None:
    through_password(conn)
    conn.send(b"\x01\x00")
    read_target(conn)


def half_a_reply(conn: Conn) -> None:
    through_target(conn)
    conn.send(reply()[:3])


def half_an_address(conn: Conn) -> None:
    through_target(conn)
    conn.send(reply()[:-1])


STEPS = [
    through_greeting,
    half_a_method,
    through_method,
    through_password,
    half_a_verdict,
    through_target,
    half_a_reply,
    half_an_address,
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_h_s5_close_an_end_at_any_step_is_a_proxy_error(
    world: World, ca: CertificateAuthority, step: Script, how: str
) -> None:
    def script(conn: Conn) -> None:
        step(conn)
        if how == "rst":
            conn.rst()

    def good(conn: Conn) -> None:
        accept(conn, AUTH_BYTES)
        serve(conn)

    with ProxyPeers(SOCKS_IN_CLEAR, ca, script, good, good, expect_disconnect=True) as peers:
        http = peers.one_slot(world, proxy=peers.via(auth=AUTH))
        error = await error_of(lambda: http.request("GET", peers.origin))
        assert type(error) is ProxyError, error
        assert peers.url in str(error)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize("step", STEPS)
async def test_h_s5_hang_silence_at_any_step_is_a_connect_timeout(
    world: World, ca: CertificateAuthority, step: Script
) -> None:
    def script(conn: Conn) -> None:
        step(conn)
        assert conn.wait_closed()

    def good(conn: Conn) -> None:
        accept(conn, AUTH_BYTES)
        serve(conn)

    with ProxyPeers(SOCKS_IN_CLEAR, ca, script, good, good, expect_disconnect=True) as peers:
        http = peers.one_slot(world, proxy=peers.via(auth=AUTH))
        timeout = httpcore.Timeout(10, connect=0.15)
        error = await error_of(lambda: http.request("GET", peers.origin, timeout=timeout))
        assert isinstance(error, ConnectTimeout), error
        assert peers.url in str(error)
        assert not error.request_sent
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


# Lengths


def test_h_s5_long_credentials_that_do_not_fit_are_refused_at_once() -> None:
    for auth in (("u" * 256, "hunter2"), ("hunter2", "p" * 256), ("ü" * 128, "hunter2"), ("", "hunter2")):
        with pytest.raises(LocalProtocolError, match="SOCKS5") as caught:
            Proxy("socks5://proxy.test", auth=auth)
        assert "hunter2" not in str(caught.value)


async def test_h_s5_long_what_fits_is_sent(world: World, ca: CertificateAuthority) -> None:
    auth = ("ü" * 127 + "u", "p" * 255)

    def script(conn: Conn) -> None:
        accept(conn, (auth[0].encode(), auth[1].encode()))
        serve(conn)

    with ProxyPeers(SOCKS_IN_CLEAR, ca, script) as peers:
        http = peers.one_slot(world, proxy=peers.via(auth=auth))
        assert (await http.request("GET", f"{peers.origin}/long")).body == b"/long"


async def test_h_s5_long_a_name_that_does_not_fit_is_refused_before_a_byte_is_sent(
    world: World, ca: CertificateAuthority
) -> None:
    with ProxyPeers(SOCKS_IN_CLEAR, ca) as peers:
        http = peers.one_slot(world)
        name = ".".join(["a" * 63] * 4)
        for host in (name + "a", name + ".a"):
            with pytest.raises((LocalProtocolError, httpcore.InvalidURL)):
                await http.request("GET", f"http://{host}/")
        await world.until(lambda: peers.proxy.open_connections == 0)
        assert peers.requests == []
        await assert_still_works(world, http, peers)


# Credentials


@pytest.mark.parametrize(
    ("user", "password"),
    [("user", "hunter2"), ("us:er", "a:b"), ("üser", "p@ss/wörd%"), ("user", ""), ("a b", "\0\r\n")],
)
async def test_h_s5_creds_are_decoded_and_never_shown(
    world: World, ca: CertificateAuthority, user: str, password: str
) -> None:
    def script(conn: Conn) -> None:
        assert greet(conn, PASSWORD) == [PASSWORD]
        credentials.append(read_password(conn))
        conn.send(b"\x01\x00")
        read_target(conn)
        conn.send(reply(0))
        serve(conn)

    credentials: list[tuple[bytes, bytes]] = []
    with ProxyPeers(SOCKS_IN_CLEAR, ca, *[script] * 3) as peers:
        address = peers.proxy.authority
        of_url = f"socks5h://{quote(user, safe='')}:{quote(password, safe='')}@{address}"
        for proxy in (of_url, Proxy(of_url), Proxy(f"socks5h://x:y@{address}", auth=(user, password))):
            http = world.pool(proxy=proxy)
            assert (await http.request("GET", peers.origin)).status_code == 200
            assert peers.url in repr(Proxy(of_url))
        assert credentials == [(user.encode(), password.encode())] * 3


async def test_i9_credentials_are_in_no_repr_log_trace_or_exception(world: World, ca: CertificateAuthority) -> None:
    def refusing(conn: Conn) -> None:
        greet(conn, PASSWORD)
        read_password(conn)
        conn.send(b"\x01\x01")

    def cut_off(conn: Conn) -> None:
        greet(conn, PASSWORD)

    def accepting(conn: Conn) -> None:
        user, password = PROXY.auth
        accept(conn, (user.encode(), password.encode()))
        conn.start_tls(peers.tls)
        serve(conn)

    with ProxyPeers(SOCKS, ca, refusing, cut_off, accepting, expect_disconnect=True) as peers:
        proxy = peers.via(auth=PROXY.auth)
        with watched(world, PROXY, proxy=proxy, ssl=ca.client_context()) as (http, seen):
            for _ in range(2):
                seen.append(await error_of(lambda: http.request("GET", peers.origin)))
            seen.append(await http.request("GET", peers.origin))
            seen.append(proxy)
        PROXY.assert_unseen_by(*peers.proxy.connections)


async def test_h_key_creds_a_tunnel_belongs_to_the_credentials_that_made_it(
    world: World, ca: CertificateAuthority
) -> None:
    made: list[object] = []

    def script(conn: Conn) -> None:
        if PASSWORD in greet(conn, NO_AUTH if conn.index == 0 else PASSWORD):
            made.append(read_password(conn))
            conn.send(b"\x01\x00")
        read_target(conn)
        conn.send(reply())
        serve(conn)

    with ProxyPeers(SOCKS_IN_CLEAR, ca, *[script] * 3) as peers:
        choices = [peers.via(), peers.via(auth=("user", "one")), peers.via(auth=("user", "two"))]
        chosen = list(choices)
        http = world.pool(proxy=lambda origin: chosen[0])
        for _ in range(2):
            for chosen[0] in choices:
                assert (await http.request("GET", peers.origin)).status_code == 200
        assert peers.accepted == 3
        assert made == [(b"user", b"one"), (b"user", b"two")]


async def test_h_key_target_a_tunnel_is_for_its_origin_alone(world: World, ca: CertificateAuthority) -> None:
    targets: list[Target] = []

    def script(conn: Conn) -> None:
        targets.append(accept(conn))
        serve(conn)

    with ProxyPeers(SOCKS_IN_CLEAR, ca, *[script] * 3) as peers:
        http = world.pool(proxy=peers.url)
        for url in ("http://a.test/", "http://b.test/", "http://a.test:81/") * 2:
            await http.request("GET", url)
        assert [(target.host, target.port) for target in targets] == [("a.test", 80), ("b.test", 80), ("a.test", 81)]
        assert [len(conn.requests) for conn in peers.proxy.connections] == [2, 2, 2]


# h_s5_tls


async def test_h_s5_tls_the_options_are_those_of_the_origin(world: World, ca: CertificateAuthority) -> None:
    chain, key = ca.client_certificate()
    context = ca.requiring_client_certificate()

    def script(conn: Conn) -> None:
        accept(conn)
        conn.start_tls(context)
        serve(conn)

    with ProxyPeers(SOCKS, ca, script) as peers:
        trusting = SSLConfig(verify=str(ca.pem_path), cert=(str(chain), str(key)))
        http = peers.one_slot(world, ssl=trusting)
        # The certificate is for localhost and loopback.
        assert (await http.request("GET", "https://localhost/x")).body == b"/x"
        (conn,) = peers.proxy.connections
        assert conn.server_name == "localhost"
        assert conn.tls is not None
        assert conn.tls.getpeercert()


async def test_h_s5_tls_an_origin_is_verified_by_its_own_name(world: World, ca: CertificateAuthority) -> None:
    with ProxyPeers(SOCKS, ca, expect_disconnect=True) as peers:

        def script(conn: Conn) -> None:
            accept(conn)
            with pytest.raises(Exception, match="ALERT"):
                conn.start_tls(peers.tls)

        with ScriptedPeer(script, expect_disconnect=True) as proxy:
            http = world.pool(proxy=f"socks5h://{proxy.authority}", ssl=ca.client_context())
            with pytest.raises(ConnectError, match=r"not valid for 'c\.test'"):
                await http.request("GET", "https://c.test/")
        # And the request's own options count.
        http = peers.one_slot(world)
        extensions = {"sni_hostname": "a.test"}
        assert (await http.request("GET", "https://c.test/sni", extensions=extensions)).body == b"/sni"
        assert (await http.request("GET", "https://c.test/no", ssl=False)).body == b"/no"


# The way to the proxy


async def test_p51_a_unix_socket_may_lead_to_the_proxy(world: World, ca: CertificateAuthority) -> None:
    uds = f"\0socks of {world.name}"
    with ProxyPeers(SOCKS_IN_CLEAR, ca, uds=uds) as peers:
        http = peers.one_slot(world, proxy="socks5h://proxy.test", network=Network(uds=uds))
        assert (await http.request("GET", f"{peers.origin}/uds")).body == b"/uds"


async def test_p51_socket_options_are_set_on_the_way_to_the_proxy(world: World, ca: CertificateAuthority) -> None:
    with ProxyPeers(SOCKS_IN_CLEAR, ca) as peers:
        options = ((socket.SOL_SOCKET, socket.SO_RCVBUF, 9_000),)
        network = Network(local_address="127.0.0.5", socket_options=options)
        http = peers.one_slot(world, network=network)
        assert (await http.request("GET", f"{peers.origin}/x")).body == b"/x"
        assert peers.proxy.connections[0].socket.sock.getpeername()[0] == "127.0.0.5"

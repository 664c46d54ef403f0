"""I9: secrets stay where they belong, whatever happens.

Every secret is a marker. Each origin has its own in its credentials, cookies, keys and bodies, and every byte that is
handed to a socket is kept by where that leads. What belongs to one origin goes there and nowhere else, in clear only
where it is meant to. It shows up in no repr, log, trace event, pickle or exception, nor in what these lead to.
"""

from __future__ import annotations

import pickle
import ssl
from base64 import b64encode
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

import httpcore
from httpcore import ProxyError
from httpcore._backends import make_backend
from httpcore._streams import Address
from httpcore.testing import Fault, Faults
from tests.support.http2_peer import Code, HTTP2Conn, HTTP2Peer, http2_context
from tests.support.peer import Conn, ScriptedPeer
from tests.support.scripted_proxies import FORWARD, KINDS, SOCKS, SOCKS_IN_CLEAR, TLS_IN_TLS, TUNNEL, Kind, ProxyPeers
from tests.support.scripted_socks import accept
from tests.support.secrets import PROXY, Secrets, watched
from tests.support.stories import failure
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, only_worlds

# What differs between asyncio and uvloop knows nothing of HTTP.
three_worlds = only_worlds("asyncio", "trio", "blocking")


class Mine(Secrets):
    """Those of requests to one origin, in each place that a secret can have in them."""

    def __init__(self, name: str) -> None:
        words = [f"{name}-{what}-marker" for what in ("user", "password", "cookie", "key", "body", "trailer")]
        super().__init__(*words)
        user, password, cookie, key, body, trailer = words
        self.basic = b64encode(f"{user}:{password}".encode()).decode()
        self.headers = {"authorization": f"Basic {self.basic}", "cookie": f"sid={cookie}", "x-api-key": key}
        self.body = body.encode()
        self.trailers = [("x-token", trailer)]


FIRST, OTHER = Mine("first"), Mine("other")
NOWHERE = Secrets("user-of-a-url", "password-of-a-url")
"""Which a URL may have, and which are dropped."""
ANSWERED = Secrets("nobody", "nothing", "answered-cookie-marker", "answered-body-marker")
"""Of responses."""
EVERYTHING = (FIRST, OTHER, NOWHERE, ANSWERED, PROXY)


class Sent:
    """All bytes that are handed to sockets, by the port that they lead to."""

    def __init__(self) -> None:
        self.to: dict[int, bytearray] = defaultdict(bytearray)

    def over(self, choice: Any) -> Callable[[], Any]:
        return lambda: _Backend(choice() if callable(choice) else make_backend(choice), self)

    def assert_unseen(self, *secrets: Secrets, at: Sequence[int] | None = None) -> None:
        for port in self.to if at is None else at:
            for each in secrets:
                assert not each.seen_in(bytes(self.to[port])), port


class _Backend:
    def __init__(self, inner: Any, sent: Sent) -> None:
        self._inner = inner
        self._sent = sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def connect(self, addresses: Sequence[Address], *args: Any) -> tuple[Any, Address]:
        stream, address = await self._inner.connect(addresses, *args)
        assert not isinstance(address.target, str)
        return _Stream(stream, self._sent.to[address.target[1]]), address


class _Stream:
    def __init__(self, inner: Any, sent: bytearray) -> None:
        self._inner = inner
        self._sent = sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def send(self, data: bytes, *args: Any) -> bool:
        self._sent += data
        return bool(await self._inner.send(data, *args))

    def write(self, data: bytes) -> bool:
        self._sent += data
        return bool(self._inner.write(data))

    def close(self, farewell: bytes = b"") -> None:
        self._sent += farewell
        self._inner.close(farewell)


async def post(http: httpcore.ConnectionPool, origin: str, mine: Mine) -> httpcore.Response:
    """With a secret wherever there can be one."""
    scheme, _, authority = origin.partition("://")
    url = f"{scheme}://user-of-a-url:password-of-a-url@{authority}/"
    extensions = {"trailers": mine.trailers}
    return await http.request("POST", url, mine.headers, iter([mine.body]), extensions=extensions)


def assert_reached(requests: Sequence[Any], mine: Mine) -> None:
    """As a test whose secrets went nowhere would find them nowhere."""
    request = requests[-1]
    for name, value in mine.headers.items():
        assert request.header(name.encode()) == value.encode()
    assert request.body == mine.body


def assert_unpickled(*things: object) -> None:
    """None of them is in a pickle, of what can be pickled."""
    for thing in things:
        try:
            pickled = pickle.dumps(thing)
        except (TypeError, AttributeError, pickle.PicklingError):
            continue
        assert not any(each.seen_in(pickled) for each in EVERYTHING), thing


@contextmanager
def listening(
    world: World, sent: Sent, backend: Any = None, **options: object
) -> Iterator[tuple[httpcore.ConnectionPool, list[object]]]:
    """A pool, and a list of what is seen of it; nothing of either may show a secret."""
    backend = world.backend if backend is None else backend
    with watched(world, *EVERYTHING, backend=sent.over(backend), **options) as (http, seen):
        yield http, seen
        # A ProxyError has what the proxy answered, for who asks it.
        errors = [each for each in seen if isinstance(each, BaseException) and not isinstance(each, ProxyError)]
        assert_unpickled(*errors, http.stats(), http.connections)
    sent.assert_unseen(NOWHERE, ANSWERED)


ANSWER = (
    b"HTTP/1.1 200 OK\r\nset-cookie: sid=answered-cookie-marker\r\nx-auth-token: answered-cookie-marker\r\n"
    b"content-length: 20\r\n\r\nanswered-body-marker"
)


def serve(conn: Conn) -> None:
    while True:
        conn.read_request()
        conn.send(ANSWER)


def serve_http2(conn: HTTP2Conn) -> None:
    fields = [(b"set-cookie", b"sid=answered-cookie-marker"), (b"x-auth-token", b"answered-cookie-marker")]
    while True:
        conn.respond(conn.read_request().stream_id, headers=fields, body=b"answered-body-marker")


async def fail_at_every_step(
    once: Callable[[Faults, httpcore.Timeout], Awaitable[httpcore.HTTPCoreError | None]], fault: Fault
) -> None:
    faults = Faults()
    assert await once(faults, httpcore.Timeout(20)) is None
    for at in range(len(faults.steps)):
        # Some wait for an answer to what never left.
        await once(Faults(at, fault), httpcore.Timeout(20, read=0.2))


# Two origins that are there at once, and everything that may go wrong on the way


@contextmanager
def origins(ca: CertificateAuthority, name: str) -> Iterator[tuple[list[ScriptedPeer], dict[str, object]]]:
    """Two of a kind, and options of a pool that reaches them."""
    with_tls = name.endswith("TLS")
    peers: list[ScriptedPeer]
    if name.startswith("HTTP/2"):
        context = http2_context(ca) if with_tls else None
        peers = [HTTP2Peer(serve_http2, tls=context, expect_disconnect=True) for _ in range(2)]
    else:
        context = ca.server_context() if with_tls else None
        peers = [ScriptedPeer(serve, tls=context, expect_disconnect=True) for _ in range(2)]
    options: dict[str, object] = {"ssl": httpcore.SSLConfig(str(ca.pem_path))}
    with peers[0], peers[1]:
        yield peers, options if with_tls or name.startswith("HTTP/1") else {"http1": False}


KINDS_OF_ORIGINS = ["HTTP/1.1 in clear", "HTTP/1.1 over TLS", "HTTP/2 in clear", "HTTP/2 over TLS"]


@pytest.mark.parametrize("name", KINDS_OF_ORIGINS)
async def test_i9_what_is_for_one_origin_goes_to_no_other(world: World, ca: CertificateAuthority, name: str) -> None:
    sent = Sent()
    with origins(ca, name) as (peers, options), listening(world, sent, **options) as (http, seen):
        for _ in range(2):
            for peer, mine in zip(peers, (FIRST, OTHER), strict=True):
                seen.append(await post(http, peer.origin, mine))
                assert_reached(peer.requests, mine)
        await http.aclose()
        FIRST.assert_unseen_by(*peers[1].connections)
        OTHER.assert_unseen_by(*peers[0].connections)
    if name == "HTTP/1.1 in clear":
        assert FIRST.seen_in(bytes(sent.to[peers[0].port]))
        sent.assert_unseen(FIRST, at=[peers[1].port])
        sent.assert_unseen(OTHER, at=[peers[0].port])
    else:
        sent.assert_unseen(*(EVERYTHING if name.endswith("TLS") else ()))


@three_worlds
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
@pytest.mark.parametrize("name", KINDS_OF_ORIGINS)
async def test_i9_a_failure_at_any_step_shows_no_secret(
    world: World, ca: CertificateAuthority, name: str, fault: Fault
) -> None:
    with origins(ca, name) as (peers, options):

        async def once(faults: Faults, timeout: httpcore.Timeout) -> httpcore.HTTPCoreError | None:
            sent = Sent()
            with listening(world, sent, faults.over(world.backend), timeout=timeout, **options) as (http, seen):
                error = await failure(post(http, peers[0].origin, FIRST))
                faults.stop()
                await http.aclose()
                seen.append(error)
            sent.assert_unseen(FIRST, at=[peers[1].port])
            return error

        await fail_at_every_step(once, fault)


# Proxies


@three_worlds
@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.END], ids=lambda fault: fault.value)
@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_i9_a_failure_at_any_step_through_a_proxy_shows_no_secret(
    world: World, ca: CertificateAuthority, kind: Kind, fault: Fault
) -> None:
    """A proxy that tunnels sees nothing of the origins', and these nothing of the proxy's."""
    user, password = PROXY.auth

    def script(conn: Conn) -> None:
        if kind in (SOCKS, SOCKS_IN_CLEAR):
            accept(conn, (user.encode(), password.encode()))
            try:
                if kind is SOCKS:
                    conn.start_tls(peers.tls)
            except ssl.SSLError:  # which is broken off in the middle
                return
        else:
            kind.enter(conn, peers.inner)
        before = len(conn.requests)
        request = conn.read_request()
        assert_reached([request], FIRST)
        if kind is not FORWARD:
            assert not PROXY.seen_in(request.raw_head)
            assert not any(FIRST.seen_in(each.raw_head) for each in conn.requests[:before])
        conn.send(ANSWER)

    options: dict[str, Any] = {"ssl": ca.client_context()}
    with ProxyPeers(kind, ca, *[script] * 100, expect_disconnect=True) as peers:
        proxy = peers.via(auth=PROXY.auth)

        async def once(faults: Faults, timeout: httpcore.Timeout) -> httpcore.HTTPCoreError | None:
            sent, backend = Sent(), faults.over(world.backend)
            with listening(world, sent, backend, proxy=proxy, timeout=timeout, **options) as (http, seen):
                error = await failure(post(http, peers.origin, FIRST))
                faults.stop()
                await http.aclose()
                seen += [error, proxy]
            if kind.origin_scheme == "https":
                sent.assert_unseen(FIRST)
            return error

        await fail_at_every_step(once, fault)


BAD_REFUSALS = {
    "as the reason": b"HTTP/1.1 407 %s\r\ncontent-length: 0\r\n\r\n",
    "instead of a status": b"HTTP/1.1 %s\r\n\r\n",
    "in a bad header": b"HTTP/1.1 407 X\r\nx-echo: %s\x01\r\n\r\n",
}


@three_worlds
@pytest.mark.parametrize("where", BAD_REFUSALS)
@pytest.mark.parametrize("kind", [FORWARD, TUNNEL, TLS_IN_TLS], ids=str)
async def test_i9_what_a_proxy_says_back_is_not_repeated(
    world: World, ca: CertificateAuthority, kind: Kind, where: str
) -> None:
    credentials = b64encode(":".join(PROXY.auth).encode())

    def script(conn: Conn) -> None:
        request = conn.read_request()
        assert request.header(b"proxy-authorization") == b"Basic " + credentials
        conn.send(BAD_REFUSALS[where].replace(b"%s", credentials))

    with ProxyPeers(kind, ca, script, expect_disconnect=True) as peers:
        proxy = peers.via(auth=PROXY.auth)
        with listening(world, Sent(), proxy=proxy, ssl=ca.client_context()) as (http, seen):
            error = await failure(http.request("GET", peers.origin))
            assert error is not None
            seen.append(error)
            await http.aclose()


# Redirects, which are the caller's to follow


async def test_i9_a_redirect_takes_no_secret_with_it(world: World, ca: CertificateAuthority) -> None:
    """From TLS to clear, and to another port: what is sent there is what the caller sends there."""

    def redirecting(conn: Conn) -> None:
        while True:
            conn.read_request()
            conn.respond(307, headers=[(b"location", other.url.encode())])

    sent = Sent()
    with (
        ScriptedPeer(serve) as other,
        ScriptedPeer(redirecting, tls=ca.server_context()) as peer,
        listening(world, sent, ssl=ca.client_context()) as (http, seen),
    ):
        response = await post(http, peer.origin, FIRST)
        location = response.headers.get("location")
        assert location is not None
        assert_reached(peer.requests, FIRST)
        seen += [response, await http.request("GET", location)]
        FIRST.assert_unseen_by(*other.connections)
        assert [name for name, _ in other.requests[0].headers] == [b"host", b"accept-encoding"]
        await http.aclose()
    sent.assert_unseen(FIRST)


# TLS that must be refused, before anything is said


@pytest.mark.parametrize("flaw", ["expired", "wrong_ip", "untrusted", "self_signed"])
async def test_i9_nothing_is_sent_to_who_is_not_who_it_should_be(
    world: World, ca: CertificateAuthority, flaw: str
) -> None:
    sent = Sent()
    context: ssl.SSLContext = getattr(ca, flaw)()
    with (
        ScriptedPeer(serve, tls=context, expect_disconnect=True) as peer,
        listening(world, sent, ssl=ca.client_context()) as (http, seen),
    ):
        error = await failure(post(http, peer.origin, FIRST))
        assert isinstance(error, httpcore.ConnectError)
        seen.append(error)
        assert peer.requests == []
        await http.aclose()
    sent.assert_unseen(FIRST)


@pytest.fixture(scope="module")
def client_certificate(ca: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Its key is encrypted."""
    chain, plain = ca.client_certificate("locked@example.org")
    key = serialization.load_pem_private_key(plain.read_bytes(), None)
    locked = tmp_path_factory.mktemp("locked") / "key.pem"
    encryption = serialization.BestAvailableEncryption(b"key-password-marker")
    locked.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return chain, locked


async def test_i9_the_password_of_a_key_stays_here(
    world: World, ca: CertificateAuthority, client_certificate: tuple[Path, Path]
) -> None:
    secret = Secrets("nobody", "key-password-marker")
    config = httpcore.SSLConfig(str(ca.pem_path), (*client_certificate, "key-password-marker"))
    sent = Sent()
    with (
        ScriptedPeer(serve, tls=ca.requiring_client_certificate(), expect_disconnect=True) as peer,
        watched(world, secret, backend=sent.over(world.backend), ssl=config) as (http, seen),
    ):
        seen += [config, await http.request("GET", peer.url)]
        await http.aclose()
    sent.assert_unseen(secret)


def test_i9_a_wrong_password_of_a_key_is_not_repeated(
    ca: CertificateAuthority, client_certificate: tuple[Path, Path]
) -> None:
    config = httpcore.SSLConfig(str(ca.pem_path), (*client_certificate, "wrong-password-marker"))
    with pytest.raises(ssl.SSLError) as caught:
        httpcore.ConnectionPool(ssl=config)
    Secrets("nobody", "wrong-password-marker").assert_unsaid(caught.value, config)


# Peers that say it back

ECHO = f"{FIRST.headers['authorization']} {FIRST.headers['cookie']}".encode()
BAD_ANSWERS = {
    "as the reason": b"HTTP/1.1 400 %s\r\ncontent-length: 0\r\n\r\n",
    "instead of a status": b"HTTP/1.1 %s\r\n\r\n",
    "instead of HTTP": b"%s\r\n\r\n",
    "in a bad header": b"HTTP/1.1 200 OK\r\nx-echo: %s\x01\r\n\r\n",
    "as the name of a header": b"HTTP/1.1 200 OK\r\n%s: x\r\n\r\n",
    "in a folded header": b"HTTP/1.1 200 OK\r\nx: y\r\n %s\r\n\r\n",
    "in the length": b"HTTP/1.1 200 OK\r\ncontent-length: %s\r\n\r\n",
    "as the coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: %s\r\n\r\n",
    "as the coding of the body": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 70\r\n\r\n%s",
    "in an interim response": b"HTTP/1.1 103 %s\r\nauthorization: %s\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "as the size of a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%s\r\n",
    "behind a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx%s\r\n",
    "in a bad trailer": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n%s\r\n\r\n",
    "in what nobody asked for": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n%s",
    "a bad cookie": b"HTTP/1.1 200 OK\r\nset-cookie: sid=answered-cookie-marker\x01\r\n\r\n",
    "a bad cookie in a trailer": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nset-cookie: sid=answered-cookie-marker\x01\r\n\r\n"
    ),
}


@three_worlds
@pytest.mark.parametrize("where", BAD_ANSWERS)
async def test_i9_a_secret_that_is_said_back_is_not_repeated(world: World, engine: str, where: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(BAD_ANSWERS[where].replace(b"%s", ECHO))

    sent = Sent()
    with (
        ScriptedPeer(script, expect_disconnect=True) as peer,
        listening(world, sent, http1_engine=engine) as (http, seen),
    ):
        try:
            seen.append(await post(http, peer.origin, FIRST))
        except httpcore.HTTPCoreError as exc:
            seen.append(exc)
        assert_reached(peer.requests, FIRST)
        await http.aclose()


def goaway(conn: HTTP2Conn, stream_id: int) -> None:
    conn.goaway(0, Code.PROTOCOL_ERROR, ECHO)


def goaway_after(conn: HTTP2Conn, stream_id: int) -> None:
    conn.goaway(stream_id, Code.ENHANCE_YOUR_CALM, ECHO)


def status(conn: HTTP2Conn, stream_id: int) -> None:
    conn.send_headers(stream_id, [(b":status", ECHO)])


def length(conn: HTTP2Conn, stream_id: int) -> None:
    conn.send_head(stream_id, headers=[(b"content-length", ECHO)])


def bad_name(conn: HTTP2Conn, stream_id: int) -> None:
    conn.send_head(stream_id, headers=[(ECHO, b"x")])


def bad_value(conn: HTTP2Conn, stream_id: int) -> None:
    conn.send_head(stream_id, headers=[(b"x-echo", ECHO + b"\x00")])


def http11(conn: HTTP2Conn, stream_id: int) -> None:
    conn.send_raw(b"HTTP/1.1 400 " + ECHO + b"\r\n\r\n")


@three_worlds
@pytest.mark.parametrize("say", [goaway, goaway_after, status, length, bad_name, bad_value, http11])
async def test_i9_a_secret_that_is_said_back_over_http2_is_not_repeated(
    world: World, say: Callable[[HTTP2Conn, int], None]
) -> None:
    def script(conn: HTTP2Conn) -> None:
        say(conn, conn.read_request().stream_id)

    sent = Sent()
    with HTTP2Peer(script, expect_disconnect=True) as peer, listening(world, sent, http1=False) as (http, seen):
        error = await failure(post(http, peer.origin, FIRST))
        assert error is not None
        seen.append(error)
        assert_reached(peer.requests, FIRST)
        await http.aclose()

"""FAULTS G: a handshake that fails is a `ConnectError` that says why, and leaves nothing."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import httpcore
from httpcore import ConnectError, ConnectTimeout, ReadError, RemoteProtocolError, SSLConfig
from tests.support.certificates import Authority
from tests.support.peer import Conn, ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.tls_peers import HELLO, hello
from tests.support.tls_rows import GARBAGE, PLAIN
from tests.support.worlds import World


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Its certificates are small, and so are the handshakes."""
    return Authority(tmp_path_factory.mktemp("authority"))


# Handshakes that fail


async def fails_to_connect(
    world: World, ca: CertificateAuthority, script: Callable[[Conn], None], words: str, **options: Any
) -> str:
    """A handshake with such a peer is a `ConnectError` within a second, and leaves nothing."""
    http = world.pool(ssl=ca.client_context(), timeout=5, **options)
    with ScriptedPeer(script, expect_disconnect=True) as peer:
        began = time.monotonic()
        with pytest.raises(ConnectError, match=words) as caught:
            await http.request("GET", f"https://{peer.authority}/")
        assert time.monotonic() - began < 4
        assert not caught.value.request_sent
        assert http.connections == []
        await world.until(lambda: peer.open_connections == 0)
    with ScriptedPeer(hello, tls=ca.server_context()) as good:
        assert (await http.request("GET", good.url)).body == b"hello"
    return str(caught.value)


@pytest.mark.parametrize("answer", PLAIN.values(), ids=PLAIN)
async def test_g_plain_a_peer_that_speaks_no_tls_gives_a_hint(
    world: World, ca: CertificateAuthority, answer: bytes
) -> None:
    def script(conn: Conn) -> None:
        conn.recv()
        conn.send(answer)
        conn.wait_closed()

    await fails_to_connect(world, ca, script, r"does not seem to speak TLS there, is it http://\?")


async def test_https_asked_for_with_http_gives_a_hint_too(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.recv()
        conn.send(b"\x15\x03\x01\x00\x02\x02\x46")  # the alert protocol_version

    http = world.pool()
    with (
        ScriptedPeer(script) as peer,
        pytest.raises(RemoteProtocolError, match="seems to speak TLS there: is it https:"),
    ):
        await http.request("GET", peer.url)


def server_flight(conn: Conn, context: ssl.SSLContext) -> bytes:
    """What a server answers to the ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    while not outgoing.pending:
        incoming.write(conn.recv())
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return outgoing.read()


@pytest.mark.parametrize("end", ["FIN", "RST"])
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_g_hs_close_an_end_at_any_byte_of_the_handshake_is_a_connect_error(
    world: World, authority: Authority, version: str, end: str
) -> None:
    """Of all that the server sends to the ClientHello, so many bytes come, from none to all but one. In TLS 1.2 all may
    come too: then the client's Finished meets nobody."""
    context = authority.issue("127.0.0.1")
    context.maximum_version = ssl.TLSVersion[version]
    sizes: list[int] = []

    def script(conn: Conn) -> None:
        flight = server_flight(conn, context)
        conn.send(flight[: conn.index])
        sizes.append(len(flight))
        if end == "RST":
            conn.rst()
        else:
            conn.fin()
            conn.wait_closed()

    http = world.pool(ssl=SSLConfig(authority.path))
    cut = 0
    with ScriptedPeer(script, expect_disconnect=True) as peer:
        while cut < min(sizes, default=1) + (version == "TLSv1_2"):
            with pytest.raises(ConnectError) as caught:
                await http.request("GET", f"https://{peer.authority}/")
            assert "handshake" in str(caught.value), cut
            assert not caught.value.request_sent
            assert http.connections == []
            cut += 1
        assert peer.accepted == cut > 500
        await world.until(lambda: peer.open_connections == 0)
    with ScriptedPeer(hello, tls=context) as good:
        assert (await http.request("GET", good.url)).body == b"hello"


async def test_e_tls_hang_a_peer_that_never_answers_is_a_connect_timeout(
    world: World, ca: CertificateAuthority
) -> None:
    def script(conn: Conn) -> None:
        conn.recv()
        conn.wait_closed()

    http = world.pool(ssl=ca.client_context(), timeout=httpcore.Timeout(30, connect=0.3))
    with ScriptedPeer(script) as peer:
        with pytest.raises(ConnectTimeout, match=r"did not complete the TLS handshake in time .*in the TLS handshake"):
            await http.request("GET", f"https://{peer.authority}/")
        await world.until(lambda: peer.open_connections == 0)


@pytest.mark.parametrize("kind", GARBAGE)
async def test_g_garbage_nonsense_in_the_handshake_is_a_connect_error(
    world: World, ca: CertificateAuthority, kind: str
) -> None:
    def script(conn: Conn) -> None:
        conn.recv()
        conn.send(GARBAGE[kind])
        conn.wait_closed()

    await fails_to_connect(world, ca, script, "the TLS handshake failed: .+")


async def test_g_garbage_a_handshake_byte_by_byte_is_no_garbage(world: World, ca: CertificateAuthority) -> None:
    def script(conn: Conn) -> None:
        send_all = conn.socket.sendall

        def bytewise(data: bytes) -> None:
            for index in range(len(data)):
                send_all(data[index : index + 1])

        conn.socket.sendall = bytewise  # type: ignore[method-assign]
        conn.start_tls(ca.server_context())
        hello(conn)

    http = world.pool(ssl=ca.client_context())
    with ScriptedPeer(script) as peer:
        assert (await http.request("GET", f"https://{peer.authority}/")).body == b"hello"


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
async def test_g_tls11_a_peer_that_speaks_only_what_is_broken_is_refused(
    world: World, ca: CertificateAuthority, version: str
) -> None:
    context = ca.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match=version):
        context.maximum_version = ssl.TLSVersion[version]

    def script(conn: Conn) -> None:
        with pytest.raises(ssl.SSLError):
            conn.start_tls(context)

    await fails_to_connect(world, ca, script, "the TLS handshake failed: .*(version|protocol)")


async def test_g_no_overlap_a_peer_without_a_common_cipher_is_a_connect_error(
    world: World, ca: CertificateAuthority
) -> None:
    context = ca.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0")

    def script(conn: Conn) -> None:
        with pytest.raises(ssl.SSLError):
            conn.start_tls(context)

    await fails_to_connect(world, ca, script, "the TLS handshake failed: .*handshake failure")


async def test_g_no_overlap_a_peer_without_a_common_group_is_a_connect_error(
    world: World, ca: CertificateAuthority
) -> None:
    ours, theirs = ca.client_context(), ca.server_context()
    ours.set_ecdh_curve("prime256v1")
    theirs.set_ecdh_curve("secp384r1")
    theirs.minimum_version = ssl.TLSVersion.TLSv1_3

    def script(conn: Conn) -> None:
        with pytest.raises(ssl.SSLError):
            conn.start_tls(theirs)

    http = world.pool(ssl=ours)
    with ScriptedPeer(script, expect_disconnect=True) as peer:
        with pytest.raises(ConnectError, match=r"the TLS handshake failed: .*handshake failure") as caught:
            await http.request("GET", f"https://{peer.authority}/")
        assert not caught.value.request_sent
        assert http.connections == []
    theirs = ca.server_context()
    with ScriptedPeer(hello, tls=theirs) as good:
        assert (await http.request("GET", good.url)).body == b"hello"


def test_g_reneg_our_own_contexts_refuse_renegotiation_and_compression(ca: CertificateAuthority) -> None:
    from httpcore._tls_contexts import make_context

    for config in (SSLConfig(), SSLConfig(verify=ca.pem_path), SSLConfig(verify=False), SSLConfig(truststore=True)):
        context = make_context(config, ("http/1.1",))
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert (context.verify_mode == ssl.CERT_REQUIRED) == (context.check_hostname) == (config.verify is not False)


@contextlib.contextmanager
def openssl_server(ca: CertificateAuthority, commands: bytes) -> Iterator[int]:
    """The port of an `openssl s_server` that is given these commands once the handshake is over."""
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-tls1_2", "-cert", str(ca.server_chain_path)]
    command += ["-cert_chain", str(ca.server_chain_path), "-key", str(ca.server_key_path), "-naccept", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        stdin, output = server.stdin, iter(server.stdout)

        def command_when_connected() -> None:
            if any(b"Secure Renegotiation IS" in line for line in output):
                stdin.write(commands)
                stdin.flush()

        listening = next(line for line in output if line.startswith(b"ACCEPT"))
        commander = threading.Thread(target=command_when_connected)
        commander.start()
        try:
            yield int(listening.rpartition(b":")[2])
        finally:
            server.kill()
            commander.join()


async def test_g_reneg_a_peer_that_asks_for_renegotiation_is_refused(world: World, ca: CertificateAuthority) -> None:
    http = world.pool(ssl=SSLConfig(verify=ca.pem_path))
    with openssl_server(ca, b"R\n") as port, pytest.raises(ReadError, match="handshake failure"):
        await http.request("GET", f"https://127.0.0.1:{port}/")
    assert http.connections == []
    with ScriptedPeer(hello, tls=ca.server_context()) as good:
        assert (await http.request("GET", good.url)).body == b"hello"


# What was agreed upon, and then not kept to

SETTINGS = b"\0\0\0\4\0\0\0\0\0"


async def lies(world: World, ca: CertificateAuthority, agreed: str, said: bytes, words: str) -> None:
    """A peer that agrees upon one protocol and speaks the other is an error, and the next connection is another."""

    def script(conn: Conn) -> None:
        if conn.index > 0:
            hello(conn)
        assert conn.tls is not None
        assert conn.tls.selected_alpn_protocol() == agreed
        conn.recv()
        conn.send(said)
        conn.wait_closed()

    http = world.pool(ssl=SSLConfig(ca.pem_path))
    context = ca.server_context(alpn=(agreed,))
    with ScriptedPeer(script, tls=context, expect_disconnect=True) as peer:
        with pytest.raises(RemoteProtocolError, match=words):
            await http.request("GET", peer.url)
        assert http.connections == []
        assert peer.accepted == 1
        await world.until(lambda: peer.open_connections == 0)
    with ScriptedPeer(hello, tls=ca.server_context()) as good:
        assert (await http.request("GET", good.url)).body == b"hello"


async def test_g_alpn_lie_http11_where_http2_was_agreed_upon_is_an_error(
    world: World, ca: CertificateAuthority
) -> None:
    await lies(world, ca, "h2", HELLO, "the peer does not speak HTTP/2: it answered with b'HTTP/1.1 200 OK'")


async def test_g_alpn_lie_http2_where_http11_was_agreed_upon_is_an_error(
    world: World, ca: CertificateAuthority
) -> None:
    await lies(world, ca, "http/1.1", SETTINGS, "the peer seems to speak HTTP/2 there")

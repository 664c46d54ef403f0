"""P44, P45 and FAULTS G: what contexts are made of, whose they are, and what they cost."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import httpcore
from httpcore import ConnectError, ReadError, SSLConfig
from tests.support.certificates import issue
from tests.support.cost import assert_cheaper, cpu_seconds
from tests.support.nginx import Nginx
from tests.support.peer import Conn, ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.tls_peers import hello
from tests.support.worlds import World

ROOT = Path(__file__).parents[1]


# P45: client certificates, custom CAs


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, ca: CertificateAuthority) -> dict[str, Path]:
    """Paths of a client's certificate: chain, key, both in one, and the key with a password."""
    directory = tmp_path_factory.mktemp("client")
    chain, key = ca.client_certificate()
    both = directory / "both.pem"
    both.write_bytes(chain.read_bytes() + key.read_bytes())
    other = issue(None, (), common_name="somebody else")
    paths = {"chain": chain, "key": key, "both": both, "other": other.write(directory / "other.pem")}
    paths["encrypted"] = directory / "encrypted.pem"
    paths["encrypted"].write_bytes(other.key_pem(b"hunter2"))
    paths["of_encrypted"] = other.write_certificate(directory / "of-encrypted.pem")
    return paths


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("parts", [("both",), ("chain", "key")])
async def test_p45_a_client_certificate_is_shown(
    world: World, ca: CertificateAuthority, client: dict[str, Path], version: str, parts: tuple[str, ...]
) -> None:
    cert: Any = client[parts[0]] if len(parts) == 1 else tuple(client[part] for part in parts)
    context = ca.requiring_client_certificate()
    context.maximum_version = ssl.TLSVersion[version]
    http = world.pool(ssl=SSLConfig(verify=ca.pem_path, cert=cert))
    with ScriptedPeer(hello, tls=context) as peer:
        assert (await http.request("POST", peer.url, body=b"x" * 100_000)).body == b"hello"
        tls = peer.connections[0].tls
        assert tls is not None
        assert tls.getpeercert() is not None


async def test_p45_a_client_certificate_that_was_replaced_is_shown_on_new_connections(
    world: World, ca: CertificateAuthority, tmp_path: Path
) -> None:
    """One file after the other, as it is done: in between, the former pair goes on."""
    shown: list[str] = []

    def script(conn: Conn) -> None:
        assert conn.tls is not None
        certificate: Any = conn.tls.getpeercert()
        shown.extend(name for _, name in certificate["subjectAltName"])
        hello(conn)

    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    close = [("connection", "close")]
    for name, path in zip(ca.client_certificate("first@example.org"), (chain, key), strict=True):
        path.write_bytes(name.read_bytes())
    with ScriptedPeer(script, tls=ca.requiring_client_certificate()) as peer:
        http = world.pool(ssl=SSLConfig(ca.pem_path, (chain, key)))
        await http.request("GET", peer.url, close)
        for name, path in zip(ca.client_certificate("second@example.org"), (chain, key), strict=True):
            path.write_bytes(name.read_bytes())
            await http.request("GET", peer.url, close)
        await http.request("GET", peer.url, close)
    assert shown == ["first@example.org"] * 2 + ["second@example.org"] * 2


async def test_p45_authorities_that_were_replaced_are_trusted_on_new_connections(
    world: World, ca: CertificateAuthority, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    other = tmp_path / "other"
    other.mkdir()
    path.write_bytes(CertificateAuthority(other).pem_path.read_bytes())
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        http = world.pool(ssl=SSLConfig(path))
        with pytest.raises(ConnectError, match="the certificate is not valid"):
            await http.request("GET", peer.url)
        path.write_bytes(path.read_bytes() + ca.pem_path.read_bytes())
        assert (await http.request("GET", peer.url)).status_code == 200


def test_p44_a_context_is_made_anew_only_where_a_file_has_changed(ca: CertificateAuthority, tmp_path: Path) -> None:
    from httpcore._tls_contexts import known_context, make_context

    path = tmp_path / "ca.pem"
    path.write_bytes(ca.pem_path.read_bytes())
    config = SSLConfig(path)
    first = make_context(config, ())
    assert make_context(config, ()) is known_context(config, ()) is first
    path.write_bytes(ca.pem_path.read_bytes() * 2)
    assert known_context(config, ()) is None
    second = make_context(config, ())
    assert second is not first
    path.unlink()  # it is about to be replaced
    assert make_context(config, ()) is second


@pytest.mark.parametrize("is_other", [False, True], ids=["none", "of an unknown CA"])
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_g_mtls_none_a_client_certificate_that_is_missing_or_wrong_is_an_error_with_the_peers_alert(
    world: World, ca: CertificateAuthority, client: dict[str, Path], version: str, is_other: bool
) -> None:
    context = ca.requiring_client_certificate()
    context.maximum_version = ssl.TLSVersion[version]
    http = world.pool(ssl=SSLConfig(verify=ca.pem_path, cert=client["other"] if is_other else None), retries=1)
    # In TLS 1.3 a client has finished its handshake before the server looks at the certificate (RFC 8446, 4.4.2).
    expected = ConnectError if version == "TLSv1_2" else ReadError
    with ScriptedPeer(hello, tls=context) as peer:
        with pytest.raises(expected, match="alert") as caught:
            await http.request("GET", peer.url)
        assert caught.value.request_sent is (version == "TLSv1_3")
        await world.until(lambda: peer.tls_errors)
        assert peer.accepted == 1
        assert http.connections == []
    with ScriptedPeer(hello, tls=ca.server_context()) as good:
        assert (await http.request("GET", good.url)).body == b"hello"


def test_g_mtls_key_a_key_that_does_not_fit_is_an_error_when_the_pool_is_made(client: dict[str, Path]) -> None:
    for cert in ((client["chain"], client["encrypted"], "hunter2"), (client["of_encrypted"], client["key"])):
        with pytest.raises(ssl.SSLError, match=r"(?i)mismatch"):
            httpcore.ConnectionPool(ssl=SSLConfig(cert=cert))


@pytest.mark.parametrize("password", [(), ("",), ("wrong",)], ids=["none", "empty", "wrong"])
def test_g_mtls_key_an_encrypted_key_is_never_asked_about_at_the_terminal(
    client: dict[str, Path], password: tuple[str, ...]
) -> None:
    with pytest.raises(ssl.SSLError) as caught:
        httpcore.ConnectionPool(ssl=SSLConfig(cert=(client["of_encrypted"], client["encrypted"], *password)))
    assert "wrong" not in str(caught.value)


def test_an_encrypted_key_is_opened_with_its_password_which_is_never_shown(client: dict[str, Path]) -> None:
    config = SSLConfig(cert=(client["of_encrypted"], client["encrypted"], "hunter2"))
    http = httpcore.SyncConnectionPool(ssl=config)
    assert "hunter2" not in f"{config!r} {config} {http!r}"
    http.close()


@pytest.mark.parametrize("missing", [{"verify": "/nonexistent.pem"}, {"verify": ""}, {"cert": "/nonexistent.pem"}])
def test_a_missing_file_is_an_error_when_the_pool_is_made_and_never_no_verification(missing: dict[str, Any]) -> None:
    with pytest.raises(FileNotFoundError):
        httpcore.ConnectionPool(ssl=SSLConfig(**missing))


def test_a_file_without_certificates_is_an_error_when_the_pool_is_made(tmp_path: Path) -> None:
    path = tmp_path / "empty.pem"
    path.write_text("nothing here")
    with pytest.raises(ssl.SSLError):
        httpcore.ConnectionPool(ssl=SSLConfig(verify=path))


def hashed_directory(directory: Path, certificate: Path) -> Path:
    """As `openssl rehash` makes it: named by the hash of the subject."""
    command = ["openssl", "x509", "-in", str(certificate), "-noout", "-subject_hash"]
    subject = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    directory.mkdir()
    (directory / f"{subject}.0").write_bytes(certificate.read_bytes())
    return directory


@pytest.mark.parametrize("form", ["file", "str", "directory"])
async def test_p45_a_custom_ca_is_a_file_or_a_directory(
    world: World, ca: CertificateAuthority, tmp_path: Path, form: str
) -> None:
    verify: Any = {"file": ca.pem_path, "str": str(ca.pem_path), "directory": tmp_path / "roots"}[form]
    if form == "directory":
        hashed_directory(tmp_path / "roots", ca.pem_path)
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        assert (await world.pool(ssl=SSLConfig(verify=verify)).request("GET", peer.url)).body == b"hello"
    untrusting = world.pool(ssl=SSLConfig(verify=verify))
    with ScriptedPeer(hello, tls=ca.untrusted()) as peer, pytest.raises(ConnectError, match="is not valid"):
        await untrusting.request("GET", peer.url)


def get_in_a_process_of_its_own(url: str, pool: str = "", **environment: str) -> str:
    """What a fresh interpreter with this environment gets: the body, or the error."""
    code = f"""
import httpcore
with httpcore.SyncConnectionPool({pool}) as http:
    try:
        print(http.request("GET", {url!r}).body.decode())
    except httpcore.HTTPCoreError as exc:
        print(type(exc).__name__, exc)
"""
    return in_a_process_of_its_own(code, **environment)


def in_a_process_of_its_own(code: str, *options: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, *options, "-W", "error", "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_p45_ssl_cert_file_and_ssl_cert_dir_name_the_roots(ca: CertificateAuthority, tmp_path: Path) -> None:
    roots = hashed_directory(tmp_path / "roots", ca.pem_path)
    several = f"{tmp_path}{os.pathsep}{roots}"
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        assert "certificate is not valid" in get_in_a_process_of_its_own(peer.url)
        for variables in (
            {"SSL_CERT_FILE": str(ca.pem_path)},
            {"SSL_CERT_DIR": str(roots)},
            {"SSL_CERT_DIR": several},
            {"SSL_CERT_FILE": str(ca.server_chain_path), "SSL_CERT_DIR": str(roots)},
        ):
            assert get_in_a_process_of_its_own(peer.url, **variables) == "hello", variables


def test_g_env_a_missing_file_is_an_error_and_not_no_verification(ca: CertificateAuthority, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            said = get_in_a_process_of_its_own(peer.url, **{name: missing})
            assert said.startswith("ConnectError TLS cannot be set up: ")
            assert missing in said


def logged_secrets(log: Path) -> set[str]:
    return {line.split()[0] for line in log.read_text().splitlines() if not line.startswith("#")}


@pytest.mark.parametrize("pool", ["", "httpcore.SSLConfig(truststore=True)", "httpcore.SSLConfig(verify=False)"])
def test_g_env_secrets_are_logged_where_sslkeylogfile_says(ca: CertificateAuthority, tmp_path: Path, pool: str) -> None:
    log = tmp_path / "keys"
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        environment = {"SSL_CERT_FILE": str(ca.pem_path), "SSLKEYLOGFILE": str(log)}
        assert get_in_a_process_of_its_own(peer.url, pool, **environment) == "hello"
    assert {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} <= logged_secrets(log)


def test_g_env_secrets_of_a_callers_context_are_logged_only_where_the_caller_says(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    log = tmp_path / "keys"
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        code = f"""
import ssl, httpcore
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations({str(ca.pem_path)!r})
with httpcore.SyncConnectionPool(context) as http:
    print(http.request("GET", {peer.url!r}).body.decode())
"""
        assert in_a_process_of_its_own(code, SSLKEYLOGFILE=str(log)) == "hello"
    assert not log.exists()


def test_g_env_python_that_takes_nothing_from_its_environment_logs_no_secrets(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    log = tmp_path / "keys"
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import httpcore
with httpcore.SyncConnectionPool(httpcore.SSLConfig({str(ca.pem_path)!r})) as http:
    print(http.request("GET", {peer.url!r}).body.decode())
"""
        assert in_a_process_of_its_own(code, "-E", SSLKEYLOGFILE=str(log)) == "hello"
    assert not log.exists()


def test_g_env_a_key_log_that_cannot_be_written_is_an_error(ca: CertificateAuthority, tmp_path: Path) -> None:
    log = str(tmp_path / "missing" / "keys")
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        said = get_in_a_process_of_its_own(peer.url, SSL_CERT_FILE=str(ca.pem_path), SSLKEYLOGFILE=log)
    assert said.startswith("ConnectError TLS cannot be set up: ")
    assert log in said


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio", "blocking"])
def test_p45_the_systems_store_is_used_when_asked_for(ca: CertificateAuthority, loop: str) -> None:
    """On Linux, truststore asks OpenSSL where the system's roots are, and OpenSSL lets the environment say so."""
    if loop in ("uvloop", "trio"):
        pytest.importorskip(loop)
    with ScriptedPeer(hello, tls=ca.server_context()) as peer, ScriptedPeer(hello, tls=ca.wrong_host()) as other:
        backend = "blocking" if loop == "blocking" else None
        code = f"""
import httpcore
async def main():
    http = httpcore.ConnectionPool(httpcore.SSLConfig(truststore=True), backend={backend!r})
    for url in ({peer.url!r}, {peer.url!r}, "https://localhost:{other.port}/"):
        try:
            response = await http.request("GET", url, [("connection", "close")])
            print(response.body.decode(), response.extensions["connection"].resumed)
        except httpcore.ConnectError as exc:
            print("the certificate is not valid" in str(exc), exc.request_sent)
    await http.aclose()
{RUN[loop]}
"""
        assert in_a_process_of_its_own(code, SSL_CERT_FILE=str(ca.pem_path)).split("\n") == [
            "hello False",
            "hello False",  # the system decides anew of each connection
            "True False",
        ]
        assert in_a_process_of_its_own(code).split("\n") == ["True False"] * 3
        assert other.requests == []


RUN = {
    "asyncio": "import asyncio; asyncio.run(main())",
    "uvloop": "import uvloop; uvloop.run(main())",
    "trio": "import trio; trio.run(main)",
    "blocking": "try: main().send(None)\nexcept StopIteration: pass",
}


# The caller's context


class Frozen(ssl.SSLContext):
    """A context that can be used, and not changed."""

    is_frozen = False

    def __setattr__(self, name: str, value: object) -> None:
        if self.is_frozen:
            raise AssertionError(f"{name} of the caller's context was set")
        super().__setattr__(name, value)

    def _refuse(self, *args: object, **options: object) -> None:
        raise AssertionError("the caller's context was changed")

    def freeze(self) -> None:
        for name in (
            "set_alpn_protocols",
            "load_verify_locations",
            "load_cert_chain",
            "load_default_certs",
            "set_ciphers",
        ):
            setattr(self, name, self._refuse)
        self.is_frozen = True


@pytest.mark.parametrize("is_offered", [False, True], ids=["without ALPN", "with ALPN"])
async def test_g_alpn_ctx_the_callers_context_is_never_changed(
    world: World, ca: CertificateAuthority, is_offered: bool
) -> None:
    context = Frozen(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca.pem_path)
    if is_offered:
        context.set_alpn_protocols(["http/1.1"])
    context.freeze()

    def state() -> list[object]:
        names = ["options", "verify_mode", "verify_flags", "check_hostname", "minimum_version", "maximum_version"]
        names += ("keylog_filename", "post_handshake_auth", "hostname_checks_common_name", "sni_callback")
        return [*(getattr(context, name) for name in names), context.get_ciphers(), context.cert_store_stats()]

    before = state()
    with ScriptedPeer(hello, tls=ca.server_context(alpn=("h2", "http/1.1"))) as peer:
        for http in (world.pool(ssl=context), world.pool(ssl=context, http2=False)):
            response = await http.request("GET", peer.url)
            assert response.body == b"hello"
        # What is offered is the caller's: no ALPN of ours leaks into their context, nor from one pool into another.
        chosen = [conn.tls.selected_alpn_protocol() for conn in peer.connections if conn.tls is not None]
        assert chosen == ["http/1.1" if is_offered else None] * 2
    assert state() == before


async def test_g_alpn_ctx_one_configuration_in_two_pools_offers_what_each_of_them_speaks(
    world: World, ca: CertificateAuthority, nginx_server: Nginx
) -> None:
    config = SSLConfig(ca.pem_path)
    both, old, new = world.pool(ssl=config), world.pool(ssl=config, http2=False), world.pool(ssl=config, http1=False)
    for _ in range(2):
        versions = [(await http.request("GET", f"{nginx_server.http2}/")).http_version for http in (both, old, new)]
        assert versions == ["HTTP/2", "HTTP/1.1", "HTTP/2"]
        for http in (both, old, new):
            await http.close_idle()


async def test_one_context_serves_many_pools_and_is_part_of_what_a_connection_is_known_by(
    world: World, ca: CertificateAuthority
) -> None:
    context = ca.client_context()
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        http = world.pool(ssl=context)
        for _ in range(2):
            await http.request("GET", peer.url)
            await http.request("GET", peer.url, ssl=context)
        assert peer.accepted == 1


@pytest.mark.parametrize("protocol", ["h2", "x"])
async def test_g_alpn_lie_what_we_do_not_speak_is_an_error_that_says_so(
    world: World, ca: CertificateAuthority, protocol: str
) -> None:
    """The caller's context may offer what the pool does not; the server believes it."""
    context = ca.client_context()
    context.set_alpn_protocols([protocol, "http/1.1"])

    def script(conn: Conn) -> None:
        assert conn.tls is not None
        assert conn.tls.selected_alpn_protocol() == protocol
        assert conn.wait_closed()

    with ScriptedPeer(script, tls=ca.server_context(alpn=(protocol,))) as peer:
        http = world.pool(ssl=context, http2=False)
        with pytest.raises(ConnectError, match=f"the peer speaks {protocol}, and this pool http/1.1 alone") as caught:
            await http.request("GET", peer.url)
        assert not caught.value.request_sent
        assert http.connections == []


async def test_our_own_context_offers_http11_and_refuses_what_is_old(world: World, ca: CertificateAuthority) -> None:
    http = world.pool(ssl=SSLConfig(verify=ca.pem_path))
    with ScriptedPeer(hello, tls=ca.server_context(alpn=("http/1.1",))) as peer:
        response = await http.request("GET", peer.url)
        info = response.extensions["connection"]
        assert isinstance(info, httpcore.StreamInfo)
        assert (info.alpn, info.tls_version) == ("http/1.1", "TLSv1.3")
        assert info.cipher is not None
        assert info.peer_certificate is not None
        assert info.remote_address == (peer.host, peer.port)


# P44: contexts cost nothing to those who do not need one


COUNT = """
import gc, ssl
def contexts():
    return sum(isinstance(thing, ssl.SSLContext) for thing in gc.get_objects())
"""


def test_p44_all_pools_of_a_process_share_one_default_context_that_plain_http_never_makes(
    ca: CertificateAuthority,
) -> None:
    with ScriptedPeer(hello, tls=ca.server_context()) as secure, ScriptedPeer(hello) as plain:
        code = f"""
import asyncio, httpcore, threading
{COUNT}
assert contexts() == 0
with httpcore.SyncConnectionPool() as http:
    http.request("GET", {plain.url!r})
async def plain():
    async with httpcore.ConnectionPool() as http:
        await http.request("GET", {plain.url!r})
asyncio.run(plain())
assert contexts() == 0, "plain http made a context"
def secure():
    with httpcore.SyncConnectionPool() as http:
        assert http.request("GET", {secure.url!r}).status_code == 200
threads = [threading.Thread(target=secure) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
async def secure():
    async with httpcore.ConnectionPool() as http:
        assert (await http.request("GET", {secure.url!r})).status_code == 200
asyncio.run(secure())
print(contexts())
"""
        assert in_a_process_of_its_own(code, SSL_CERT_FILE=str(ca.pem_path)) == "1"


def test_p44_plain_http_does_not_even_import_ssl() -> None:
    with ScriptedPeer(hello) as peer:
        code = f"""
import sys, httpcore
with httpcore.SyncConnectionPool() as http:
    http.request("GET", {peer.url!r})
print("ssl" in sys.modules, "_ssl" in sys.modules, "certifi" in sys.modules)
"""
        assert in_a_process_of_its_own(code) == "False False False"


LOAD_SLOWLY = """
import os, sys, threading, httpcore
fifo = os.environ["SSL_CERT_FILE"]
ticks = []

async def scenario(sleep, run_both):
    http = httpcore.ConnectionPool(timeout=10)
    async def secure():
        response = await http.request("GET", SECURE)
        assert response.status_code == 200
    async def plain():
        # The roots are being read, from a pipe in which nothing is yet: everything else goes on.
        for _ in range(20):
            await http.request("GET", PLAIN)
            await sleep(0)
            ticks.append(1)
        threading.Thread(target=write).start()
    await run_both(secure, plain)
    await http.aclose()

def write():
    with open(fifo, "wb") as pipe, open(ROOTS, "rb") as roots:
        pipe.write(roots.read())
"""
LOOPS = {
    "asyncio": """
import asyncio
async def both(*jobs):
    await asyncio.gather(*(job() for job in jobs))
asyncio.run(scenario(asyncio.sleep, both))
""",
    "trio": """
import trio
async def both(*jobs):
    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(job)
trio.run(scenario, trio.sleep, both)
""",
}


@pytest.mark.parametrize("loop", LOOPS)
def test_p44_the_roots_are_read_off_the_event_loop(ca: CertificateAuthority, tmp_path: Path, loop: str) -> None:
    fifo = tmp_path / "roots"
    os.mkfifo(fifo)
    with ScriptedPeer(hello, tls=ca.server_context()) as secure, ScriptedPeer(hello) as plain:
        names = f"SECURE, PLAIN, ROOTS = {secure.url!r}, {plain.url!r}, {str(ca.pem_path)!r}\n"
        code = names + LOAD_SLOWLY + LOOPS[loop] + "\nprint(len(ticks))"
        assert in_a_process_of_its_own(code, SSL_CERT_FILE=str(fifo)) == "20"


def test_p44_reading_the_roots_is_bounded_by_the_connect_timeout(ca: CertificateAuthority, tmp_path: Path) -> None:
    fifo = tmp_path / "roots"
    os.mkfifo(fifo)
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        said = get_in_a_process_of_its_own(peer.url, "timeout=0.1", SSL_CERT_FILE=str(fifo))
    assert said.startswith("ConnectTimeout the trusted certificates were not loaded in time")


def test_p44_a_thousand_pools_cost_less_than_a_few_contexts() -> None:
    """In milliseconds it is 50 on a fast machine; as a ratio it says the same on any."""

    import certifi

    def a_thousand_pools() -> None:
        for _ in range(1000):
            httpcore.ConnectionPool()

    def one_context() -> None:
        ssl.create_default_context(cafile=certifi.where())

    assert_cheaper(lambda: cpu_seconds(a_thousand_pools), 10, lambda: cpu_seconds(one_context))

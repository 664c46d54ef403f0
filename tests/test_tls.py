"""P43, P44, P45, P50 and FAULTS G: whom we talk to is verified, and what could have been cut off is not believed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

import httpcore
from httpcore import ConnectError, ConnectTimeout, Network, ReadError, RemoteProtocolError, SSLConfig
from tests.support.certificates import Identity, issue, root
from tests.support.cost import assert_cheaper, cpu_seconds
from tests.support.peer import Conn, Disconnected, ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.tls13 import Records
from tests.support.worlds import World

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
ROOT = Path(__file__).parents[1]
TO_LOOPBACK = Network(resolver=lambda host, port: ["127.0.0.1"])


def hello(conn: Conn) -> None:
    while True:
        conn.read_request()
        conn.send(HELLO)


# P43: verification says what is wrong


class Authority:
    """A root that the client trusts, with what it issued, and others that it does not trust."""

    def __init__(self, directory: Path) -> None:
        self.root = root("the trusted root")
        self.path = self.root.write_certificate(directory / "root.pem")
        self._directory = directory

    def issue(self, *names: str, **options: Any) -> ssl.SSLContext:
        return issue(self.root, names, **options).server_context(self._directory)

    def behind(self, intermediate: Identity, *names: str, **options: Any) -> ssl.SSLContext:
        return issue(intermediate, names, **options).server_context(self._directory, intermediate)

    def without_intermediate(self, *names: str) -> ssl.SSLContext:
        return issue(self._intermediate(), names).server_context(self._directory)

    def _intermediate(self, **options: Any) -> Identity:
        return issue(self.root, (), **{"is_ca": True, "common_name": "an intermediate", **options})

    def with_intermediate(self, *names: str, **options: Any) -> ssl.SSLContext:
        return self.behind(self._intermediate(**options), *names)

    def over_too_long_a_path(self, *names: str) -> ssl.SSLContext:
        first = self._intermediate(path_length=0)
        second = issue(first, (), is_ca=True, common_name="one too many")
        return issue(second, names).server_context(self._directory, second, first)

    def self_signed(self, *names: str) -> ssl.SSLContext:
        return issue(None, names).server_context(self._directory)

    def of_another_root(self, *names: str) -> ssl.SSLContext:
        return self.behind(root("another root"), *names)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


OTHER_NAME = "not valid for 'foo.test'"
REFUSED: dict[str, tuple[Callable[[Authority], ssl.SSLContext], str, str]] = {
    "expired": (lambda a: a.issue("foo.test", valid=(-2, -1)), "foo.test", "certificate has expired"),
    "not yet valid": (lambda a: a.issue("foo.test", valid=(1, 2)), "foo.test", "not yet valid"),
    "self-signed": (lambda a: a.self_signed("foo.test"), "foo.test", "self-signed certificate"),
    "untrusted": (lambda a: a.of_another_root("foo.test"), "foo.test", "self-signed certificate in certificate chain"),
    "missing intermediate": (lambda a: a.without_intermediate("foo.test"), "foo.test", "unable to get local issuer"),
    "for clients": (lambda a: a.issue("foo.test", purpose=ExtendedKeyUsageOID.CLIENT_AUTH), "foo.test", "purpose"),
    "issuer is no CA": (lambda a: a.with_intermediate("foo.test", is_ca=False), "foo.test", "invalid CA certificate"),
    "path too long": (lambda a: a.over_too_long_a_path("foo.test"), "foo.test", "path length constraint exceeded"),
    "name not permitted": (
        lambda a: a.with_intermediate("foo.test", permitted="bar.test"),
        "foo.test",
        "permitted subtree violation",
    ),
    "another name": (lambda a: a.issue("bar.test"), "foo.test", OTHER_NAME),
    "a name below": (lambda a: a.issue("foo.test"), "a.foo.test", "not valid for 'a.foo.test'"),
    "a name above": (lambda a: a.issue("a.foo.test"), "foo.test", OTHER_NAME),
    "common name only": (lambda a: a.issue(common_name="foo.test"), "foo.test", OTHER_NAME),
    "NUL in the name": (lambda a: a.issue("foo.test\0.evil.example"), "foo.test", OTHER_NAME),
    "wildcard over two labels": (lambda a: a.issue("*.test"), "a.b.test", "not valid for 'a.b.test'"),
    "wildcard for the bare domain": (lambda a: a.issue("*.foo.test"), "foo.test", OTHER_NAME),
    "wildcard of a top-level domain": (lambda a: a.issue("*.test"), "foo.test", OTHER_NAME),
    "wildcard for everything": (lambda a: a.issue("*"), "foo.test", OTHER_NAME),
    "wildcard at the end of a label": (lambda a: a.issue("f*.b.test"), "foo.b.test", "not valid for 'foo.b.test'"),
    "wildcard at the start of a label": (lambda a: a.issue("*o.b.test"), "foo.b.test", "not valid for 'foo.b.test'"),
    "wildcard in a label": (lambda a: a.issue("f*o.b.test"), "foo.b.test", "not valid for 'foo.b.test'"),
    "wildcard in a later label": (lambda a: a.issue("a.*.test"), "a.b.test", "not valid for 'a.b.test'"),
    "two wildcards": (lambda a: a.issue("*.*.test"), "a.b.test", "not valid for 'a.b.test'"),
    "U-label's ASCII letters": (lambda a: a.issue("bcher.test", "bucher.test"), "bücher.test", "xn--bcher-kva.test"),
    "partial wildcard for an A-label": (lambda a: a.issue("xn--*.b.test"), "bücher.b.test", "xn--bcher-kva.b.test"),
    "another address": (lambda a: a.issue("192.0.2.1", "localhost"), "127.0.0.1", "not valid for '127.0.0.1'"),
    "address as a name": (lambda a: a.issue("localhost"), "127.0.0.1", "not valid for '127.0.0.1'"),
    "name for an address": (lambda a: a.issue("127.0.0.1"), "foo.test", OTHER_NAME),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_p43_a_certificate_that_is_not_the_peers_is_a_connect_error_that_says_why(
    world: World, authority: Authority, kind: str
) -> None:
    make, host, words = REFUSED[kind]
    http = world.pool(ssl=SSLConfig(verify=authority.path), network=TO_LOOPBACK, retries=2)
    with ScriptedPeer(hello, tls=make(authority)) as peer:
        with pytest.raises(ConnectError) as caught:
            await http.request("GET", f"https://{host}:{peer.port}/", headers={"authorization": "hunter2"})
        assert words in str(caught.value)
        assert "the certificate is not valid" in str(caught.value)
        assert not caught.value.request_sent
        assert peer.requests == []
        assert http.connections == []
        # A bad certificate does not get better, so `retries` do not count for it.
        assert peer.accepted == 1
    with ScriptedPeer(hello, tls=authority.issue("foo.test")) as good:
        assert (await http.request("GET", f"https://foo.test:{good.port}/")).body == b"hello"


TAKEN: dict[str, tuple[Callable[[Authority], ssl.SSLContext], str]] = {
    "the name": (lambda a: a.issue("foo.test"), "foo.test"),
    "in any case": (lambda a: a.issue("FOO.Test"), "Foo.TEST"),
    "one of several": (lambda a: a.issue("bar.test", "foo.test"), "foo.test"),
    "a wildcard": (lambda a: a.issue("*.b.test"), "a.b.test"),
    "an A-label": (lambda a: a.issue("xn--bcher-kva.test"), "bücher.test"),
    "the address": (lambda a: a.issue("127.0.0.1"), "127.0.0.1"),
    # DNS ends a name in a dot, a certificate never does.
    "a dot at the end": (lambda a: a.issue("foo.test"), "foo.test."),
    "an intermediate": (lambda a: a.with_intermediate("foo.test"), "foo.test"),
    "a permitted name": (lambda a: a.with_intermediate("foo.test", permitted="test"), "foo.test"),
}


@pytest.mark.parametrize("kind", TAKEN)
async def test_p43_a_certificate_that_is_the_peers_is_taken(world: World, authority: Authority, kind: str) -> None:
    make, host = TAKEN[kind]
    http = world.pool(ssl=SSLConfig(verify=authority.path), network=TO_LOOPBACK)
    with ScriptedPeer(hello, tls=make(authority)) as peer:
        assert (await http.request("GET", f"https://{host}:{peer.port}/")).body == b"hello"
        sni = None if host == "127.0.0.1" else httpcore.URL(f"https://{host}").host.rstrip(".")
        assert peer.connections[0].server_name == sni


async def test_p43_verification_is_on_by_default(world: World, ca: CertificateAuthority) -> None:
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        for http in (world.pool(), world.pool(ssl=True), world.pool(ssl=SSLConfig())):
            with pytest.raises(ConnectError, match="certificate is not valid"):
                await http.request("GET", peer.url)
        assert peer.requests == []


async def test_the_peer_is_told_why_by_an_alert(world: World, ca: CertificateAuthority) -> None:
    http = world.pool(ssl=ca.client_context())
    with ScriptedPeer(hello, tls=ca.untrusted()) as peer:
        with pytest.raises(ConnectError):
            await http.request("GET", f"https://localhost:{peer.port}/")
        await world.until(lambda: peer.tls_errors)
        assert "ALERT_UNKNOWN_CA" in str(peer.tls_errors[0])


@pytest.mark.parametrize("verify", [False, SSLConfig(verify=False)], ids=repr)
async def test_without_verification_any_certificate_is_taken(
    world: World, ca: CertificateAuthority, verify: Any
) -> None:
    http = world.pool()
    with ScriptedPeer(hello, tls=ca.self_signed()) as peer:
        assert (await http.request("GET", peer.url, ssl=verify)).body == b"hello"
        with pytest.raises(ConnectError, match="self-signed"):
            await http.request("GET", peer.url)


# g_sni_key: who shares a connection with whom


async def test_g_sni_key_requests_with_different_server_names_never_share_a_connection(
    world: World, authority: Authority
) -> None:
    http = world.pool(ssl=SSLConfig(verify=authority.path))
    with ScriptedPeer(hello, tls=authority.issue("a.test", "b.test", "127.0.0.1")) as peer:
        for name in ("a.test", "b.test", None, "a.test", "b.test", None):
            await http.request("GET", peer.url, extensions={} if name is None else {"sni_hostname": name})
        assert [conn.server_name for conn in peer.connections] == ["a.test", "b.test", None]
        assert [len(conn.requests) for conn in peer.connections] == [2, 2, 2]


async def test_the_server_name_that_is_sent_is_the_one_that_is_verified(world: World, authority: Authority) -> None:
    http = world.pool(ssl=SSLConfig(verify=authority.path))
    with ScriptedPeer(hello, tls=authority.issue("a.test", "127.0.0.1")) as peer:
        with pytest.raises(ConnectError, match=r"not valid for 'b\.test'"):
            await http.request("GET", peer.url, extensions={"sni_hostname": "b.test"})
        assert (await http.request("GET", peer.url, extensions={"sni_hostname": "a.test"})).body == b"hello"


async def test_requests_with_different_tls_settings_never_share_a_connection(
    world: World, ca: CertificateAuthority
) -> None:
    settings: list[Any] = [SSLConfig(verify=ca.pem_path), False, ca.client_context(), ca.client_context()]
    http = world.pool()
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        for setting in (*settings, *settings):
            await http.request("GET", peer.url, ssl=setting)
        assert [len(conn.requests) for conn in peer.connections] == [2, 2, 2, 2]
        # g_resume: nor does one resume the session of another.
        assert not any(conn.tls.session_reused for conn in peer.connections if conn.tls is not None)
        with pytest.raises(ConnectError):  # a connection that was not verified is not one for who verifies
            await http.request("GET", peer.url)


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
    from httpcore._tls import known_context, make_context

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


def in_a_process_of_its_own(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
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


def test_g_env_secrets_are_not_logged_because_of_an_environment_variable(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    log = tmp_path / "keys"
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        said = get_in_a_process_of_its_own(peer.url, SSL_CERT_FILE=str(ca.pem_path), SSLKEYLOGFILE=str(log))
    assert said == "hello"
    assert not log.exists()


def test_p45_the_systems_store_is_used_when_asked_for(ca: CertificateAuthority) -> None:
    """On Linux, truststore asks OpenSSL where the system's roots are, and OpenSSL lets the environment say so."""
    pool = "httpcore.SSLConfig(truststore=True)"
    with ScriptedPeer(hello, tls=ca.server_context()) as peer:
        assert get_in_a_process_of_its_own(peer.url, pool, SSL_CERT_FILE=str(ca.pem_path)) == "hello"
        assert "certificate is not valid" in get_in_a_process_of_its_own(peer.url, pool)


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


# P50: truncation


def ending(conn: Conn, response: bytes, end: str) -> None:
    conn.read_request()
    conn.send(response)
    if end == "close_notify":
        conn.close_notify()
    if end == "RST":
        conn.rst()
    else:
        conn.fin()
        drop_the_rest(conn)


def drop_the_rest(conn: Conn) -> None:
    """Read beneath TLS until the client is gone: it may have an alert to send."""
    with contextlib.suppress(Disconnected):
        while conn.socket.recv(65_536):
            pass


UNTIL_CLOSE = {
    "HTTP/1.1": b"HTTP/1.1 200 OK\r\n\r\nsome of it",
    "HTTP/1.1 without a byte": b"HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nsome of it",
}


@pytest.mark.parametrize("kind", UNTIL_CLOSE)
async def test_p50_an_end_without_close_notify_is_an_error_for_a_body_that_it_delimits(
    world: World, ca: CertificateAuthority, engine: str, kind: str
) -> None:
    def script(conn: Conn) -> None:
        ending(conn, UNTIL_CLOSE[kind], "FIN")

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        with pytest.raises(RemoteProtocolError, match="without close_notify") as caught:
            await http.request("GET", peer.url)
        assert caught.value.request_sent
        assert http.connections == []


async def test_p50_what_came_before_the_truncation_is_handed_out_first(
    world: World, ca: CertificateAuthority, engine: str
) -> None:
    def script(conn: Conn) -> None:
        ending(conn, UNTIL_CLOSE["HTTP/1.1"], "FIN")

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        response = await http.request("GET", peer.url, stream=True)
        parts = response.stream()
        received = await anext(parts)
        assert received == b"some of it"
        with pytest.raises(RemoteProtocolError, match="without close_notify"):
            await anext(parts)


@pytest.mark.parametrize("kind", UNTIL_CLOSE)
async def test_p50_with_close_notify_such_a_body_is_complete(
    world: World, ca: CertificateAuthority, engine: str, kind: str
) -> None:
    def script(conn: Conn) -> None:
        ending(conn, UNTIL_CLOSE[kind], "close_notify")

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        expected = UNTIL_CLOSE[kind].partition(b"\r\n\r\n")[2]
        assert (await http.request("GET", peer.url)).body == expected
        assert http.connections == []


FRAMED = {
    "content-length": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "announced close": b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("end", ["FIN", "RST"])
@pytest.mark.parametrize("kind", FRAMED)
async def test_p50_a_framed_body_needs_no_close_notify(
    world: World, ca: CertificateAuthority, engine: str, kind: str, end: str
) -> None:
    def script(conn: Conn) -> None:
        ending(conn, FRAMED[kind], end)

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        for _ in range(2):
            assert (await http.request("GET", peer.url)).body == b"hello"
            await world.until(lambda: peer.open_connections == 0 or end == "FIN")
        assert peer.accepted == 2


@pytest.mark.parametrize("end", ["FIN", "close_notify", "RST"])
@pytest.mark.parametrize(
    "response", [FRAMED["content-length"][:-1], FRAMED["chunked"][:-2], FRAMED["chunked"][:-8], b"HTTP/1.1 200 O"]
)
async def test_p50_a_framed_body_that_is_cut_off_is_an_error_however_it_ends(
    world: World, ca: CertificateAuthority, response: bytes, end: str
) -> None:
    def script(conn: Conn) -> None:
        ending(conn, response, end)

    http = world.pool(ssl=ca.client_context())
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        with pytest.raises((RemoteProtocolError, ReadError)) as caught:
            await http.request("GET", peer.url)
        assert isinstance(caught.value, ReadError) == (end == "RST")
        assert caught.value.request_sent


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


PLAIN = [
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n",
    b"220 smtp.example.org ESMTP\r\n",
    b"\x00\x00\x00\x04\0\0\0\0\0",
]


@pytest.mark.parametrize("answer", PLAIN, ids=["HTTP/1.1", "SMTP", "HTTP/2"])
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


# Within the header of the first record, within the ServerHello, at and after its end, within what is encrypted, before
# the last byte, and all of it: the client's Finished meets nobody.
CUTS = [0, 1, 5, 6, 60, 127, 128, 200, 500, -1, None]


@pytest.mark.parametrize("end", ["FIN", "RST"])
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_g_hs_close_an_end_at_any_step_of_the_handshake_is_a_connect_error(
    world: World, ca: CertificateAuthority, version: str, end: str
) -> None:
    context = ca.server_context()
    context.maximum_version = ssl.TLSVersion[version]
    cuts = CUTS if version == "TLSv1_2" else CUTS[:-1]  # in TLS 1.3 the client would be done

    def script(conn: Conn) -> None:
        cut = cuts[conn.index]
        flight = server_flight(conn, context)
        conn.send(flight[:cut])
        if end == "RST":
            conn.rst()
        else:
            conn.fin()
            conn.wait_closed()

    http = world.pool(ssl=ca.client_context())
    with ScriptedPeer(script, expect_disconnect=True) as peer:
        for cut in cuts:
            with pytest.raises(ConnectError) as caught:
                await http.request("GET", f"https://{peer.authority}/")
            assert "handshake" in str(caught.value), cut
            assert not caught.value.request_sent
            assert http.connections == []
        assert peer.accepted == len(cuts)


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


GARBAGE = {
    "an oversize record": b"\x16\x03\x03\xff\xff" + b"x" * 0xFFFF,
    "an unknown content type": b"\x63\x03\x03\x00\x01x",
    "a bad version": b"\x16\x09\x09\x00\x01x",
    "a flood of warning alerts": b"\x15\x03\x03\x00\x02\x01\x5a" * 10_000,
    "a fatal alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "application data too early": b"\x17\x03\x03\x00\x05hello",
    "a flood of empty records": b"\x16\x03\x03\x00\x00" * 10_000,
    "a handshake message of 16 MB": b"\x16\x03\x03\x40\x00\x02\xff\xff\xff" + b"x" * (0x4000 - 4),
    "noise": bytes(range(256)) * 64,
}


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


async def test_g_tls11_a_peer_that_speaks_only_what_is_broken_is_refused(
    world: World, ca: CertificateAuthority
) -> None:
    context = ca.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1

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


def test_g_reneg_our_own_contexts_refuse_renegotiation_and_compression(ca: CertificateAuthority) -> None:
    from httpcore._tls import make_context

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


# What TLS 1.3 sends beside data


class Written:
    """A TLS 1.3 server whose records the test writes itself."""

    def __init__(self, ca: CertificateAuthority, directory: Path) -> None:
        self.context = ca.server_context()
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0
        self._key_log = directory / "keys"
        self.context.keylog_filename = str(self._key_log)

    def records(self, conn: Conn) -> Records:
        assert conn.tls is not None
        cipher = conn.tls.cipher()
        assert cipher is not None
        return Records(self._key_log, cipher[0])


async def test_a_idle_tls_ticket_tickets_on_an_idle_connection_never_hurt_the_next_request(
    world: World, ca: CertificateAuthority, tmp_path: Path
) -> None:
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        records = server.records(conn)
        conn.read_request()
        conn.socket.sendall(records.data(HELLO))
        if conn.index == 0:
            response_read.wait()
            conn.socket.sendall(records.ticket() + records.ticket())
            sent.open()
        conn.read_request()
        conn.socket.sendall(records.data(HELLO))

    http = world.pool(ssl=ca.client_context())
    with ScriptedPeer(script, tls=server.context) as peer:
        response_read, sent = peer.gate(), peer.gate()
        # Of all methods the one that is not sent again.
        assert (await http.request("POST", peer.url, body=b"1")).body == b"hello"
        response_read.open()
        await world.until(sent.is_open)
        assert (await http.request("POST", peer.url, body=b"2")).body == b"hello"
        assert [request.body for request in peer.requests] == [b"1", b"2"]


async def test_a_ticket_before_the_response_is_not_taken_for_one(
    world: World, ca: CertificateAuthority, tmp_path: Path
) -> None:
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        records = server.records(conn)
        conn.socket.sendall(records.ticket())
        request = conn.read_request()
        assert len(request.body) == 3_000_000
        for record in (records.ticket(), records.data(HELLO[:20]), records.ticket(), records.data(HELLO[20:])):
            conn.socket.sendall(record)
        conn.wait_closed()

    http = world.pool(ssl=ca.client_context())
    with ScriptedPeer(script, tls=server.context) as peer:
        assert (await http.request("POST", peer.url, body=b"x" * 3_000_000)).body == b"hello"
        await http.aclose()


@pytest.mark.parametrize("count", [20, 2000])
@pytest.mark.parametrize("kind", ["key updates", "key updates to be answered", "empty records", "tickets"])
async def test_g_keyupdate_records_without_data_make_progress_or_end_the_connection(
    world: World, ca: CertificateAuthority, tmp_path: Path, kind: str, count: int
) -> None:
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        records = server.records(conn)
        make: dict[str, Callable[[], bytes]] = {
            "key updates": lambda: records.key_update(False),
            "key updates to be answered": lambda: records.key_update(True),
            "empty records": lambda: records.data(b""),
            "tickets": records.ticket,
        }
        conn.read_request()
        conn.socket.sendall(b"".join(make[kind]() for _ in range(count)) + records.data(HELLO))
        drop_the_rest(conn)

    http = world.pool(ssl=ca.client_context(), timeout=5)
    with ScriptedPeer(script, tls=server.context, expect_disconnect=True) as peer:
        try:
            assert (await http.request("GET", peer.url)).body == b"hello"
        except ReadError as exc:  # OpenSSL may give up; a few have to pass
            if count == 20 or "TLS failed" not in str(exc):
                raise
            assert http.connections == []
        await http.aclose()


async def test_a_record_that_was_changed_on_the_way_is_an_error_and_never_an_end(
    world: World, ca: CertificateAuthority, tmp_path: Path
) -> None:
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        records = server.records(conn)
        conn.read_request()
        good = records.data(b"HTTP/1.1 200 OK\r\n\r\nsome")
        changed = bytearray(records.data(b"x"))
        changed[-1] ^= 1
        conn.socket.sendall(good + changed)
        conn.fin()
        drop_the_rest(conn)

    http = world.pool(ssl=ca.client_context())
    with ScriptedPeer(script, tls=server.context) as peer, pytest.raises(ReadError, match="TLS failed"):
        await http.request("GET", peer.url)


@pytest.mark.parametrize("how", ["one record", "two records", "two segments"])
async def test_g_poison_a_second_response_is_never_an_answer(
    world: World, ca: CertificateAuthority, engine: str, how: str
) -> None:
    """Bytes that TLS has decrypted, or only received, count as much as those in the socket."""
    poison = HELLO.replace(b"hello", b"DEATH")
    poisoned: list[Conn] = []

    def script(conn: Conn) -> None:
        conn.read_request()
        if how == "one record":
            conn.send(HELLO + poison)
        elif how == "two records":
            held: list[bytes] = []
            send_all = conn.socket.sendall
            conn.socket.sendall = held.append  # type: ignore[assignment, method-assign]
            conn.send(HELLO)
            conn.send(poison)
            send_all(b"".join(held))
            conn.socket.sendall = send_all  # type: ignore[method-assign]
        else:
            conn.send(HELLO)
            conn.send(poison)
        poisoned.append(conn)
        conn.wait_closed()

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        for count in (1, 2, 3):
            assert (await http.request("GET", peer.url)).body == b"hello"
            await world.until(lambda count=count: len(poisoned) == count)  # type: ignore[misc]  # a lambda's default
        await world.until(lambda: peer.accepted == 3)


async def test_g_poison_what_is_left_in_tls_beyond_a_full_read_is_seen(
    world: World, ca: CertificateAuthority, engine: str
) -> None:
    """The response ends exactly where a read does, and the poison behind it is nowhere in the socket any more."""
    sizes = [size * 16_384 for size in (1, 2, 4, 8, 16)]
    poison = HELLO.replace(b"hello", b"DEATH")

    def script(conn: Conn) -> None:
        size = int(conn.read_request().target[1:])
        response = b"HTTP/1.1 200 OK\r\ncontent-length: %08d\r\n\r\n" % (size - 45) + b"." * (size - 45)
        assert len(response) == size
        conn.send(response + poison)
        conn.wait_closed()

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        for size in (*sizes, *sizes):
            assert (await http.request("GET", f"{peer.origin}/{size}")).body == b"." * (size - 45)


# Bodies over TLS


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_big_bodies_go_both_ways_unharmed(
    world: World, ca: CertificateAuthority, engine: str, version: str
) -> None:
    up, down = os.urandom(3_000_000), os.urandom(3_000_000)

    def parts() -> Iterator[bytes]:
        for start in range(0, len(up), 100_000):
            yield up[start : start + 100_000]

    def script(conn: Conn) -> None:
        while True:
            request = conn.read_request()
            assert hashlib.sha256(request.body).digest() == hashlib.sha256(up).digest()
            conn.respond(body=down)

    context = ca.server_context()
    context.maximum_version = ssl.TLSVersion[version]
    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=context) as peer:
        for body in (up, parts()):
            response = await http.request("POST", peer.url, body=body, stream=True)
            received = [part async for part in response.stream()]
            assert b"".join(received) == down
        assert peer.accepted == 1


@pytest.mark.parametrize("end", ["keeps reading", "stops reading", "FIN", "RST"])
async def test_p21_an_early_413_is_returned_over_tls(
    world: World, ca: CertificateAuthority, engine: str, end: str
) -> None:
    def script(conn: Conn) -> None:
        conn.read_head()
        conn.recv_exactly(100_000)
        conn.respond(413, b"too much")
        if end == "keeps reading":
            conn.wait_closed()
        elif end == "stops reading":
            answered.wait()
        elif end == "FIN":
            conn.close_notify()
            conn.fin()
            answered.wait()
        else:
            answered.wait(10)
            conn.rst()

    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(500):
            sent += 100_000
            yield bytes(100_000)

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context(), expect_disconnect=True) as peer:
        answered = peer.gate()
        response = await http.request("POST", peer.url, body=body())
        assert (response.status_code, response.body) == (413, b"too much")
        assert sent < 50_000_000
        assert http.connections == []
        answered.open()

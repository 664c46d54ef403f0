"""P43 and FAULTS G: whom we talk to is verified, by name and by issuer."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

import httpcore
from httpcore import ConnectError, SSLConfig
from tests.support.certificates import Authority
from tests.support.peer import ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.tls_peers import TO_LOOPBACK, hello
from tests.support.worlds import World


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


OTHER_NAME = "not valid for '{host}'"
REFUSED: dict[str, tuple[Callable[[Authority], ssl.SSLContext], str, str]] = {
    "g_expired: expired": (lambda a: a.issue("foo.test", valid=(-2, -1)), "foo.test", "certificate has expired"),
    "g_expired: not yet valid": (lambda a: a.issue("foo.test", valid=(1, 2)), "foo.test", "not yet valid"),
    "g_self: self-signed": (lambda a: a.self_signed("foo.test"), "foo.test", "self-signed certificate"),
    "g_self: untrusted": (
        lambda a: a.of_another_root("foo.test"),
        "foo.test",
        "self-signed certificate in certificate chain",
    ),
    "g_self: missing intermediate": (
        lambda a: a.without_intermediate("foo.test"),
        "foo.test",
        "unable to get local issuer",
    ),
    "g_self: for clients": (
        lambda a: a.issue("foo.test", purpose=ExtendedKeyUsageOID.CLIENT_AUTH),
        "foo.test",
        "purpose",
    ),
    "g_self: issuer is no CA": (
        lambda a: a.with_intermediate("foo.test", is_ca=False),
        "foo.test",
        "invalid CA certificate",
    ),
    "g_self: path too long": (
        lambda a: a.over_too_long_a_path("foo.test"),
        "foo.test",
        "path length constraint exceeded",
    ),
    "g_self: name not permitted": (
        lambda a: a.with_intermediate("foo.test", permitted="bar.test"),
        "foo.test",
        "permitted subtree violation",
    ),
    "g_wrong: another name": (lambda a: a.issue("bar.test"), "foo.test", OTHER_NAME),
    "g_wrong: a name below": (lambda a: a.issue("foo.test"), "a.foo.test", OTHER_NAME),
    "g_wrong: a name above": (lambda a: a.issue("a.foo.test"), "foo.test", OTHER_NAME),
    "g_cnonly: common name only": (lambda a: a.issue(common_name="foo.test"), "foo.test", OTHER_NAME),
    "g_nul: NUL in the name": (lambda a: a.issue("foo.test\0.evil.example"), "foo.test", OTHER_NAME),
    "g_wrong: wildcard over two labels": (lambda a: a.issue("*.test"), "a.b.test", OTHER_NAME),
    "g_wrong: wildcard for the bare domain": (lambda a: a.issue("*.foo.test"), "foo.test", OTHER_NAME),
    "g_wrong: wildcard of a top-level domain": (lambda a: a.issue("*.test"), "foo.test", OTHER_NAME),
    "g_wrong: wildcard for everything": (lambda a: a.issue("*"), "foo.test", OTHER_NAME),
    "g_wrong: wildcard at the end of a label": (
        lambda a: a.issue("f*.b.test"),
        "foo.b.test",
        OTHER_NAME,
    ),
    "g_wrong: wildcard at the start of a label": (
        lambda a: a.issue("*o.b.test"),
        "foo.b.test",
        OTHER_NAME,
    ),
    "g_wrong: wildcard in a label": (lambda a: a.issue("f*o.b.test"), "foo.b.test", OTHER_NAME),
    "g_wrong: wildcard in a later label": (lambda a: a.issue("a.*.test"), "a.b.test", OTHER_NAME),
    "g_wrong: two wildcards": (lambda a: a.issue("*.*.test"), "a.b.test", OTHER_NAME),
    "g_idn: U-label's ASCII letters": (
        lambda a: a.issue("bcher.test", "bucher.test"),
        "bücher.test",
        "xn--bcher-kva.test",
    ),
    "g_idn: partial wildcard for an A-label": (
        lambda a: a.issue("xn--*.b.test"),
        "bücher.b.test",
        "xn--bcher-kva.b.test",
    ),
    "g_wrong: another address": (lambda a: a.issue("192.0.2.1", "localhost"), "127.0.0.1", OTHER_NAME),
    "g_wrong: address as a name": (lambda a: a.issue("localhost"), "127.0.0.1", OTHER_NAME),
    "g_wrong: name for an address": (lambda a: a.issue("127.0.0.1"), "foo.test", OTHER_NAME),
    "g_expired: an intermediate that has": (
        lambda a: a.with_intermediate("foo.test", valid=(-2, -1)),
        "foo.test",
        "certificate has expired",
    ),
    "g_nul: in the common name": (lambda a: a.issue(common_name="foo.test\0.evil.example"), "foo.test", OTHER_NAME),
    "g_nul: before the name": (lambda a: a.issue("evil.example\0foo.test"), "foo.test", OTHER_NAME),
    "g_idn: a U-label": (lambda a: a.issue("bücher.test"), "bücher.test", OTHER_NAME),
    "g_idn: a U-label under a wildcard": (
        lambda a: a.issue("*.bücher.test"),
        "a.bücher.test",
        OTHER_NAME,
    ),
    "g_idn: a wildcard in a U-label": (
        lambda a: a.issue("b*cher.b.test", "bü*.b.test"),
        "bücher.b.test",
        OTHER_NAME,
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_p43_a_certificate_that_is_not_the_peers_is_a_connect_error_that_says_why(
    world: World, authority: Authority, kind: str
) -> None:
    """FAULTS g_wrong, g_nul, g_cnonly, g_idn, g_expired and g_self."""
    make, host, words = REFUSED[kind]
    http = world.pool(ssl=SSLConfig(verify=authority.path), network=TO_LOOPBACK, retries=2)
    with ScriptedPeer(hello, tls=make(authority)) as peer:
        with pytest.raises(ConnectError) as caught:
            await http.request("GET", f"https://{host}:{peer.port}/", headers={"authorization": "hunter2"})
        assert words.format(host=httpcore.URL(f"https://{host}/").host) in str(caught.value)
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
    "g_idn: an A-label": (lambda a: a.issue("xn--bcher-kva.test"), "bücher.test"),
    "g_idn: an A-label under a wildcard": (lambda a: a.issue("*.xn--bcher-kva.test"), "a.bücher.test"),
    "g_idn: a wildcard for the whole A-label": (lambda a: a.issue("*.b.test"), "bücher.b.test"),
    "the address": (lambda a: a.issue("127.0.0.1"), "127.0.0.1"),
    # DNS ends a name in a dot, a certificate never does.
    "a dot at the end": (lambda a: a.issue("foo.test"), "foo.test."),
    "an intermediate": (lambda a: a.with_intermediate("foo.test"), "foo.test"),
    "a permitted name": (lambda a: a.with_intermediate("foo.test", permitted="test"), "foo.test"),
}


@pytest.mark.parametrize("kind", TAKEN)
async def test_p43_a_certificate_that_is_the_peers_is_taken(world: World, authority: Authority, kind: str) -> None:
    """FAULTS g_idn: the A-label alone matches."""
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

"""FAULTS h_env, h_noproxy, h_localhost: which proxy the environment names for an origin, and only when asked."""

from __future__ import annotations

import traceback

import pytest

import httpcore
from httpcore import InvalidURL, Proxy
from tests.support.peer import ScriptedPeer
from tests.support.scripted_proxies import serve
from tests.support.worlds import World

_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without a word about proxies, whatever the machine says of them."""
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def found(url: str) -> str | None:
    """What the environment of this moment names for a URL."""
    proxy = Proxy.from_environment()(httpcore.URL(url).origin)
    assert proxy is None or isinstance(proxy, Proxy)
    return None if proxy is None else f"{proxy.scheme}://{proxy.host}:{proxy.port}"


# Which variable counts

A, B, C = "http://a.proxy.test:81", "http://b.proxy.test:82", "http://c.proxy.test:83"
VARIABLES: dict[str, tuple[dict[str, str], str | None, str | None]] = {
    "none": ({}, None, None),
    "http_proxy": ({"http_proxy": A}, A, None),
    "HTTP_PROXY": ({"HTTP_PROXY": A}, A, None),
    "https_proxy": ({"https_proxy": A}, None, A),
    "HTTPS_PROXY": ({"HTTPS_PROXY": A}, None, A),
    "all_proxy": ({"all_proxy": A}, A, A),
    "ALL_PROXY": ({"ALL_PROXY": A}, A, A),
    "each its own": ({"HTTP_PROXY": A, "HTTPS_PROXY": B}, A, B),
    "the scheme's before ALL_PROXY": ({"HTTP_PROXY": A, "ALL_PROXY": C}, A, C),
    "lower case wins": ({"http_proxy": A, "HTTP_PROXY": B, "https_proxy": B, "HTTPS_PROXY": C}, A, B),
    "all_proxy before ALL_PROXY": ({"all_proxy": A, "ALL_PROXY": B}, A, A),
    "HTTP_PROXY before all_proxy": ({"HTTP_PROXY": A, "all_proxy": B}, A, B),
    "an empty one is no proxy": ({"http_proxy": "", "HTTP_PROXY": A, "ALL_PROXY": B}, None, B),
    "empty ones are no proxies": ({"HTTP_PROXY": "", "HTTPS_PROXY": " ", "ALL_PROXY": ""}, None, None),
    "HTTP_PROXY in CGI": ({"REQUEST_METHOD": "GET", "HTTP_PROXY": A}, None, None),
    "http_proxy in CGI": ({"REQUEST_METHOD": "GET", "http_proxy": A, "HTTP_PROXY": B}, A, None),
    "the others in CGI": ({"REQUEST_METHOD": "GET", "HTTP_PROXY": A, "HTTPS_PROXY": B, "ALL_PROXY": C}, C, B),
    "no scheme": ({"HTTP_PROXY": "a.proxy.test:81"}, A, None),
    "no scheme and no port": ({"HTTP_PROXY": "a.proxy.test"}, "http://a.proxy.test:80", None),
    "an https proxy": ({"HTTPS_PROXY": "https://a.proxy.test"}, None, "https://a.proxy.test:443"),
    "SOCKS": ({"ALL_PROXY": "socks5h://a.proxy.test"}, "socks5h://a.proxy.test:1080", "socks5h://a.proxy.test:1080"),
    "SOCKS that resolves here": ({"HTTP_PROXY": "socks5://a.proxy.test:9"}, "socks5://a.proxy.test:9", None),
    "an IPv6 address": ({"HTTP_PROXY": "http://[2001:db8::1]:81"}, "http://2001:db8::1:81", None),
    "spaces around it": ({"HTTP_PROXY": f" {A} "}, A, None),
    "a slash at the end": ({"HTTP_PROXY": f"{A}/"}, A, None),
}


@pytest.mark.parametrize("case", VARIABLES)
def test_h_env_the_variable_that_counts(environment: pytest.MonkeyPatch, case: str) -> None:
    variables, for_http, for_https = VARIABLES[case]
    for name, value in variables.items():
        environment.setenv(name, value)
    assert found("http://example.org/") == for_http
    assert found("https://example.org/") == for_https


def test_h_env_credentials_are_in_the_variable_and_nowhere_else(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "http://us%65r:p%40ss%3Aword@proxy.test:81")
    choice = Proxy.from_environment()
    proxy = choice(httpcore.URL("https://example.org/").origin)
    assert isinstance(proxy, Proxy)
    assert proxy == Proxy("http://proxy.test:81", auth=("user", "p@ss:word"))
    shown = repr(choice) + str(choice) + repr(proxy) + str(proxy)
    assert "proxy.test" in shown
    assert not any(secret in shown for secret in ("us%65r", "user", "p%40ss", "p@ss", "word"))


@pytest.mark.parametrize(
    "value", ["ftp://proxy.test", "http://", "http://user:hunter2@:80", "http://user:hunter2@proxy.test:x"]
)
def test_h_env_a_value_that_is_no_proxy_is_named_by_its_variable(environment: pytest.MonkeyPatch, value: str) -> None:
    environment.setenv("https_proxy", value)
    with pytest.raises(InvalidURL, match="HTTPS_PROXY") as caught:
        Proxy.from_environment()
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_h_env_the_environment_is_read_when_it_is_asked(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTP_PROXY", A)
    choice = Proxy.from_environment()
    environment.setenv("HTTP_PROXY", B)
    origin = httpcore.URL("http://example.org/").origin
    assert choice(origin) == Proxy(A)
    assert Proxy.from_environment()(origin) == Proxy(B)


async def test_h_env_a_pool_looks_into_the_environment_only_when_told_to(
    world: World, environment: pytest.MonkeyPatch
) -> None:
    with ScriptedPeer(serve) as proxy, ScriptedPeer(serve) as peer:
        environment.setenv("HTTP_PROXY", proxy.origin)
        environment.setenv("ALL_PROXY", proxy.origin)
        url = peer.url.replace("127.0.0.1", "example.test")
        network = httpcore.Network(resolver=lambda host, port: ["127.0.0.1"])
        direct, asked = world.pool(network=network), world.pool(network=network, proxy=Proxy.from_environment())
        await direct.request("GET", url)
        assert (len(peer.requests), len(proxy.requests)) == (1, 0)
        await asked.request("GET", url)
        assert (len(peer.requests), len(proxy.requests)) == (1, 1)
        assert proxy.requests[0].target == url.encode()
        # Loopback is reached directly.
        await asked.request("GET", peer.url)
        assert (len(peer.requests), len(proxy.requests)) == (2, 1)


# NO_PROXY

DIRECT: list[tuple[str, str]] = [
    ("*", "http://a.com"),
    ("*", "http://192.0.2.1"),
    ("*", "http://[2001:db8::1]"),
    ("a.com", "http://a.com"),
    ("a.com", "http://a.com:8080"),
    ("a.com", "https://b.a.com"),
    ("a.com", "https://c.b.a.com"),
    (".a.com", "http://b.a.com"),
    (".a.com", "http://c.b.a.com:81"),
    ("*.a.com", "http://b.a.com"),
    ("a.com:443", "https://a.com"),
    ("a.com:443", "https://b.a.com"),
    ("a.com:80", "http://a.com"),
    ("a.com:8080", "http://a.com:8080"),
    (".a.com:8080", "http://b.a.com:8080"),
    ("*:8080", "http://b.a.com:8080"),
    ("A.Com", "http://a.com"),
    ("a.com", "http://A.COM"),
    ("a.com.", "http://a.com"),
    ("a.com", "http://a.com."),
    (".a.com", "http://b.a.com."),
    ("b.com,a.com", "http://a.com"),
    (" b.com , a.com ", "http://a.com"),
    ("b.com a.com", "http://a.com"),
    (",,a.com,", "http://a.com"),
    ("com", "http://a.com"),
    ("xn--bcher-kva.test", "http://bücher.test"),
    ("intranet", "http://intranet"),
    ("192.0.2.1", "http://192.0.2.1"),
    ("192.0.2.1:81", "http://192.0.2.1:81"),
    ("192.0.2.0/24", "http://192.0.2.255"),
    ("192.0.2.128/25", "https://192.0.2.200"),
    ("192.0.2.7/24", "http://192.0.2.1"),
    ("0.0.0.0/0", "http://192.0.2.1"),
    ("2001:db8::1", "http://[2001:db8::1]"),
    ("[2001:db8::1]", "http://[2001:db8::1]"),
    ("2001:DB8:0:0::1", "http://[2001:db8::1]"),
    ("[2001:db8::1]:443", "https://[2001:db8::1]"),
    ("2001:db8::/32", "http://[2001:db8:1::1]"),
    ("fe80::/10", "http://[fe80::1%25eth0]"),
    # h_localhost: as in Go, what never leaves the machine goes through no proxy.
    ("", "http://localhost"),
    ("", "http://LOCALHOST:8080"),
    ("", "http://localhost."),
    ("", "http://127.0.0.1"),
    ("", "https://127.1.2.3:4"),
    ("", "http://[::1]"),
]
PROXIED: list[tuple[str, str]] = [
    ("", "http://a.com"),
    (",", "http://a.com"),
    ("a.com", "http://xa.com"),
    ("a.com", "http://a.com.evil.test"),
    ("a.com", "http://a.co"),
    ("b.a.com", "http://a.com"),
    (".a.com", "http://a.com"),
    ("*.a.com", "http://a.com"),
    (".a.com", "http://xa.com"),
    ("a.com:443", "http://a.com"),
    ("a.com:80", "https://a.com"),
    ("a.com:8080", "http://a.com:8081"),
    ("*:8080", "http://a.com"),
    ("http://a.com", "http://a.com:81"),
    ("*a.com", "http://xa.com"),
    ("192.0.2.1", "http://192.0.2.10"),
    ("192.0.2.1:81", "http://192.0.2.1"),
    ("192.0.2.0/24", "http://192.0.3.1"),
    ("192.0.2.0/24", "http://192.0.2.1.test"),
    ("2.1", "http://192.0.2.1"),
    (".2.1", "http://192.0.2.1"),
    ("2001:db8::1", "http://[2001:db8::2]"),
    ("[2001:db8::1]:443", "http://[2001:db8::1]"),
    ("2001:db8::/32", "http://[2001:db9::1]"),
    ("0.0.0.0/0", "http://[2001:db8::1]"),
    ("0.0.0.0/0", "http://a.com"),
    ("::/0", "http://192.0.2.1"),
    # The zone of an address is no part of a name.
    (".a.com", "http://[fe80::1%25.a.com]"),
    ("a.com", "http://[fe80::1%25.a.com]"),
    ("localhost", "http://localhost.test"),
    ("", "http://notlocalhost"),
    ("", "http://128.0.0.1"),
]


@pytest.mark.parametrize(("no_proxy", "url"), DIRECT)
def test_h_noproxy_is_reached_directly(environment: pytest.MonkeyPatch, no_proxy: str, url: str) -> None:
    environment.setenv("ALL_PROXY", A)
    environment.setenv("NO_PROXY", no_proxy)
    assert found(url) is None


@pytest.mark.parametrize(("no_proxy", "url"), PROXIED)
def test_h_noproxy_is_reached_through_the_proxy(environment: pytest.MonkeyPatch, no_proxy: str, url: str) -> None:
    environment.setenv("ALL_PROXY", A)
    environment.setenv("NO_PROXY", no_proxy)
    assert found(url) == A


def test_h_noproxy_in_lower_case_wins(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", A)
    environment.setenv("NO_PROXY", "a.com")
    environment.setenv("no_proxy", "b.com")
    assert (found("http://a.com"), found("http://b.com")) == (A, None)
    environment.setenv("no_proxy", "")
    assert (found("http://a.com"), found("http://b.com")) == (A, A)

"""The pool key: whatever changes where bytes go, or who may read them, keeps connections apart."""

from __future__ import annotations

import inspect
import ssl
from dataclasses import fields, replace
from typing import Any

import pytest

import httpcore
from httpcore._config import SSLConfig
from httpcore._options import Routes, make_options
from httpcore._request import Request
from httpcore._route import Route
from httpcore._urls import Origin

ORIGIN = Origin("https", "example.org", 443)
ROUTE = Route(ORIGIN, SSLConfig())

# For each option: what it does to the route, or why it does not need to. A new option fails the test below until
# somebody has decided, and written it down here.
POOL_OPTIONS = {
    "ssl": "Route.ssl",
    "http1": "Route.alpn",
    "http2": "Route.alpn",
    "proxy": "Route.proxies",
    "network": "Route.network",
    "timeout": "only bounds how long things take",
    "limits": "only bounds how much there is; the same for all routes of a pool",
    "http1_engine": "reads the same bytes; the same for all routes of a pool",
    "http2_engine": "reads the same bytes; the same for all routes of a pool",
    "retries": "only counts attempts",
    "decompress": "is a matter of each response",
    "trace": "only hears",
    "backend": "a pool has one world at a time, and drops its connections when it changes",
}
REQUEST_OPTIONS = {
    "url": "Route.origin",
    "ssl": "Route.ssl",
    "method": "is a matter of each request",
    "headers": "are a matter of each request; a Host of another origin is the caller's wish",
    "body": "is a matter of each request",
    "stream": "is a matter of each response",
    "timeout": "only bounds how long things take",
    "decompress": "is a matter of each response",
    "extensions": "see EXTENSIONS",
}
EXTENSIONS = {
    "sni_hostname": "Route.server_name",
    "network": "Route.network",
    "on_informational": "only hears",
    "trailers": "are a matter of each request",
    "target": "is a matter of each request, like its URL's path",
    "max_decoded_ratio": "is a matter of each response",
    "protocol": "is a matter of each request",
    "fetch": "is a matter of each request: JavaScript keeps the connections",
}
# One other value for each field, so that two routes differ in nothing else.
OTHERS: dict[str, Any] = {
    "origin": Origin("https", "example.com", 443),
    "ssl": SSLConfig(verify=False),
    "server_name": "other.example.org",
    "alpn": ("h2",),
    "network": httpcore.Network(local_address="127.0.0.2"),
    "proxies": (httpcore.Proxy("http://127.0.0.1:3128"),),
    "is_forwarded": True,
}


def parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self"}


def test_every_option_of_a_pool_has_been_decided_about() -> None:
    assert parameters(httpcore.ConnectionPool.__init__) == set(POOL_OPTIONS)


def test_every_option_of_a_request_has_been_decided_about() -> None:
    assert parameters(httpcore.ConnectionPool.request) == set(REQUEST_OPTIONS)


def test_every_extension_of_a_request_has_been_decided_about() -> None:
    from httpcore import _request

    assert set(EXTENSIONS) >= _request._EXTENSIONS


def test_what_was_decided_names_fields_of_routes() -> None:
    named = {
        reason.removeprefix("Route.")
        for reasons in (POOL_OPTIONS, REQUEST_OPTIONS, EXTENSIONS)
        for reason in reasons.values()
        if reason.startswith("Route.")
    }
    assert named <= {option.name for option in fields(Route)}


@pytest.mark.parametrize("name", [option.name for option in fields(Route) if option.compare])
def test_every_field_of_a_route_keeps_connections_apart(name: str) -> None:
    other = replace(ROUTE, **{name: OTHERS[name]})

    assert other != ROUTE
    assert hash(other) != hash(ROUTE)
    assert replace(ROUTE) == ROUTE
    assert hash(replace(ROUTE)) == hash(ROUTE)


CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
KEPT_APART: list[tuple[Any, Any]] = [
    (SSLConfig(), SSLConfig(verify=False)),
    (SSLConfig(), SSLConfig(truststore=True)),
    (SSLConfig(cert="a.pem"), SSLConfig(cert="b.pem")),
    (SSLConfig(cert=("a.pem", "key")), SSLConfig(cert=("a.pem", "key", "password"))),
    (CONTEXT, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
    (httpcore.Network(), httpcore.Network(uds="/socket")),
    (httpcore.Network(), httpcore.Network(socket_options=((1, 2, 3),))),
    (httpcore.Network(), httpcore.Network(resolver=lambda host, port: [])),
    (httpcore.Network(local_address="127.0.0.1"), httpcore.Network(local_address=("127.0.0.1", 5))),
    (httpcore.Proxy("http://a"), httpcore.Proxy("http://b")),
    (httpcore.Proxy("http://a"), httpcore.Proxy("https://a:80")),
    (httpcore.Proxy("socks5://a"), httpcore.Proxy("socks5h://a")),
    (httpcore.Proxy("http://a"), httpcore.Proxy("http://u:p@a")),
    (httpcore.Proxy("http://u:p@a"), httpcore.Proxy("http://u:q@a")),
    (httpcore.Proxy("http://u:p@a"), httpcore.Proxy("http://v:p@a")),
    (httpcore.Proxy("http://a"), httpcore.Proxy("http://a", headers={"x": "1"})),
    (httpcore.Proxy("https://a"), httpcore.Proxy("https://a", ssl=False)),
    (httpcore.Proxy("http://a"), httpcore.Proxy("http://a", on_challenge=lambda error: None)),
]


@pytest.mark.parametrize(("one", "other"), KEPT_APART, ids=range(len(KEPT_APART)))
def test_values_that_differ_in_anything_are_different_keys(one: Any, other: Any) -> None:
    assert one != other
    assert hash(one) != hash(other)


def routes(**options: Any) -> Routes:
    given: dict[str, Any] = dict.fromkeys(parameters(make_options))
    given |= {"http1": True, "http2": True, "http1_engine": "h11", "http2_engine": "h2", "retries": 0} | options
    return Routes(make_options(**given))


def test_http_origins_are_forwarded_and_https_ones_tunnelled() -> None:
    found = routes(proxy="http://proxy:3128")

    http = found.find(Request("GET", "http://example.org/"), None)
    https = found.find(Request("GET", "https://example.org/"), None)

    assert (http.is_forwarded, http.alpn) == (True, ("http/1.1",))
    assert (https.is_forwarded, https.alpn) == (False, ("h2", "http/1.1"))
    assert http.peer == "example.org:80 through the proxy http://proxy:3128"


def test_an_https_proxy_that_forwards_may_speak_http2() -> None:
    route = routes(proxy="https://proxy").find(Request("GET", "http://example.org/"), None)
    assert (route.is_forwarded, route.alpn) == (True, ("h2", "http/1.1"))


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({"proxy": "socks5h://proxy"}, {}),
        ({"proxy": "http://proxy", "http1": False}, {}),
        ({"proxy": "http://proxy"}, {"connection": "upgrade", "upgrade": "websocket"}),
    ],
    ids=["socks", "prior knowledge", "upgrade"],
)
def test_what_a_proxy_cannot_forward_goes_through_a_tunnel(options: dict[str, Any], headers: dict[str, str]) -> None:
    assert not routes(**options).find(Request("GET", "http://example.org/", headers), None).is_forwarded


def test_a_function_chooses_the_proxy_of_every_request() -> None:
    answers = iter(["http://one", None, ["socks5h://two", httpcore.Proxy("http://three")]])
    found = routes(proxy=lambda origin: next(answers))

    hops = [[hop.host for hop in found.find(Request("GET", "https://a/"), None).proxies] for _ in range(3)]

    assert hops == [["one"], [], ["two", "three"]]


def test_requests_of_one_pool_share_a_route() -> None:
    found = routes(proxy="http://u:p@proxy:3128")
    assert found.find(Request("GET", "https://a/1"), None) is found.find(Request("GET", "https://a/2"), None)

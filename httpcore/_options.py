"""What a pool was asked to be: its arguments, checked once and frozen; and the routes that they make of origins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from ._backends import NAMES, SYNC, BackendChoice, uses_fetch, uses_node
from ._config import HTTP2, Limits, SSLConfig, Timeout, as_ssl, as_timeout
from ._engines import HTTP2_ENGINES, HTTP11_ENGINES, is_installed
from ._fetch_rules import check_pool_for_fetch, check_request_for_fetch
from ._network import Network
from ._proxy import Proxy, as_proxies
from ._request import Request
from ._route import Route, checked_server_name
from ._trace import Trace
from ._urls import Origin

if TYPE_CHECKING:
    import ssl as ssl_module

    from ._dialing import Dialing

__all__ = ["PoolOptions", "Routes", "checked_decompress", "make_options"]

# Routes by origin are remembered to save making them; past this many the memory starts anew.
_MAX_ROUTES = 1024
# What of a request's extensions changes its route.
_OF_ROUTES = frozenset({"sni_hostname", "network"})


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """The arguments of `ConnectionPool`, which says what they mean."""

    ssl: SSLConfig | ssl_module.SSLContext
    alpn: tuple[str, ...]
    timeout: Timeout
    limits: Limits
    network: Network
    proxy: Callable[[Origin], object] | tuple[Proxy, ...]
    decompress: bool | None
    trace: Trace | None
    backend: BackendChoice
    dialing: Dialing | None
    """None where JavaScript's fetch carries the requests."""


def make_options(
    *,
    ssl: SSLConfig | ssl_module.SSLContext | bool | None,
    timeout: Timeout | float | None,
    limits: Limits | None,
    http1: bool,
    http2: bool | HTTP2,
    http1_engine: str,
    http2_engine: str,
    proxy: object,
    retries: int,
    decompress: bool | None,
    network: Network | None,
    trace: Trace | None,
    backend: BackendChoice,
) -> PoolOptions:
    """Raises: TypeError, ValueError that name option and value; OSError or ssl.SSLError where files cannot be used."""
    limits = Limits() if limits is None else limits
    network = Network() if network is None else network
    if not isinstance(limits, Limits):
        raise TypeError(f"limits is a Limits, not {type(limits).__name__}")
    if not isinstance(network, Network):
        raise TypeError(f"network is a Network, not {type(network).__name__}")
    if trace is not None and not callable(trace):
        raise TypeError(f"trace is a callable, not {type(trace).__name__}")
    if not callable(backend) and backend not in (None, SYNC, *NAMES):
        raise ValueError(f"the backend {backend!r} is unknown: it is None, a callable or one of {', '.join(NAMES)}")
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(f"retries is {retries!r}; it is a number of attempts, 0 or more")
    if is_fetch := uses_fetch(backend):
        check_pool_for_fetch(
            as_ssl(ssl) != SSLConfig(),
            proxy not in (None, ()),
            network,
            {"http1": http1, "http2": http2, "http1_engine": http1_engine, "retries": retries},
        )
    elif uses_node(backend):
        from ._node_rules import check_pool_for_node

        check_pool_for_node(cast("str", backend), as_ssl(ssl) != SSLConfig(), network)
    _check_protocols(http1, http2, http1_engine, http2_engine)
    alpn = (("h2",) if http2 else ()) + (("http/1.1",) if http1 else ())
    return PoolOptions(
        checked_ssl(ssl, alpn),
        alpn,
        Timeout() if timeout is None else as_timeout(timeout),
        limits,
        network,
        proxy if callable(proxy) else _checked_proxies(as_proxies(proxy), alpn),
        None if decompress is None else checked_decompress(decompress),
        trace,
        backend,
        None if is_fetch else _dialing(http1_engine, http2 if isinstance(http2, HTTP2) else HTTP2(), limits, retries),
    )


def _dialing(http1_engine: str, http2: HTTP2, limits: Limits, retries: int) -> Dialing:
    from ._dialing import Dialing
    from ._resolver import Names
    from ._sessions import Sessions

    return Dialing(http1_engine, http2, limits, retries, Names(), Sessions())


def _check_protocols(http1: bool, http2: bool | HTTP2, http1_engine: str, http2_engine: str) -> None:
    if http1_engine not in HTTP11_ENGINES:
        raise ValueError(f"the http1_engine {http1_engine!r} is unknown: it is one of {', '.join(HTTP11_ENGINES)}")
    if not is_installed(http1_engine):
        raise ValueError(f"the http1_engine {http1_engine!r} is not installed: pip install {http1_engine}")
    if http2_engine == "zttp":
        raise ValueError(
            "the http2_engine 'zttp' is not supported: zttp 0.0.35 gives the peer's window back before the caller has "
            "read anything, so that a slow reader would hold all of a response in memory; http1_engine='zttp' is"
        )
    if http2_engine not in HTTP2_ENGINES:
        raise ValueError(f"the http2_engine {http2_engine!r} is unknown: it is one of {', '.join(HTTP2_ENGINES)}")
    if not isinstance(http2, (bool, HTTP2)):
        raise TypeError(f"http2 is True, False or an HTTP2, not {http2!r}")
    if not http1 and not http2:
        raise ValueError("http1=False and http2=False leave nothing to speak")


def checked_decompress(decompress: bool) -> bool:
    """Raises: TypeError."""
    if decompress is not True and decompress is not False:
        raise TypeError(f"decompress is None, True or False, not {decompress!r}")
    return decompress


def checked_ssl(
    ssl: SSLConfig | ssl_module.SSLContext | bool | None, alpn: tuple[str, ...]
) -> SSLConfig | ssl_module.SSLContext:
    """The TLS configuration, its files read now rather than in the first request.

    Raises: TypeError; OSError or ssl.SSLError where a file cannot be used.
    """
    checked = as_ssl(ssl)
    if isinstance(checked, SSLConfig) and (isinstance(checked.verify, str) or checked.cert is not None):
        from ._tls_contexts import make_context

        make_context(checked, alpn)
    return checked


def _checked_proxies(proxies: tuple[Proxy, ...], alpn: tuple[str, ...]) -> tuple[Proxy, ...]:
    """Raises: OSError or ssl.SSLError where the files of an https proxy's `ssl` cannot be used."""
    for proxy in proxies:
        if proxy.scheme == "https":
            checked_ssl(proxy.ssl, alpn)
    return proxies


class Routes:
    """Origin -> route, by the options of the pool and those of a request."""

    __slots__ = ("_known", "_may_remember", "_options")

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._known: dict[Origin, Route] = {}
        self._may_remember = not callable(options.proxy)  # else every request may go another way

    def find(self, request: Request, ssl: SSLConfig | ssl_module.SSLContext | bool | None) -> Route:
        """Raises: TypeError, InvalidURL; OSError or ssl.SSLError where the files of `ssl` cannot be used; ValueError or
        UnsupportedProtocol for what cannot be had under Pyodide; and what the caller's choice of a proxy raises."""
        origin, extensions = request.url.origin, request.extensions
        if (
            ssl is not None
            or request.may_upgrade
            or not self._may_remember
            or (extensions and not _OF_ROUTES.isdisjoint(extensions))
        ):
            if uses_fetch(self._options.backend):
                check_request_for_fetch(ssl is not None, extensions)
            return self._make(origin, ssl, extensions, request.may_upgrade)
        route = self._known.get(origin)
        if route is None:
            if len(self._known) >= _MAX_ROUTES:
                self._known.clear()
            route = self._known[origin] = self._make(origin, None, {}, False)
        return route

    def without_http2(self, route: Route) -> Route | None:
        """The same way in HTTP/1.1, to an origin that wants it, from now on; None where that is not ours to choose."""
        if "http/1.1" not in route.alpn or not isinstance(route.ssl, SSLConfig):
            return None
        narrower = replace(route, alpn=("http/1.1",))
        if self._known.get(route.origin) == route:
            self._known[route.origin] = narrower
        return narrower

    def _make(
        self,
        origin: Origin,
        ssl: SSLConfig | ssl_module.SSLContext | bool | None,
        extensions: Mapping[str, object],
        may_upgrade: bool,
    ) -> Route:
        route = self._route(origin, ssl, extensions, may_upgrade)
        if uses_node(self._options.backend):
            from ._node_rules import check_route_for_node

            check_route_for_node(route)
        return route

    def _route(
        self,
        origin: Origin,
        ssl: SSLConfig | ssl_module.SSLContext | bool | None,
        extensions: Mapping[str, object],
        may_upgrade: bool,
    ) -> Route:
        options, proxies = self._options, self._proxies(origin)
        secured = options.ssl if ssl is None else checked_ssl(ssl, options.alpn)
        name, chosen = extensions.get("sni_hostname"), extensions.get("network")
        server_name = None if name is None else checked_server_name(name)
        network = options.network if chosen is None else cast("Network", chosen)
        if origin.scheme == "https":
            return Route(origin, secured, server_name, options.alpn, network, proxies)
        # Upgrade is a matter between two neighbours, so that it needs a tunnel; as do proxies that cannot forward.
        is_forwarded = bool(proxies) and not proxies[-1].is_socks and "http/1.1" in options.alpn and not may_upgrade
        # Where nothing is agreed upon, HTTP/1.1 is spoken if it may be.
        alpn = options.alpn if is_forwarded and proxies[-1].scheme == "https" else options.alpn[-1:]
        return Route(origin, None, None, alpn, network, proxies, is_forwarded)

    def _proxies(self, origin: Origin) -> tuple[Proxy, ...]:
        chosen = self._options.proxy
        return as_proxies(chosen(origin)) if callable(chosen) else chosen

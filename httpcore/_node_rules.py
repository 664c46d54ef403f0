"""Who may have Node's sockets under Pyodide, and what goes over them: nothing in TLS, which nobody would verify."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from ._errors import UnsupportedProtocol
from ._fetch_rules import warn_once
from ._network import Network

if TYPE_CHECKING:
    from ._route import Route

__all__ = ["check_pool_for_node", "check_route_for_node"]

_NAMES = ("asyncio", "blocking")
_REFUSED = ("local_address", "uds", "interface")


def check_pool_for_node(backend: str, has_ssl: bool, network: Network) -> None:
    """Whether sockets can be had that were asked for by the name of their backend.

    Raises: ValueError.
    """
    if backend not in _NAMES:
        raise ValueError(f"the backend {backend!r} is not to be had under Pyodide: ask for {' or '.join(_NAMES)}")
    _check_host(backend)
    if has_ssl:
        raise ValueError("ssl means nothing over Node's sockets: https is refused there, since nothing verifies it")
    _check_network(network)


def _check_host(backend: str) -> None:
    """Raises: ValueError where there is nothing but fetch. A socket of Python's would send a WebSocket's greeting."""
    import js
    import pyodide_js

    if not hasattr(getattr(js, "process", None) or js, "getBuiltinModule"):
        raise ValueError(f"the backend {backend!r} needs sockets, which a browser has not: leave `backend` out")
    if not hasattr(pyodide_js.FS.filesystems, "NODESOCKFS"):
        raise ValueError(
            f"the backend {backend!r} needs sockets: `await pyodide.useNodeSockFS()` in JavaScript first (in Python, "
            "`await pyodide_js.useNodeSockFS()`), or leave `backend` out, and fetch carries the requests"
        )
    if importlib.util.find_spec("h11") is None:
        raise ValueError(
            f"the backend {backend!r} needs h11, which does not come along under Pyodide: micropip.install('h11')"
        )


def _check_network(network: Network) -> None:
    for name in _REFUSED:
        if getattr(network, name) is not None:
            raise ValueError(f"{name} cannot be chosen over Node's sockets")
    if network.socket_options:
        warn_once("node socket_options", "socket_options are ignored: Node's sockets under Pyodide take none")


def check_route_for_node(route: Route) -> None:
    """Raises: UnsupportedProtocol for TLS of any kind, before anything is sent; ValueError."""
    _check_network(route.network)
    if route.ssl is not None:
        what = f"https ({route.origin})"
    elif secured := [proxy for proxy in route.proxies if proxy.scheme == "https"]:
        what = f"the https proxy {secured[0]}"
    else:
        return
    raise UnsupportedProtocol(
        f"{what} is refused over Node's sockets under Pyodide, since nothing verifies TLS there: use a pool without "
        "`backend`, whose requests fetch carries and verifies"
    )

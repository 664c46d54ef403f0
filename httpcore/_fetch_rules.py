"""What JavaScript decides where its fetch carries the requests, and what becomes of those who would decide it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from ._network import Network

__all__ = ["check_pool_for_fetch", "check_request_for_fetch", "warn_once"]

# What a pool may be told, and JavaScript decides. To ignore these would change who may read what is sent, and where it
# goes; to ignore the others changes how it gets there.
_REFUSED = {
    "ssl": "it verifies TLS itself, against its own roots",
    "sni_hostname": "it names and verifies the host of the URL",
    "proxy": "it uses the proxies that it was told of itself",
    "local_address": "it chooses the address that connections leave from",
    "uds": "it has no unix sockets",
    "resolver": "it resolves names itself",
    "interface": "it chooses the interface that connections leave by",
    "host_overrides": "it resolves names itself",
    "allow_address": "it resolves names itself, and tells nobody what it connects to",
}
_DEFAULTS: dict[str, object] = {"http1": True, "http2": True, "http1_engine": "auto", "retries": 0}
_warned: set[str] = set()


def check_pool_for_fetch(has_ssl: bool, has_proxy: bool, network: Network, options: Mapping[str, object]) -> None:
    """Refuse or warn of what JavaScript decides.

    Raises: ValueError.
    """
    _refuse_given({"ssl": has_ssl, "proxy": has_proxy})
    _check_network(network)
    for name, value in options.items():
        if value != _DEFAULTS[name]:
            warn_once(name, f"{name}={value!r} is ignored: JavaScript's fetch decides that")


def check_request_for_fetch(has_ssl: bool, extensions: Mapping[str, object]) -> None:
    """The same for one request.

    Raises: ValueError.
    """
    _refuse_given({"ssl": has_ssl, "sni_hostname": extensions.get("sni_hostname")})
    if isinstance(network := extensions.get("network"), Network):
        _check_network(network)


def _check_network(network: Network) -> None:
    _refuse_given({name: getattr(network, name) for name in _REFUSED if hasattr(network, name)})
    if network.dns_cache_ttl != Network().dns_cache_ttl:
        warn_once("dns_cache_ttl", "dns_cache_ttl is ignored: JavaScript's fetch resolves names itself")
    if network.socket_options:
        warn_once("socket_options", "socket_options are ignored: JavaScript has no sockets")


def _refuse_given(given: Mapping[str, object]) -> None:
    for name, is_given in given.items():
        if is_given:
            raise ValueError(f"{name} cannot be chosen where JavaScript's fetch carries the requests: {_REFUSED[name]}")


def warn_once(key: str, text: str) -> None:
    """Warn of something for the first time in this process."""
    if key not in _warned:
        _warned.add(key)
        warnings.warn(text, UserWarning, stacklevel=2)

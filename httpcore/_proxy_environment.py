"""Which proxy the environment names for an origin: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

There is no standard, so this is what curl and Go's net/http agree on, and Go's way where they differ.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from contextlib import suppress

from ._errors import InvalidURL
from ._urls import DEFAULT_PORTS, Origin, parse_proxy_url

__all__ = ["EnvironmentProxies"]

_IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORT = re.compile(r"(.*):([0-9]{1,5})", re.DOTALL)


class EnvironmentProxies:
    """A function of the origin that returns the URL of its proxy, or None. The environment is read once, here.

    Lower-case names win over upper-case ones, and an empty value is "no proxy" for its scheme. HTTP_PROXY in upper case
    is left alone where REQUEST_METHOD is set, since a CGI program's clients can set it by a header `Proxy` (httpoxy).
    A value without a scheme is an `http://` proxy's. `localhost` and loopback addresses are always reached directly,
    as in Go.

    Args:
        environ: instead of `os.environ`.

    Raises: InvalidURL: a variable, which is named, is not a proxy's URL.
    """

    __slots__ = ("_exceptions", "_urls")

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        everything = _read(environ, "ALL_PROXY")
        self._urls: dict[str, str | None] = {}
        for scheme in DEFAULT_PORTS:
            name = f"{scheme.upper()}_PROXY"
            is_set = name.lower() in environ or (name in environ and not _is_forged(environ, name))
            self._urls[scheme] = _read(environ, name) if is_set else everything
        listed = environ.get("no_proxy", environ.get("NO_PROXY", ""))
        self._exceptions = [_Exception(entry) for entry in re.split(r"[,\s]+", listed) if entry]

    def __call__(self, origin: Origin) -> str | None:
        url = self._urls[origin.scheme]
        if url is None or _is_local(origin.host) or any(entry.matches(origin) for entry in self._exceptions):
            return None
        return url

    @property
    def urls(self) -> list[str]:
        return [url for url in self._urls.values() if url is not None]


def _is_forged(environ: Mapping[str, str], name: str) -> bool:
    return name == "HTTP_PROXY" and "REQUEST_METHOD" in environ


def _read(environ: Mapping[str, str], name: str) -> str | None:
    value = environ.get(name.lower(), environ.get(name, "")).strip()
    if not value:
        return None
    url = value if "://" in value else f"http://{value}"
    try:
        parse_proxy_url(url)
    except InvalidURL as exc:
        raise InvalidURL(f"the environment variable {name} names no proxy: {exc}") from None
    return url


def _is_local(host: str) -> bool:
    address = _address(host)
    return host.rstrip(".") == "localhost" if address is None else address.is_loopback


def _address(host: str) -> _IPAddress | None:
    with suppress(ValueError):  # a name
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    return None


class _Exception:
    """One entry of NO_PROXY: `*`, a name (with its subdomains), a suffix (`.a.com` or `*.a.com`: subdomains alone), an
    address or a network in CIDR notation; all but the last perhaps with `:port`."""

    __slots__ = ("_name", "_network", "_port", "_suffix")

    def __init__(self, entry: str) -> None:
        entry = entry.lower()
        self._network = _as_network(entry)
        self._port: int | None = None
        if self._network is None and (split := _PORT.fullmatch(entry)) is not None:
            entry, self._port = split[1], int(split[2])
            self._network = _as_network(entry)
        name = entry.removeprefix("*").rstrip(".")
        self._suffix = name if name.startswith(".") else f".{name}"
        self._name = None if name.startswith(".") or entry == "*" else name
        if entry == "*":
            self._suffix = ""

    def matches(self, origin: Origin) -> bool:
        if self._port is not None and self._port != origin.port:
            return False
        address = _address(origin.host)
        if self._network is not None:
            return address is not None and address.version == self._network.version and address in self._network
        if address is not None:  # the zone of one may look like the end of a name
            return self._suffix == ""
        host = origin.host.rstrip(".")
        return host == self._name or host.endswith(self._suffix)


def _as_network(entry: str) -> _IPNetwork | None:
    bare = entry[1:-1] if entry.startswith("[") and entry.endswith("]") else entry
    with suppress(ValueError):  # a name, or with a port
        return ipaddress.ip_network(bare.partition("%")[0] if ":" in bare else bare, strict=False)
    return None

"""How an origin is reached, as one value: the pool key."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from ._config import SSLConfig
from ._errors import InvalidURL
from ._network import Network
from ._proxy import Proxy
from ._urls import Origin

if TYPE_CHECKING:
    import ssl

__all__ = ["Route", "checked_server_name"]

_ANY_NETWORK = Network()


@dataclass(frozen=True, slots=True)
class Route:
    """How an origin is reached. This *is* the pool key: whatever changes where bytes go, or who may read them, is here.

    Args:
        origin: where the requests end.
        ssl: what TLS is made from, or None on http. An `SSLContext` counts by identity.
        server_name: the name sent as SNI and verified, where the caller overrode it.
        alpn: the protocols offered, best first.
        network: local address, unix socket, socket options, resolver.
        proxies: the hops before the origin, first hop first; empty is direct.
        is_forwarded: whether the last proxy reads the requests and sends them on, instead of making a tunnel.

    Attributes:
        peer: what messages call it.
    """

    origin: Origin
    ssl: SSLConfig | ssl.SSLContext | None = None
    server_name: str | None = None
    alpn: tuple[str, ...] = ("http/1.1",)
    network: Network = _ANY_NETWORK
    proxies: tuple[Proxy, ...] = ()
    is_forwarded: bool = False
    peer: str = field(init=False, repr=False, compare=False, default="")
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        # Of all fields that count in a comparison, so that an option cannot be forgotten here.
        key = tuple(getattr(self, option.name) for option in fields(self) if option.compare)
        through = f" through the proxy {', '.join(map(str, self.proxies))}" if self.proxies else ""
        object.__setattr__(self, "peer", f"{self.origin.address}{through}")
        object.__setattr__(self, "_hash", hash(key))

    def __hash__(self) -> int:
        return self._hash

    @property
    def may_share(self) -> bool:
        """Whether a connection of this route may turn out to carry several requests at once."""
        return "h2" in self.alpn


def checked_server_name(name: object) -> str:
    """The SNI override of a request.

    Raises: TypeError, InvalidURL.
    """
    if not isinstance(name, str):
        raise TypeError(f"sni_hostname is a str, not {type(name).__name__}")
    if not name.isascii() or not name or any(ord(char) < 33 for char in name):
        raise InvalidURL(f"sni_hostname {name[:80]!r} is not a host name")
    return name

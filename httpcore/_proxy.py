"""A proxy as a value: where it is, what it may know, and which origins go through it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote_to_bytes

from ._config import SSLConfig, as_ssl
from ._errors import LocalProtocolError, ProxyError
from ._headers import Headers, HeaderTypes, Pair, encode_headers
from ._urls import Origin, parse_proxy_url

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["ChallengeHook", "Proxy", "ProxyTypes", "as_proxies"]

ChallengeHook = Callable[[ProxyError], "HeaderTypes | Awaitable[HeaderTypes | None] | None"]
ProxyTypes: TypeAlias = "Proxy | str | Sequence[Proxy | str]"

# RFC 1929, 2: a length is one byte.
_MAX_SOCKS_FIELD = 255
# They belong to one message or one hop, and we set them.
_NOT_OURS = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"te", b"trailer"})


@dataclass(frozen=True, slots=True, init=False)
class Proxy:
    """A proxy, and what it alone is told. Hashable: connections through different proxies, or with different
    credentials, are never shared.

    Args:
        url: str or bytes. `http://` and `https://` proxies forward requests for http origins, and make tunnels
            (CONNECT) for https ones; `socks5://` is given addresses that are resolved here, `socks5h://` resolves
            names itself. `user:password@` in it, percent-encoded, counts as `auth`.
        auth: (user, password), str (UTF-8) or bytes: as Basic credentials, or those of SOCKS5.
        headers: sent to the proxy with CONNECT, and with each request that it forwards; never through a tunnel.
        ssl: how an https proxy is verified: an `SSLConfig`, an `ssl.SSLContext` or a bool. The pool's own `ssl` is for
            origins alone.
        on_challenge: called with the `ProxyError` of a 407. Returns headers, to be sent with another try on the same
            connection, or None; in the async pool perhaps an awaitable of either. Five tries at most.

    Attributes:
        scheme, host, port: of the URL; the port is 80, 443 or 1080 where it names none.

    Raises:
        InvalidURL: the URL cannot be understood, or its scheme is no proxy's.
        LocalProtocolError: a header is not valid, the user contains a colon (RFC 7617, 2), or credentials are too long
            for SOCKS5 (RFC 1929).
        TypeError, ValueError.
    """

    scheme: str
    host: str
    port: int
    auth: tuple[bytes, bytes] | None
    headers: tuple[Pair, ...]
    ssl: SSLConfig | ssl_module.SSLContext
    on_challenge: ChallengeHook | None
    _authorization: tuple[Pair, ...] = field(repr=False, compare=False)

    def __init__(
        self,
        url: str | bytes,
        auth: tuple[str | bytes, str | bytes] | None = None,
        headers: HeaderTypes | None = None,
        ssl: SSLConfig | ssl_module.SSLContext | bool | None = None,
        *,
        on_challenge: ChallengeHook | None = None,
    ) -> None:
        origin, userinfo = parse_proxy_url(url)
        credentials = _userinfo(userinfo) if auth is None else _checked_auth(auth)
        fields = tuple(_checked_headers(headers))
        is_socks = origin.scheme.startswith("socks")
        if is_socks and (fields or ssl is not None or on_challenge is not None):
            raise ValueError("headers, ssl and on_challenge are for http and https proxies: SOCKS has none of them")
        if origin.scheme == "http" and ssl is not None:
            raise ValueError("ssl is for proxies that are spoken to in TLS: begin the proxy's URL with https://")
        if on_challenge is not None and not callable(on_challenge):
            raise TypeError(f"on_challenge is a callable, not {type(on_challenge).__name__}")
        if credentials is not None:
            _check_credentials(*credentials, is_socks)
            if any(name.lower() == b"proxy-authorization" for name, _ in fields):
                raise ValueError("auth and a header proxy-authorization exclude each other")
        values = {
            "scheme": origin.scheme,
            "host": origin.host,
            "port": origin.port,
            "auth": credentials,
            "headers": fields,
            "ssl": as_ssl(ssl),
            "on_challenge": on_challenge,
            "_authorization": () if credentials is None or is_socks else (_basic(*credentials),),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @staticmethod
    def from_environment() -> Callable[[Origin], Proxy | None]:
        """What HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say now, as `ConnectionPool(proxy=...)` takes it.

        Lower-case names win. HTTP_PROXY in upper case is left alone where REQUEST_METHOD is set (httpoxy), `localhost`
        and loopback addresses are always reached directly, and NO_PROXY takes `*`, names with their subdomains,
        `.suffixes`, addresses and networks in CIDR notation, each perhaps with `:port`.

        Raises: InvalidURL, LocalProtocolError: one of them is not a proxy's URL, or its credentials cannot be sent.
        """
        from ._proxy_environment import EnvironmentProxies

        environment = EnvironmentProxies()
        known = {url: Proxy(url) for url in environment.urls}

        def choose(origin: Origin) -> Proxy | None:
            url = environment(origin)
            return None if url is None else known[url]

        return choose

    @property
    def is_socks(self) -> bool:
        """Whether it makes tunnels by SOCKS5, and knows nothing of HTTP."""
        return self.scheme.startswith("socks")

    @property
    def address(self) -> str:
        """`host:port`, brackets around IPv6."""
        return Origin(self.scheme, self.host, self.port).address

    def headers_for(self, sent: Headers, answer: Sequence[Pair] = ()) -> list[Pair]:
        """What is added to a request that the proxy itself reads.

        Args:
            sent: the request's own, which win.
            answer: to a challenge, instead of our credentials.
        """
        answered = {name.lower() for name, _ in answer}
        own = [pair for pair in (*self._authorization, *self.headers) if pair[0].lower() not in answered]
        return [pair for pair in (*own, *answer) if sent.get(pair[0]) is None]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}"

    def __repr__(self) -> str:
        secrets = [name for name in ("auth", "headers") if getattr(self, name)]
        return f"Proxy({str(self)!r}{''.join(f', {name}=...' for name in secrets)})"


def as_proxies(value: object) -> tuple[Proxy, ...]:
    """What a caller gave for `proxy=`, or what his function returned: hops, the first one first.

    Raises: TypeError, and what `Proxy` raises.
    """
    match value:
        case None:
            return ()
        case Proxy():
            return (value,)
        case str():
            return (_proxy_of(value),)
        case list() | tuple():
            return tuple(hop for part in value for hop in as_proxies(part))
    raise TypeError(
        f"proxy is a Proxy, a URL, a sequence of them or a function of the origin, not {type(value).__name__}"
    )


@lru_cache(maxsize=256)
def _proxy_of(url: str) -> Proxy:
    return Proxy(url)


def _userinfo(userinfo: str | None) -> tuple[bytes, bytes] | None:
    if not userinfo:
        return None
    user, _, password = userinfo.partition(":")
    return unquote_to_bytes(user), unquote_to_bytes(password)


def _checked_auth(auth: object) -> tuple[bytes, bytes]:
    match auth:
        case (str() | bytes() as user, str() | bytes() as password):
            return _encoded(user), _encoded(password)
    raise TypeError("auth is (user, password), of str or bytes")  # not what it is, which may be a secret


def _encoded(text: str | bytes) -> bytes:
    try:
        return text if isinstance(text, bytes) else text.encode("utf-8")
    except UnicodeEncodeError:
        raise LocalProtocolError("the user or password of a proxy has a lone surrogate, no UTF-8 form") from None


def _check_credentials(user: bytes, password: bytes, is_socks: bool) -> None:
    if not is_socks:
        if b":" in user:
            raise LocalProtocolError("the user of a proxy contains a colon, which Basic allows in passwords alone")
    elif not user or max(len(user), len(password)) > _MAX_SOCKS_FIELD:
        raise LocalProtocolError("the user of a SOCKS5 proxy has 1 to 255 bytes, the password up to 255 (RFC 1929)")


def _basic(user: bytes, password: bytes) -> Pair:
    return b"proxy-authorization", b"Basic " + b64encode(user + b":" + password)


def _checked_headers(headers: HeaderTypes | None) -> list[Pair]:
    encoded = [] if headers is None else encode_headers(headers)
    for name, _ in encoded:
        if name.lower() in _NOT_OURS:
            raise LocalProtocolError(f"the header {name.decode('ascii')!r} cannot be given for a proxy")
    return encoded

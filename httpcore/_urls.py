"""URLs and origins: what is reached, and what is asked for there.

The parser is strict where readings differ between programs, because a URL that an allow-list reads one way and a
connection another way is a hole: an authority is what follows the last `@`, hosts that look like a number are refused
unless they are a plain dotted quad, and control characters or blanks are refused instead of being stripped.

Source: RFC 3986; RFC 5891 for internationalised names (`idna`, which anyio brings); the rule for hosts that end in a
number is the WHATWG URL standard's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, NoReturn

from ._errors import InvalidURL, UnsupportedProtocol

__all__ = ["DEFAULT_PORTS", "URL", "Origin", "parse_proxy_url", "parse_url"]

DEFAULT_PORTS = {"http": 80, "https": 443}
PROXY_PORTS = {**DEFAULT_PORTS, "socks5": 1080, "socks5h": 1080}

_URL = re.compile(r"([^:/?#]*):(//)?([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]")
_PORT = re.compile(r"[0-9]{0,5}")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_ZONE = re.compile(r"[A-Za-z0-9._~-]+")

# RFC 1035, 2.3.4: 255 octets on the wire, which is 253 characters of text.
_MAX_NAME = 253
# RFC 4291, 2.2: eight groups of four digits, the last two as a dotted quad.
_MAX_IPV6 = 45
# A program's own URLs repeat; hashing a longer one costs more than it saves, and the cache should stay small.
_CACHED_URL_LENGTH = 1024


class Origin(NamedTuple):
    """Where a request goes: scheme, host and port (RFC 9110, 4.3.1). Hashable, lower-case, the port always there.

    Args:
        scheme: "http" or "https".
        host: a name in A-label form, a dotted quad, or an IPv6 address without brackets.
        port: 1 to 65535.
    """

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> bytes:
        """`host[:port]` as it is sent in Host: brackets around IPv6, no default port, no zone."""
        host = self.host
        if ":" in host:
            host = f"[{host.partition('%')[0]}]"
        if DEFAULT_PORTS.get(self.scheme) == self.port:
            return host.encode("ascii")
        return f"{host}:{self.port}".encode("ascii")

    @property
    def address(self) -> str:
        """`host:port` for messages and for CONNECT, brackets around IPv6, the port always there."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}"


class URL:
    """A parsed http or https URL. Immutable; equal when origin and target are.

    Args:
        url: str, or ASCII bytes. Characters beyond ASCII in the path or query are sent percent-encoded as UTF-8; a
            host beyond ASCII is converted by IDNA 2008. A fragment is dropped, since it is never sent. Credentials
            before an `@` are dropped too: send them in a header of your own.

    Attributes:
        origin: the `Origin`.
        target: bytes of the request line, "/path?query" (RFC 9112, 3.2.1).

    Raises:
        InvalidURL: it cannot be understood, or would be read differently by others.
        UnsupportedProtocol: the scheme is neither http nor https.
    """

    __slots__ = ("origin", "target")

    origin: Origin
    target: bytes

    def __init__(self, url: str | bytes) -> None:
        self.origin, self.target = _parse(_as_text(url))

    @property
    def scheme(self) -> str:
        """ "http" or "https"."""
        return self.origin.scheme

    @property
    def host(self) -> str:
        """As in `Origin`."""
        return self.origin.host

    @property
    def port(self) -> int:
        """The scheme's own where the URL names none."""
        return self.origin.port

    def __str__(self) -> str:
        return f"{self.scheme}://{self.origin.authority.decode('ascii')}{self.target.decode('ascii')}"

    def __repr__(self) -> str:
        return f"URL({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, URL):
            return self.origin == other.origin and self.target == other.target
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.origin, self.target))


def parse_url(url: str | bytes | URL) -> URL:
    """The `URL` of whatever a caller gave; what repeats is not parsed again.

    Raises: InvalidURL, UnsupportedProtocol, TypeError.
    """
    if isinstance(url, str) and len(url) <= _CACHED_URL_LENGTH:
        return _cached_url(url)
    return url if isinstance(url, URL) else URL(url)


@lru_cache(maxsize=256)
def _cached_url(url: str) -> URL:
    return URL(url)


def _as_text(url: str | bytes) -> str:
    if isinstance(url, bytes):
        try:
            return url.decode("ascii")
        except UnicodeDecodeError as exc:
            _refuse("", f"bytes beyond ASCII at offset {exc.start}; percent-encode them, or pass a str")
    if not isinstance(url, str):
        raise TypeError(f"a URL is a str, bytes or URL, not {type(url).__name__}")
    return url


def _parse(text: str) -> tuple[Origin, bytes]:
    _, origin, path, query = _split(text, DEFAULT_PORTS)
    target = f"{path or '/'}{query}"
    return origin, target.encode("ascii") if target.isascii() else _percent_encode(target)


def parse_proxy_url(url: str | bytes) -> tuple[Origin, str | None]:
    """Where a proxy is, and the credentials in its URL, still percent-encoded.

    Raises: InvalidURL, TypeError. What they say contains no credentials.
    """
    try:
        userinfo, origin, path, query = _split(_as_text(url), PROXY_PORTS)
    except UnsupportedProtocol as exc:
        raise InvalidURL(f"not the URL of a proxy: {exc}") from None
    if path not in ("", "/") or query:
        _refuse("", "a proxy has no path and no query")
    return origin, userinfo


def _split(text: str, ports: Mapping[str, int]) -> tuple[str | None, Origin, str, str]:
    """Userinfo, origin, path and query."""
    if (forbidden := _FORBIDDEN.search(text)) is not None:
        _refuse("", f"{forbidden[0]!r} at offset {forbidden.start()}; percent-encode it")
    match = _URL.fullmatch(text)
    if match is None:
        raise UnsupportedProtocol(f"the URL {_shown(text)!r} has no scheme: begin it with {_choice(ports)}")
    scheme, slashes, authority, path, query = match.groups("")
    scheme = scheme.lower()
    if scheme not in ports:
        raise UnsupportedProtocol(f"the scheme {scheme[:40]!r} is not supported: use {_choice(ports)}")
    if not slashes:
        _refuse(text, f"there must be // after {scheme}:")
    if "\\" in authority:
        _refuse(text, "a backslash in the authority, which browsers read as a slash")
    userinfo, at, address = authority.rpartition("@")
    try:
        origin = _origin(scheme, address, ports[scheme])
    except InvalidURL:
        if "@" not in text[match.end(3) :]:
            raise
        # What was taken for the port may be the beginning of a password, so it is not shown.
        raise InvalidURL(
            "the host or port of the URL is not valid; if the @ behind it ends a password, percent-encode its / ? and #"
        ) from None
    return userinfo if at else None, origin, path, query


def _choice(schemes: Iterable[str]) -> str:
    return " or ".join(f"{scheme}://" for scheme in schemes)


@lru_cache(maxsize=1024)
def _origin(scheme: str, authority: str, default_port: int) -> Origin:
    """The origin of an authority from which credentials were already taken."""
    host, port = _host_and_port(authority)
    return Origin(scheme, host, port or default_port)


def parse_address(text: str) -> tuple[str, int | None]:
    """A host, as in `Origin`, and the port behind it, if there is one. An IPv6 address needs brackets for a port only.

    Raises: InvalidURL.
    """
    if text.count(":") > 1 and not text.startswith("["):
        return _ipv6(text), None
    return _host_and_port(text)


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        literal, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            _refuse(authority, "the brackets of an IPv6 address do not match")
        host, port = _ipv6(literal), rest[1:]
    else:
        name, _, port = authority.partition(":")
        host = _host(name)
    if _PORT.fullmatch(port) is None or (port and not 1 <= int(port) <= 65535):
        _refuse(authority, f"{port[:20]!r} is not a port: it is a number from 1 to 65535")
    return host, int(port) if port else None


def _host(name: str) -> str:
    if not name:
        _refuse(name, "the host is missing")
    if len(name) > _MAX_NAME + 1:  # with its last dot
        _refuse(name, f"the host is longer than {_MAX_NAME} characters")
    host = name.lower() if name.isascii() else _idna(name)
    if _NAME.fullmatch(host) is None or len(host.rstrip(".")) > _MAX_NAME:
        _refuse(name, "the host is neither a valid name nor an address")
    last = host.rstrip(".").rpartition(".")[2]
    if _NUMERIC_LABEL.fullmatch(last) is not None and _IPV4.fullmatch(host) is None:
        _refuse(name, "a host that ends in a number must be an IPv4 address of four decimal parts")
    if "xn--" in host:
        _idna(host)
    return host


def _idna(name: str) -> str:
    import idna

    try:
        return idna.encode(name, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as exc:
        reason = str(exc)[:80]  # it may show all of a label
        raise InvalidURL(f"the host {name[:80]!r} is not a valid internationalised name: {reason}") from exc


def _ipv6(literal: str) -> str:
    import ipaddress

    address, percent, zone = literal.partition("%25")
    if "%" in address or (percent and _ZONE.fullmatch(zone) is None):
        _refuse(literal, "the zone of an IPv6 address is letters and digits after %25")
    if len(address) > _MAX_IPV6:
        _refuse(literal, "an IPv6 address is not as long")
    try:
        canonical = ipaddress.IPv6Address(address)
    except ValueError as exc:
        raise InvalidURL(f"{address!r} is not an IPv6 address: {exc}") from exc
    return f"{canonical}%{zone}" if percent else str(canonical)


def _percent_encode(target: str) -> bytes:
    try:
        raw = target.encode("utf-8")
    except UnicodeEncodeError as exc:
        _refuse("", f"{target[exc.start]!r} is a lone surrogate, which has no UTF-8 form")
    return re.sub(rb"[\x80-\xff]+", lambda run: b"%" + run[0].hex("%").upper().encode("ascii"), raw)


def _shown(text: str) -> str:
    """As much of a bad URL as a message may show: no credentials, no query, not much."""
    text = re.split(r"[?#]", text, maxsplit=1)[0]
    return text.rpartition("@")[2][:80]


def _refuse(text: str, reason: str) -> NoReturn:
    raise InvalidURL(f"the URL {_shown(text)!r} is not valid: {reason}" if text else f"the URL is not valid: {reason}")

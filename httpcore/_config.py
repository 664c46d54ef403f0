"""What a pool is told once of timeouts, limits, HTTP/2 and TLS. Frozen values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

__all__ = ["HTTP2", "Limits", "SSLConfig", "Timeout"]

_UNSET: float = -1.0
# httpx's and httpcore's default, which their users know.
_DEFAULT_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True, init=False)
class Timeout:
    """How long each step may take, in seconds; None is for ever, 0 is at once.

    Args:
        timeout: sets connect, read, write and pool together.
        connect: name resolution, TCP, proxies and TLS together, whatever number of addresses is tried.
        read: the wait for the whole response head, and then for each next part of the body.
        write: the wait for the peer to take what is sent.
        pool: the wait for a connection where the limits are reached.
        total: bounds everything, from the wait for a connection to the last byte of the body. None by default.
    """

    connect: float | None
    read: float | None
    write: float | None
    pool: float | None
    total: float | None

    def __init__(
        self,
        timeout: float | None = _DEFAULT_TIMEOUT,
        *,
        connect: float | None = _UNSET,
        read: float | None = _UNSET,
        write: float | None = _UNSET,
        pool: float | None = _UNSET,
        total: float | None = None,
    ) -> None:
        given = {"connect": connect, "read": read, "write": write, "pool": pool}
        for name, seconds in given.items():
            object.__setattr__(self, name, _seconds(name, timeout if seconds is _UNSET else seconds))
        object.__setattr__(self, "total", _seconds("total", total))


def _seconds(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"the timeout {name!r} is a number of seconds or None, not {value!r}")
    if not value >= 0:
        raise ValueError(f"the timeout {name!r} is {value!r}; it is 0 or more seconds, or None for no timeout")
    return None if value == math.inf else float(value)


def as_timeout(timeout: Timeout | float | None) -> Timeout:
    """A `Timeout` of what a caller gave: itself, or a number of seconds for the four.

    Raises: TypeError, ValueError.
    """
    return timeout if isinstance(timeout, Timeout) else Timeout(timeout)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the pool may hold. None is no limit.

    Args:
        max_connections: open and opening connections in all. 100, as in httpx and Go's default for idle ones.
        max_connections_per_origin: the same per origin, so that one hung host cannot take all of them. What is sent
            to an origin with `ssl` or a server name of its own counts by itself.
        max_keepalive_connections: idle connections kept; the least recently used one goes first.
        keepalive_expiry: seconds for which an idle connection is kept. 15, as in aiohttp.
        max_connection_age: seconds after which a connection is retired, at the end of its request.
        max_requests_per_connection: requests after which it is retired.
        max_header_bytes: bytes of one response head, interim ones included, in HTTP/2 with 32 more for each field.
            256 KiB, as in Chromium.
        max_header_count: header fields of one response head. 500. Trailers have bounds of their own, Go's: 100 fields,
            and in HTTP/1.1 16 KiB.
    """

    max_connections: int | None = 100
    max_connections_per_origin: int | None = None
    max_keepalive_connections: int | None = None
    keepalive_expiry: float | None = 15.0
    max_connection_age: float | None = None
    max_requests_per_connection: int | None = None
    max_header_bytes: int = 256 * 1024
    max_header_count: int = 500

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is None and name not in _ALWAYS:
                continue
            or_none = "" if name in _ALWAYS else ", or None for no limit"
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"the limit {name!r} is a whole number{or_none}, not {value!r}")
            if value < least:
                raise ValueError(f"the limit {name!r} is {value!r}; it is {least} or more{or_none}")
        for name in ("keepalive_expiry", "max_connection_age"):
            _seconds(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class HTTP2:
    """How HTTP/2 is spoken: `ConnectionPool(http2=HTTP2(...))`.

    Args:
        max_concurrent_streams: requests that one connection carries at once, unless the peer allows fewer. 100, which
            RFC 9113 recommends as the least that a peer should allow.
        stream_window: bytes of one response that are held while nobody reads it; 4 MiB, as in Go.
        connection_window: bytes that the peer may send on all streams before it hears from us; 16 MiB, about
            Chromium's. It is given back as bytes come, so that a response nobody reads holds up no other.
        max_frame_size: bytes of one frame that we take, from 16 KiB (RFC 9113's least) to 16 MiB. 64 KiB.
        max_header_list_size: bytes of one response head, names, values and 32 a field together. 256 KiB, as in
            Chromium; `Limits.max_header_bytes` where that is less.
        ping_interval: seconds without a byte from the peer, while requests wait for it, after which it is asked for a
            sign of life; None never asks.
        ping_timeout: seconds that it has to give one, before the connection is given up.
    """

    max_concurrent_streams: int = 100
    stream_window: int = 4 * 1024 * 1024
    connection_window: int = 16 * 1024 * 1024
    max_frame_size: int = 64 * 1024
    max_header_list_size: int = 256 * 1024
    ping_interval: float | None = None
    ping_timeout: float = 10.0

    def __post_init__(self) -> None:
        for name, (least, most) in _HTTP2_BOUNDS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"the HTTP/2 setting {name!r} is a whole number, not {value!r}")
            if not least <= value <= most:
                raise ValueError(f"the HTTP/2 setting {name!r} is {value!r}; it is from {least} to {most}")
        for name in ("ping_interval", "ping_timeout"):
            _seconds(name, getattr(self, name))


# RFC 9113, 6.5.2 and 6.9.1. A window of its default size at least, or a peer that has not read our settings breaks it.
_HTTP2_BOUNDS = {
    "max_concurrent_streams": (1, 2**31 - 1),
    "stream_window": (65_535, 2**31 - 1),
    "connection_window": (65_535, 2**31 - 1),
    "max_frame_size": (16_384, 2**24 - 1),
    "max_header_list_size": (1024, 2**31 - 1),
}
_ALWAYS = frozenset({"max_header_bytes", "max_header_count"})
_LEAST = {
    "max_connections": 1,
    "max_connections_per_origin": 1,
    "max_keepalive_connections": 0,
    "max_requests_per_connection": 1,
    "max_header_bytes": 1024,
    "max_header_count": 1,
}


@dataclass(frozen=True, slots=True)
class SSLConfig:
    """How TLS peers are verified, and who we are to them. Where SSLKEYLOGFILE names a file, the secrets of connections
    are appended to it, unless Python ignores its environment (`-E`).

    Args:
        verify: True verifies against certifi's roots (or SSL_CERT_FILE and SSL_CERT_DIR where they are set); a path
            to a file or directory verifies against the roots there; False verifies nothing, for tests only.
        cert: a client certificate: the path of a PEM file with certificate and key, or (certificate, key), or
            (certificate, key, password).
        truststore: verify against the operating system's store, by the `truststore` package (extra `truststore`).
    """

    verify: bool | str = True
    cert: str | tuple[str, ...] | None = None
    truststore: bool = False

    def __init__(
        self,
        verify: bool | str | PathLike[str] = True,
        cert: str | PathLike[str] | tuple[str | PathLike[str], ...] | None = None,
        *,
        truststore: bool = False,
    ) -> None:
        if not isinstance(verify, (bool, str, PathLike)):
            raise TypeError(f"verify is True, False or a path, not {type(verify).__name__}")
        if isinstance(cert, tuple) and not 2 <= len(cert) <= 3:
            raise ValueError(f"cert is (certificate, key) or (certificate, key, password), not {len(cert)} parts")
        if truststore and verify is not True:
            raise ValueError("truststore verifies against the system's store: leave verify=True with it")
        if not isinstance(truststore, bool):
            raise TypeError(f"truststore is True or False, not {type(truststore).__name__}")
        object.__setattr__(self, "verify", verify if isinstance(verify, bool) else fspath(verify))
        object.__setattr__(self, "cert", _checked_cert(cert))
        object.__setattr__(self, "truststore", truststore)

    def __repr__(self) -> str:
        cert = self.cert[:2] if isinstance(self.cert, tuple) else self.cert
        return f"SSLConfig(verify={self.verify!r}, cert={cert!r}, truststore={self.truststore})"


def _checked_cert(cert: str | PathLike[str] | tuple[str | PathLike[str], ...] | None) -> str | tuple[str, ...] | None:
    if cert is None:
        return None
    parts = cert if isinstance(cert, tuple) else (cert,)
    for part in parts:
        if not isinstance(part, (str, PathLike)):  # its value may be a password
            raise TypeError(f"cert is a path, or (certificate, key[, password]), not of {type(part).__name__}")
    paths = tuple(fspath(part) for part in parts)
    return paths if isinstance(cert, tuple) else paths[0]


def as_ssl(value: SSLConfig | ssl.SSLContext | bool | None) -> SSLConfig | ssl.SSLContext:
    """What a caller gave for `ssl=` as a value that can be part of a route.

    Raises: TypeError.
    """
    if value is None:
        return _DEFAULT_SSL
    if isinstance(value, bool):
        return SSLConfig(verify=value)
    if isinstance(value, SSLConfig) or hasattr(value, "wrap_bio"):
        return value
    raise TypeError(f"ssl is an SSLConfig, an ssl.SSLContext or a bool, not {type(value).__name__}")


_DEFAULT_SSL = SSLConfig()

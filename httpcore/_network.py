"""How sockets are made: what a pool is told of addresses, names and options."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import cast

__all__ = ["Network", "Resolver", "SocketOption"]

SocketOption = tuple[int, int, int | bytes]
Resolver = Callable[[str, int], "Sequence[str] | Awaitable[Sequence[str]]"]
"""A host and a port to IP addresses as text, in the order in which they are to be tried."""


@dataclass(frozen=True, slots=True)
class Network:
    """How sockets are made.

    Args:
        local_address: the address, or (address, port), that connections leave from.
        uds: path of a unix socket to connect to instead of TCP, whatever the URL's host is; a leading NUL is a name
            in Linux's abstract namespace.
        socket_options: (level, option, value) triples, set before connecting and after our own: TCP_NODELAY,
            keepalive probes and, on Linux, TCP_USER_TIMEOUT.
        resolver: called with (host, port) instead of the system's resolver; returns IP addresses, or in the async
            pool an awaitable of them.
    """

    local_address: str | tuple[str, int] | None = None
    uds: str | None = None
    socket_options: tuple[SocketOption, ...] = ()
    resolver: Resolver | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "socket_options", _checked_options(self.socket_options))
        if self.uds is not None and not isinstance(self.uds, str):
            if not isinstance(self.uds, PathLike):
                raise TypeError(f"uds is a path, not {type(self.uds).__name__}")
            object.__setattr__(self, "uds", fspath(self.uds))
        if self.local_address is not None:
            _check_local_address(self.local_address)
        if self.uds is not None and self.local_address is not None:
            raise ValueError("uds and local_address exclude each other: a unix socket has no local address")
        if self.resolver is not None and not callable(self.resolver):
            raise TypeError(f"resolver is a callable of (host, port), not {type(self.resolver).__name__}")


def _checked_options(options: Iterable[SocketOption]) -> tuple[SocketOption, ...]:
    if not isinstance(options, Iterable) or isinstance(options, (str, bytes)):
        raise TypeError(f"socket_options are triples of (level, option, value), not {options!r}")
    checked = tuple(tuple(option) if isinstance(option, (tuple, list)) else option for option in options)
    for option in checked:
        match option:
            case (int(), int(), int() | bytes()):
                continue
        raise TypeError(
            f"one of socket_options is {option!r}; each is (level, option, value), of int, int, int or bytes"
        )
    return cast("tuple[SocketOption, ...]", checked)


def _check_local_address(local: object) -> None:
    import ipaddress

    match local:
        case str(address) | (str(address), int()):
            try:
                ipaddress.ip_address(address)
            except ValueError:  # a name would have to be resolved, which blocks
                raise ValueError(f"local_address {address!r} is not an IP address") from None
        case _:
            raise TypeError(f"local_address is an IP address or (address, port), not {local!r}")

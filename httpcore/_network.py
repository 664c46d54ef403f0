"""How sockets are made: what a pool is told of addresses, names and options."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, cast

from ._urls import parse_address

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from ._fetch_options import FetchOptions

__all__ = ["AllowAddress", "Network", "Resolver", "SocketOption"]

SocketOption = tuple[int, int, int | bytes]
Resolver = Callable[[str, int], "Sequence[str] | Awaitable[Sequence[str]]"]
"""A host and a port to IP addresses as text, the best first."""
AllowAddress = Callable[[str, "IPv4Address | IPv6Address", int], bool]
"""A host, one of its addresses and a port to whether it may be connected to."""

# The kernel's IFNAMSIZ, without the NUL at its end.
_MAX_INTERFACE = 15


class HostOverrides(Mapping[str, tuple[str, ...]]):
    """A mapping that is a value: frozen, hashable, its names as they stand in an `Origin`."""

    __slots__ = ("_hash", "_targets")

    def __init__(self, given: Mapping[str, str | Sequence[str]]) -> None:
        if not isinstance(given, Mapping):
            raise TypeError(f"host_overrides are a mapping of names to addresses, not {type(given).__name__}")
        self._targets = dict(_checked_override(name, targets) for name, targets in given.items())
        self._hash = hash(frozenset(self._targets.items()))

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return self._targets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return repr(self._targets)


_NO_OVERRIDES = HostOverrides({})


@dataclass(frozen=True, slots=True)
class Network:
    """How sockets are made.

    Args:
        local_address: the address, or (address, port), that connections leave from.
        uds: path of a unix socket to connect to instead of TCP, whatever the URL's host is; a leading NUL is a name
            in Linux's abstract namespace.
        socket_options: (level, option, value) triples, set before connecting and after our own: TCP_NODELAY,
            keepalive probes and, on Linux, TCP_USER_TIMEOUT.
        resolver: called with (host, port) instead of the system's resolver; returns IP addresses, the best first. An
            `async def` is for the async pool; a plain function is called in a thread of ours, so that it may block.
            Those who ask for the same name at once share one call.
        interface: name of the network interface that connections leave by (SO_BINDTODEVICE). On Linux only.
        dns_cache_ttl: seconds for which the addresses of a name are remembered; 0 remembers nothing. 10, as in aiohttp.
            They are forgotten at once where none of them can be connected to. That a name does not exist is remembered
            for a second; other failures are not.
        host_overrides: names, to what is connected to instead of them: an address or a name, with or without a port,
            or several of these: `{"api.example": "127.0.0.1:8443"}`. What is sent, in Host and in TLS, stays as it is.
        allow_address: called with (host, address, port) before each connection, for each address of the host, and for
            those in URLs; the address is an `ipaddress.IPv4Address` or `IPv6Address` (of one that is mapped, the IPv4
            address that it stands for). What it returns False for is not connected to; what it raises ends the attempt.
            What it has seen is what is connected to, so that a name cannot change its mind in between. Where a proxy
            resolves the name, it sees the proxy's address alone. It must not block.
        fetch: what JavaScript's fetch is told, where it carries the requests (Pyodide).
    """

    local_address: str | tuple[str, int] | None = None
    uds: str | None = None
    socket_options: tuple[SocketOption, ...] = ()
    resolver: Resolver | None = None
    interface: str | None = None
    dns_cache_ttl: float = 10.0
    host_overrides: Mapping[str, str | Sequence[str]] = _NO_OVERRIDES
    allow_address: AllowAddress | None = None
    fetch: FetchOptions | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "socket_options", _checked_options(self.socket_options))
        if not isinstance(self.host_overrides, HostOverrides):
            object.__setattr__(self, "host_overrides", HostOverrides(self.host_overrides))
        if self.uds is not None and not isinstance(self.uds, str):
            if not isinstance(self.uds, PathLike):
                raise TypeError(f"uds is a path, not {type(self.uds).__name__}")
            object.__setattr__(self, "uds", fspath(self.uds))
        if self.local_address is not None:
            _check_local_address(self.local_address)
        if self.interface is not None:
            _check_interface(self.interface)
        if self.uds is not None:
            for name in ("local_address", "interface", "allow_address"):
                if getattr(self, name) is not None:
                    raise ValueError(f"uds and {name} exclude each other: a unix socket has no IP address")
        if self.resolver is not None and not callable(self.resolver):
            raise TypeError(f"resolver is a callable of (host, port), not {type(self.resolver).__name__}")
        _check_ttl(self.dns_cache_ttl)
        if self.allow_address is not None:
            _check_allow_address(self.allow_address)
        if self.fetch is not None:
            from ._fetch_options import checked_fetch_options

            object.__setattr__(self, "fetch", checked_fetch_options(self.fetch))


def _checked_override(name: str, targets: str | Sequence[str]) -> tuple[str, tuple[str, ...]]:
    several = tuple(targets) if isinstance(targets, Sequence) and not isinstance(targets, str) else (targets,)
    if not isinstance(name, str) or not several or not all(isinstance(target, str) for target in several):
        raise TypeError(f"one of host_overrides is {name!r}: {targets!r}; it is a name, and a str or several of them")
    try:
        host, port = parse_address(name)
        for target in several:
            parse_address(target)
    except ValueError as exc:
        raise ValueError(f"one of host_overrides is {name!r}: {targets!r}: {exc}") from exc
    if port is not None:
        raise ValueError(f"one of host_overrides is for {name!r}; it is for a name, whatever the port")
    return host, several


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


def _check_interface(interface: object) -> None:
    import socket

    if not isinstance(interface, str):
        raise TypeError(f"interface is the name of one, not {interface!r}")
    if not 1 <= len(interface.encode()) <= _MAX_INTERFACE or "\0" in interface:
        raise ValueError(f"interface is {interface!r}; a name has 1 to {_MAX_INTERFACE} bytes")
    if not hasattr(socket, "SO_BINDTODEVICE"):
        raise ValueError("interface needs SO_BINDTODEVICE, which is there on Linux only; use local_address")


def _check_ttl(seconds: object) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"dns_cache_ttl is a number of seconds, not {seconds!r}")
    if not seconds >= 0:
        raise ValueError(f"dns_cache_ttl is {seconds!r}; it is 0 or more seconds")


def _check_allow_address(hook: object) -> None:
    if not callable(hook):
        raise TypeError(f"allow_address is a callable of (host, address, port), not {type(hook).__name__}")
    if inspect.iscoroutinefunction(hook):  # what it returns would be true, whatever it means
        raise TypeError("allow_address is a plain function, not an async one")

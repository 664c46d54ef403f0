"""Host and port -> stream: which addresses the name has, which of them may be used, and which answers first.

Whatever fails or is cancelled leaves no socket open.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from ._clock import Clock
from ._errors import ConnectError, ConnectTimeout
from ._network import Network
from ._resolver import Found, Names, literal
from ._streams import Address, Backend, Stream
from ._urls import parse_address

__all__ = ["dial", "resolve"]

# More addresses than this of one name are not tried: nobody publishes as many, but an attacker's resolver may.
_MAX_ADDRESSES = 32


async def dial(
    host: str, port: int, network: Network, names: Names, backend: Backend, clock: Clock, deadline: float
) -> Stream:
    """Connect to whichever address of a host answers first, all within one deadline.

    Args:
        names: what the pool remembers of names.

    Raises: ConnectError, ConnectTimeout, and what `network.allow_address` raises.
    Cancellation: nothing is left open.
    """
    began = clock.now()
    if network.uds is not None:
        peer = f"the unix socket {network.uds!r}"
        addresses = [Address(socket.AF_UNIX, network.uds, None, None, network.socket_options, peer)]
    else:
        found = await resolve(host, port, network, names, backend, clock, deadline)
        addresses = [address for address in found if _fits(address)]
        if not addresses:
            raise ConnectError(f"the name {host} has no address of the local address's family")
    clock.phase = "connecting"
    try:
        stream, chosen = await backend.connect(addresses, deadline, clock.now() - began)
    except (ConnectError, ConnectTimeout):
        for target, target_port in _targets(host, port, network):
            names.drop(target, target_port, network)
        raise
    if len(addresses) > 1 and any(address.family != chosen.family for address in addresses):
        names.note_family(host, chosen.family, clock.now())
    return stream


async def resolve(
    host: str, port: int, network: Network, names: Names, backend: Backend, clock: Clock, deadline: float
) -> list[Address]:
    """The addresses of a host that may be used, in the order in which they are to be tried; at least one.

    Raises: as `dial`.
    """
    found: list[Found] = []
    for target, target_port in _targets(host, port, network):
        known = literal(target, target_port)
        if known is not None:
            found.append(known)
        else:
            clock.phase = f"resolving {target}"
            found += await names.find(target, target_port, network, backend, deadline)
    if not found:
        raise ConnectError(f"the name {host} has no address")
    ordered = names.interleave(host, found, clock.now())[:_MAX_ADDRESSES]
    return [_address(item, network) for item in _allowed(host, ordered, network)]


def _targets(host: str, port: int, network: Network) -> Sequence[tuple[str, int]]:
    """What is connected to instead of a host."""
    overrides = network.host_overrides.get(host) if network.host_overrides else None
    if overrides is None:
        return [(host, port)]
    return [(target, port if own_port is None else own_port) for target, own_port in map(parse_address, overrides)]


def _address(found: Found, network: Network) -> Address:
    family, target = found
    local = (network.local_address, 0) if isinstance(network.local_address, str) else network.local_address
    host, port = target[0], target[1]
    peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Address(family, target, local, network.interface, network.socket_options, peer)


def _fits(address: Address) -> bool:
    """Whether the local address is of the same family."""
    return address.local is None or (":" in address.local[0]) == (address.family == socket.AF_INET6)


def _allowed(host: str, found: list[Found], network: Network) -> list[Found]:
    """Those that `allow_address` lets pass.

    Raises: ConnectError where there is none, and what it raises.
    """
    if network.allow_address is None:
        return found
    import ipaddress

    allowed = []
    for item in found:
        target, port = item[1][:2]
        ip = ipaddress.ip_address(target)
        # What is mapped leaves as IPv4, past a hook that looks for IPv4's private addresses.
        answer = network.allow_address(host, getattr(ip, "ipv4_mapped", None) or ip, port)
        if answer is True:
            allowed.append(item)
        elif answer is not False:  # nothing, or a coroutine, is no permission
            raise TypeError(f"allow_address returns True or False, not {answer!r}")
    if not allowed:
        raise ConnectError(f"allow_address refused {host}: {', '.join(target[0] for _, target in found)}")
    return allowed

"""Host and port -> stream: resolve the name, and try its addresses until one answers.

Whatever fails or is cancelled leaves no socket open.
"""

from __future__ import annotations

import inspect
import socket
from collections.abc import Awaitable, Sequence
from typing import cast

from ._clock import Clock
from ._errors import ConnectError, ConnectTimeout, HTTPCoreError
from ._network import Network
from ._streams import Address, Backend, Stream

__all__ = ["dial", "resolve"]

# More addresses than this of one name are not tried: nobody publishes as many, but an attacker's resolver may.
_MAX_ADDRESSES = 32
# What an attempt gets at least while there are more addresses, unless it were more than half of what is left of the
# connect timeout (RFC 8305 recommends 250 ms before the next attempt is started).
_LEAST_ATTEMPT = 0.25


async def dial(host: str, port: int, network: Network, backend: Backend, clock: Clock, deadline: float) -> Stream:
    """Try the addresses of a host one after another, all within one deadline.

    Raises: ConnectError, ConnectTimeout.
    Cancellation: nothing is left open.
    """
    if network.uds is not None:
        name = f"the unix socket {network.uds!r}"
        addresses = [Address(socket.AF_UNIX, network.uds, None, network.socket_options, name)]
    else:
        found = await resolve(host, port, network, backend, clock, deadline)
        addresses = [address for address in found if _fits(address)]
        if not addresses:
            raise ConnectError(f"the name {host} has no address of the local address's family")
    clock.phase = "connecting"
    errors: list[HTTPCoreError] = []
    try:
        for index, address in enumerate(addresses):
            try:
                return await backend.connect(address, _share(clock.now(), deadline, len(addresses) - index))
            except (ConnectError, ConnectTimeout) as exc:
                errors.append(exc)
                if clock.now() >= deadline:
                    break
        raise _sum(errors, len(addresses))
    finally:
        errors.clear()  # their tracebacks hold this frame, which would make a cycle


def _sum(errors: Sequence[HTTPCoreError], count: int) -> HTTPCoreError:
    """One error for those of all attempts, at `count` addresses."""
    if len(errors) == 1:
        return errors[0]
    last = errors[-1]
    reasons = "; ".join(str(error) for error in errors)
    if isinstance(last, ConnectTimeout):
        total: HTTPCoreError = ConnectTimeout(f"none of {count} addresses answered in time: {reasons}")
    else:
        total = ConnectError(f"none of {count} addresses could be connected to: {reasons}")
    total.__cause__ = last
    return total


def _share(now: float, deadline: float, left: int) -> float:
    """The deadline of one attempt, when `left` addresses share what remains; each of them gets its turn."""
    remaining = deadline - now
    return now + max(remaining / left, min(remaining / 2, _LEAST_ATTEMPT))


async def resolve(
    host: str, port: int, network: Network, backend: Backend, clock: Clock, deadline: float
) -> list[Address]:
    """The addresses of a host, at least one, in the order in which they are to be tried.

    Raises: ConnectError, ConnectTimeout.
    """
    literal = _literal(host, port)
    if literal is not None:
        found: Sequence[tuple[int, tuple[str, int] | tuple[str, int, int, int]]] = [literal]
    else:
        clock.phase = f"resolving {host}"
        found = await _resolve(host, port, network, backend, deadline)
    addresses = [_address(family, target, network) for family, target in dict.fromkeys(found)]
    if not addresses:
        raise ConnectError(f"the name {host} has no address")
    return addresses[:_MAX_ADDRESSES]


def _literal(host: str, port: int) -> tuple[int, tuple[str, int] | tuple[str, int, int, int]] | None:
    """Family and address of a host that is an address already."""
    if ":" in host:
        found = socket.getaddrinfo(host, port, socket.AF_INET6, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        return socket.AF_INET6, cast("tuple[str, int, int, int]", found[0][4])
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        return None
    return socket.AF_INET, (host, port)


async def _resolve(
    host: str, port: int, network: Network, backend: Backend, deadline: float
) -> Sequence[tuple[int, tuple[str, int] | tuple[str, int, int, int]]]:
    try:
        if network.resolver is None:
            return await backend.resolve(host, port, deadline)
        answer = network.resolver(host, port)
        ips = await _until(answer, backend, deadline) if inspect.isawaitable(answer) else answer
        return [found for ip in ips if (found := _literal(ip, port)) is not None]
    except TimeoutError as exc:
        raise ConnectTimeout(f"the name {host} was not resolved in time") from exc
    except (OSError, UnicodeError) as exc:
        raise ConnectError(f"the name {host} does not resolve: {getattr(exc, 'strerror', None) or exc}") from exc


async def _until(answer: Awaitable[Sequence[str]], backend: Backend, deadline: float) -> Sequence[str]:
    try:
        return await backend.until(answer, deadline)
    finally:
        if inspect.iscoroutine(answer):
            answer.close()  # in blocking code nobody has awaited it


def _address(family: int, target: tuple[str, int] | tuple[str, int, int, int], network: Network) -> Address:
    local = (network.local_address, 0) if isinstance(network.local_address, str) else network.local_address
    host, port = target[0], target[1]
    return Address(
        family, target, local, network.socket_options, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    )


def _fits(address: Address) -> bool:
    """Whether the local address is of the same family."""
    return address.local is None or (":" in address.local[0]) == (address.family == socket.AF_INET6)

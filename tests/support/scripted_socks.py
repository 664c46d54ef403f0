"""The server's side of a SOCKS5 handshake, step by step (RFC 1928, RFC 1929), for scripts of `peer.py`.

    def script(conn: Conn) -> None:
        greet(conn, PASSWORD)
        assert read_password(conn) == (b"user", b"password")
        conn.send(b"\\x01\\x00")
        host, port = read_target(conn)
        conn.send(reply(0))
        serve(conn)                                            # or `conn.start_tls` before that

or, for all of it, `accept(conn)`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from .peer import Conn

__all__ = ["NONE_ACCEPTED", "NO_AUTH", "PASSWORD", "Target", "accept", "greet", "read_password", "read_target", "reply"]

NO_AUTH, PASSWORD, NONE_ACCEPTED = 0, 2, 0xFF
_ADDRESS_SIZES = {1: 4, 4: 16}


@dataclass(frozen=True)
class Target:
    """What a client wants to be connected to. `host` as text; `is_name` where the proxy is to resolve it."""

    host: str
    port: int
    is_name: bool


def read_greeting(conn: Conn) -> list[int]:
    """The methods that the client offers."""
    version, count = conn.recv_exactly(2)
    assert version == 5, version
    assert count, "no method is offered"
    return list(conn.recv_exactly(count))


def greet(conn: Conn, method: int) -> list[int]:
    """Read the greeting, and choose a method. Returns: what was offered."""
    offered = read_greeting(conn)
    conn.send(bytes([5, method]))
    return offered


def read_password(conn: Conn) -> tuple[bytes, bytes]:
    version, length = conn.recv_exactly(2)
    assert version == 1, version
    user = conn.recv_exactly(length)
    return user, conn.recv_exactly(conn.recv_exactly(1)[0])


def read_target(conn: Conn) -> Target:
    version, command, reserved, kind = conn.recv_exactly(4)
    assert (version, command, reserved) == (5, 1, 0), (version, command, reserved)
    if kind == 3:
        host = conn.recv_exactly(conn.recv_exactly(1)[0]).decode("ascii")
    else:
        host = str(ipaddress.ip_address(conn.recv_exactly(_ADDRESS_SIZES[kind])))
    return Target(host, int.from_bytes(conn.recv_exactly(2), "big"), kind == 3)


def reply(code: int = 0, bound: bytes = b"\x01\x7f\x00\x00\x01", version: int = 5, reserved: int = 0) -> bytes:
    """The answer to a request.

    Args:
        bound: type and address of where the proxy is bound.
    """
    return bytes([version, code, reserved]) + bound + b"\x1f\x90"


def accept(conn: Conn, auth: tuple[bytes, bytes] | None = None) -> Target:
    """The whole handshake, as a good server has it."""
    if auth is None:
        assert NO_AUTH in greet(conn, NO_AUTH)
    else:
        assert PASSWORD in greet(conn, PASSWORD)
        assert read_password(conn) == auth
        conn.send(b"\x01\x00")
    target = read_target(conn)
    conn.send(reply())
    return target

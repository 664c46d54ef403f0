"""The client's side of a SOCKS5 handshake, as bytes in and bytes out (RFC 1928, RFC 1929).

A handshake is a generator. It yields what is to be sent, and how many bytes it wants to hear then; it is sent exactly
so many. When it returns, what follows on the stream is the tunnel.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Generator

from ._errors import LocalProtocolError, ProxyError

__all__ = ["Handshake", "handshake"]

Handshake = Generator[tuple[bytes, int], bytes, None]

_VERSION = 5
_NO_AUTH, _PASSWORD, _NONE_ACCEPTED = 0, 2, 0xFF
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
# RFC 1928, 6.
_REPLIES = {
    1: "general failure",
    2: "connection not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


def handshake(host: str, port: int, auth: tuple[bytes, bytes] | None) -> Handshake:
    """Ask for a tunnel to `host`, a name or an address.

    Raises: LocalProtocolError, at the first step: the name is too long. ProxyError: the proxy refuses, or speaks
        another protocol.
    """
    request = bytes([_VERSION, _CONNECT, 0]) + _encoded(host) + port.to_bytes(2, "big")
    method = _NO_AUTH if auth is None else _PASSWORD
    reply = yield bytes([_VERSION, 1, method]), 2
    _check_version(reply)
    if reply[1] == _NONE_ACCEPTED:
        what = "to be used without a user and password" if auth is None else "a user and password"
        raise ProxyError(f"the proxy does not accept {what}")
    if reply[1] != method:
        raise ProxyError(f"the proxy chose the authentication method {reply[1]}, which it was not offered")
    if auth is not None:
        yield from _authenticate(*auth)
    reply = yield request, 4
    _check_version(reply)
    if reply[1] != 0:
        error = ProxyError(f"the proxy did not connect to {host}:{port}: {_REPLIES.get(reply[1], f'code {reply[1]}')}")
        error.socks_code = reply[1]
        raise error
    if reply[2] != 0:
        raise ProxyError("the proxy does not speak SOCKS5: a reserved byte is not zero")
    # Where the proxy is bound is of no use to us, but has to be read.
    match reply[3]:
        case 1:
            yield b"", 4 + 2
        case 4:
            yield b"", 16 + 2
        case 3:
            length = yield b"", 1
            yield b"", length[0] + 2
        case unknown:
            raise ProxyError(f"the proxy does not speak SOCKS5: it is bound to an address of the type {unknown}")


def _authenticate(user: bytes, password: bytes) -> Handshake:
    """RFC 1929."""
    reply = yield bytes([1, len(user)]) + user + bytes([len(password)]) + password, 2
    if reply[0] != 1:
        raise ProxyError(f"the proxy does not speak SOCKS5: its authentication has the version {reply[0]}")
    if reply[1] != 0:
        raise ProxyError("the proxy refused the user and password")


def _check_version(reply: bytes) -> None:
    if reply[0] != _VERSION:
        hint = "; is it an http:// proxy?" if reply[:1] == b"H" else ""
        raise ProxyError(f"the proxy does not speak SOCKS5: its version is {reply[0]}{hint}")


def _encoded(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        name = host.encode("ascii")
        if len(name) > 255:
            raise LocalProtocolError("a name for a SOCKS5 proxy has at most 255 bytes (RFC 1928, 5)") from None
        return bytes([_NAME, len(name)]) + name
    return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed

"""What a proxy that speaks badly says to CONNECT, before it closes the connection (h_101, h_garbage, h_close_0)."""

from __future__ import annotations

__all__ = ["BAD_REPLIES"]

_SETTINGS = bytes.fromhex("000000040000000000")
BAD_REPLIES: dict[str, bytes] = {
    "h_101": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "garbage": b"\x00\xff garbage\r\n\r\n",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nx: \0\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>\r\n\r\n",
    "HTTP/2": _SETTINGS * 2,
    "TLS": bytes.fromhex("15030100020228"),
    "HTTP/3.0": b"HTTP/3.0 200 OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a header without a colon": b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n",
    "a folded header": b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "SOCKS": b"\x05\x00",
    "a line without end": b"HTTP/1.1 200 " + b"x" * 300_000,
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 60_000,
    "interim responses without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000,
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nx: y\r\n",
    "one byte": b"H",
}

"""What peers say where TLS is spoken, or should be."""

from __future__ import annotations

__all__ = ["FRAMED", "GARBAGE", "PLAIN", "UNTIL_CLOSE"]

PLAIN = {
    "HTTP/1.1": b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n",
    "SMTP": b"220 smtp.example.org ESMTP\r\n",
    "HTTP/2": b"\x00\x00\x00\x04\0\0\0\0\0",
}
"""Answers to a ClientHello, of who speaks no TLS (g_plain)."""

GARBAGE = {
    "an oversize record": b"\x16\x03\x03\xff\xff" + b"x" * 0xFFFF,
    "an unknown content type": b"\x63\x03\x03\x00\x01x",
    "a bad version": b"\x16\x09\x09\x00\x01x",
    "a flood of warning alerts": b"\x15\x03\x03\x00\x02\x01\x5a" * 10_000,
    "a fatal alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "application data too early": b"\x17\x03\x03\x00\x05hello",
    "a flood of empty records": b"\x16\x03\x03\x00\x00" * 10_000,
    "a handshake message of 16 MB": b"\x16\x03\x03\x40\x00\x02\xff\xff\xff" + b"x" * (0x4000 - 4),
    "noise": bytes(range(256)) * 64,
}
"""Answers to a ClientHello that are none (g_garbage)."""

UNTIL_CLOSE = {
    "HTTP/1.1": b"HTTP/1.1 200 OK\r\n\r\nsome of it",
    "HTTP/1.1 without a byte": b"HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nsome of it",
}
"""Responses that the end of the connection ends (g_trunc)."""

FRAMED = {
    "content-length": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "announced close": b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
}
"""And such as say themselves where they end."""

"""What peers over TLS do again and again, and how they are reached."""

from __future__ import annotations

import contextlib

from httpcore import Network

from .peer import Conn, Disconnected

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
TO_LOOPBACK = Network(resolver=lambda host, port: ["127.0.0.1"])
"""Every name is this machine's."""


def hello(conn: Conn) -> None:
    """A script that answers each request."""
    while True:
        conn.read_request()
        conn.send(HELLO)


def drop_the_rest(conn: Conn) -> None:
    """Read beneath TLS until the client is gone: it may have an alert to send."""
    with contextlib.suppress(Disconnected):
        while conn.socket.recv(65_536):
            pass

"""Where names lead in tests of connecting: a peer that greets, and addresses at which nobody answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from httpcore import Network
from tests.support.black_hole import black_hole
from tests.support.peer import Conn

__all__ = ["HELLO", "black_holes", "hello", "to"]

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def hello(conn: Conn) -> None:
    while True:
        conn.read_request()
        conn.send(HELLO)


def to(*ips: str) -> Network:
    """Every name has these addresses."""
    return Network(resolver=lambda host, port: ips)


@contextmanager
def black_holes(port: int, *hosts: str) -> Iterator[None]:
    """Some of them, at a given port, unlike the fixture `black_hole`."""
    with ExitStack() as stack:
        for host in hosts:
            stack.enter_context(black_hole(host, port))
        yield

"""An address that never answers a connection attempt, without leaving the machine."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def black_hole(host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[str, int]]:
    """Host and port of a listening socket whose backlog is full: Linux drops further SYNs instead of refusing them."""
    with contextlib.ExitStack() as stack:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = stack.enter_context(socket.socket(family))
        listener.bind((host, port))
        listener.listen(0)
        address: tuple[str, int] = listener.getsockname()[:2]
        while not _is_known_to_be_full(listener):
            # A backlog of n holds n + 1; until it is full, connections succeed at once.
            filler = stack.enter_context(socket.socket(family))
            filler.settimeout(0.5)
            try:
                filler.connect(address)
            except TimeoutError:
                break
        yield address


def _is_known_to_be_full(listener: socket.socket) -> bool:
    """What `ss -l` shows: of a listening socket, Linux tells its backlog in two fields of struct tcp_info."""
    if sys.platform != "linux":
        return False
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    waiting, most = (int.from_bytes(info[at : at + 4], sys.byteorder) for at in (24, 28))  # tcpi_unacked, tcpi_sacked
    return waiting > most

"""The worlds we run in, found by what is running now."""

from __future__ import annotations

import sys
from collections.abc import Callable

from .._streams import Backend

__all__ = ["NAMES", "SYNC", "BackendChoice", "make_backend", "uses_fetch", "uses_node"]

NAMES = ("asyncio", "anyio", "trio", "blocking")
SYNC = "sync"
"""What the sync pool chooses for those who choose nothing: blocking code over whatever carries requests here."""
BackendChoice = str | Callable[[], Backend] | None


def uses_fetch(choice: BackendChoice) -> bool:
    """Whether JavaScript's fetch carries the requests: under Pyodide, unless sockets are asked for by name."""
    return sys.platform == "emscripten" and choice in (None, SYNC)


def uses_node(choice: BackendChoice) -> bool:
    """Whether Node's sockets do: under Pyodide, where they are asked for by name."""
    return sys.platform == "emscripten" and choice in NAMES


def make_backend(choice: BackendChoice = None) -> Backend:
    """The backend of that name, or what the callable makes; for None that of the event loop that is running now.

    Raises: RuntimeError outside of asyncio and trio.
    """
    if callable(choice):
        return choice()
    if uses_fetch(choice):
        from .emscripten import BlockingFetchBackend, FetchBackend

        return FetchBackend() if choice is None else BlockingFetchBackend()
    if uses_node(choice):
        from .node import BlockingNodeBackend, NodeBackend

        return BlockingNodeBackend() if choice == "blocking" else NodeBackend()
    if choice in ("blocking", SYNC):
        from .blocking import BlockingBackend

        return BlockingBackend()
    if choice in ("anyio", "trio") or (choice is None and _is_in_trio()):
        from .anyio import AnyIOBackend

        return AnyIOBackend()
    from .asyncio import AsyncioBackend

    return AsyncioBackend()


def _is_in_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_run()

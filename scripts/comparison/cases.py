"""What is measured: a case is a scripted peer, and what a client makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .contenders import HTTP11
from .driver import Driver


@dataclass(frozen=True)
class Case:
    """One way of a peer to behave.

    Args:
        id: of the row of tests that it is.
        row: of the project's list of faults that it belongs to; its own id where that list has none.
        play: drives a client against the peer, and says what came of it; None where the client cannot be measured.
        kind: what a client has to be capable of.
    """

    id: str
    row: str
    play: Callable[[Driver], str | None]
    kind: str = HTTP11

    def __str__(self) -> str:
        return self.id

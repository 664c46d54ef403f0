"""One rule for all clients.

A case passes where the response is delivered as its peer meant it, or refused with an error of the client's own, as the
row of the case asks for, and where afterwards two more requests of the same client to the same peer get their own
responses, and no connection is left besides the one that they used. Where the row, or an RFC, leaves a choice, either
is right. A client that sends a GET again (RFC 9110, 9.2.2) is measured by what comes of that: it meets the same fault.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .driver import Crash, Driver, Hang, Outcome
from .messages import Ask, Failure, Reply

PASS = "pass"

MEANINGS = {
    PASS: "as the row asks for",
    "accepts": "the response was taken, or its rest waited for, where the row asks for an error",
    "refuses": "an error came where the row asks for the response",
    "delivers something else": "a response was delivered, with another status or body than the peer sent",
    "wrong error type": "an error of a class that is not the client's own, which is named behind it",
    "hangs": "nothing came before the client's own timeout",
    "hangs beyond its timeout": "nothing came before three times that timeout",
    "crashes": "the process ended",
    "loses the sibling": "another request on the same HTTP/2 connection ended in an error",
    "cuts the sibling off": "another response on the same HTTP/2 connection ended early or wrongly, without an error",
    "poisons the next request": "one of two further requests got bytes that were not meant for it",
    "fails the next request": "one of two further requests to the peer, which serves by then, ended in an error",
    "sends too often": "a request was sent again, or more often than once again, where that is not safe",
    "leaves a connection open": "after that, more than one connection was open",
}
"""What outcomes are called. Where more than one thing went wrong, commas are between them. Hangs and crashes say where,
unless it was at the first request: "at the sibling", "at the next request"."""


@dataclass(frozen=True)
class Rule:
    """What is right.

    Args:
        meant: whether a response was delivered as the peer meant it; None where none may be delivered.
        may_refuse: whether an error is right.
        is_bad: whether there is something wrong with what the peer sends.
    """

    meant: Callable[[Reply], bool] | None
    may_refuse: bool
    is_bad: bool = True


_numbers = itertools.count(1)
# For a peer's thread, or the client's, to be told of an end.
_SETTLING = 2.0


class Reached(Protocol):
    """A peer that answers a GET with its target."""

    @property
    def origin(self) -> str: ...

    @property
    def open_connections(self) -> int: ...


def of_response(outcome: Outcome, rule: Rule) -> str:
    """What a client made of a response."""
    match outcome:
        case Reply():
            if rule.meant is not None and rule.meant(outcome):
                return PASS
            return "accepts" if rule.is_bad else "delivers something else"
        case Failure(is_own=False):
            return f"wrong error type ({outcome.kind})"
        case Failure():
            return PASS if rule.may_refuse else "refuses"
    return of_end(outcome)


def of_end(outcome: Hang | Crash) -> str:
    match outcome:
        case Hang(is_endless=True):
            return "hangs beyond its timeout"
        case Hang():
            return "hangs"
    return "crashes"


def of_what_follows(client: Driver, peer: Reached) -> str:
    """What became of two more requests, and of the connections; nothing where the client was lost before."""
    if not client.is_alive:
        return PASS
    for _ in range(2):
        target = f"/marker/{next(_numbers)}"
        outcome = client.request(Ask("GET", peer.origin + target))
        match outcome:
            case Reply(status=200, body=body) if body == target.encode():
                continue
            case Reply():
                return "poisons the next request"
            case Failure():
                return "fails the next request"
            case Hang() | Crash():
                return f"{of_end(outcome)} at the next request"
    client.collect()
    return PASS if _settles(lambda: peer.open_connections <= 1) else "leaves a connection open"


def together(*outcomes: str) -> str:
    """All that went wrong, each once."""
    wrong = dict.fromkeys(outcome for outcome in outcomes if outcome != PASS)
    return ", ".join(wrong) or PASS


def _settles(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _SETTLING
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True

"""How the bytes of a peer are cut, by a byte of the input."""

from __future__ import annotations

import random

__all__ = ["BYTEWISE", "WHOLE", "pieces"]

WHOLE, BYTEWISE = 0, 1
_SIZES = (1, 1, 2, 3, 5, 9, 16, 40, 100, 1000)
# A piece costs some turns of an event loop; what is longer is cut into larger pieces.
_MOST = 200


def pieces(wire: bytes, cut: int) -> list[bytes]:
    """The same bytes, in pieces; none is empty.

    Args:
        cut: `WHOLE`, `BYTEWISE`, or the seed of a choice of sizes.
    """
    if cut == WHOLE:
        return [wire] if wire else []
    sizes, found, start = random.Random(cut), [], 0
    least = 1 + len(wire) // _MOST
    while start < len(wire):
        size = least * (1 if cut == BYTEWISE else sizes.choice(_SIZES))
        found.append(wire[start : start + size])
        start += size
    return found

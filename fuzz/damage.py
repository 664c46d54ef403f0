"""Damaged seeds by chance, the same for the same seed of chance: for runs that need no search."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from .targets import Target

__all__ = ["damaged"]

# What parsers trip over.
_TOKENS = (
    b"\r\n", b"\n", b"\r\n\r\n", b"\0", b"\xff", b" ", b"\t", b":", b",", b";", b"0\r\n\r\n", b"chunked", b"HTTP/1.1 ",
    b"100", b"101", b"204", b"999", b"content-length: 1\r\n", b"transfer-encoding: chunked\r\n", b"%", b"@", b"[",
    b"connection: close\r\n", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x04\x00", b"\x1f\x8b", b"\xed\xa0\x80",
)  # fmt: skip
_LONGEST = 4096


def _cut(data: bytes, at: int, chance: random.Random) -> bytes:
    return data[:at]


def _drop(data: bytes, at: int, chance: random.Random) -> bytes:
    return data[:at] + data[at + chance.randint(1, 8) :]


def _repeat(data: bytes, at: int, chance: random.Random) -> bytes:
    part = data[at : at + chance.randint(1, 40)]
    return data[:at] + part * chance.randint(2, 4) + data[at + len(part) :]


def _change(data: bytes, at: int, chance: random.Random) -> bytes:
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _flip(data: bytes, at: int, chance: random.Random) -> bytes:
    return data[:at] + bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]


def _insert(data: bytes, at: int, chance: random.Random) -> bytes:
    return data[:at] + chance.choice(_TOKENS) + data[at:]


_WAYS: tuple[Callable[[bytes, int, random.Random], bytes], ...] = (_cut, _drop, _repeat, _change, _flip, _insert)


def _place(data: bytes, chance: random.Random) -> int:
    """Anywhere, or as often at the end of a line or of a name, where parsers differ."""
    at = chance.randint(0, len(data))
    if chance.random() < 0.5:
        return at
    found = data.find(chance.choice((b"\r", b":")), at)
    return at if found < 0 else found + chance.randint(0, 1)


def damaged(target: Target, count: int, seed: int) -> Iterator[bytes]:
    """So many inputs: seeds that were damaged once to four times, some grafted on another."""
    chance, seeds = random.Random(seed), list(target.seeds())
    for _ in range(count):
        data = chance.choice(seeds)
        if chance.random() < 0.2:
            other = chance.choice(seeds)
            data = data[: chance.randint(2, max(2, len(data)))] + other[chance.randint(2, max(2, len(other))) :]
        for _ in range(chance.randint(1, 4)):
            data = chance.choice(_WAYS)(data, _place(data, chance), chance)
        yield data[:_LONGEST]

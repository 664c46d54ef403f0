"""The targets, by name."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Protocol, cast

__all__ = ["TARGETS", "Target", "load"]

TARGETS = (
    "http11_engines",
    "http11_pool",
    "http2_engine",
    "http2_pool",
    "decoders",
    "socks",
    "proxy_answers",
    "inputs",
    "no_proxy",
)


class Target(Protocol):
    """A module of this package."""

    def seeds(self) -> Iterator[bytes]: ...

    def check(self, data: bytes) -> None: ...


def load(name: str) -> Target:
    return cast("Target", importlib.import_module(f"fuzz.{name}"))

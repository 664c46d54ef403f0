"""httpcore 1.x, on asyncio by way of anyio."""

from __future__ import annotations

from ..messages import Setup
from . import is_of, versions
from .httpcore2 import Pool


def describe() -> str:
    return versions("httpcore", "h11", "h2")


def is_own(exc: BaseException) -> bool:
    return is_of(exc, "httpcore")


def open_client(setup: Setup) -> Pool:
    return Pool(setup, "httpcore")

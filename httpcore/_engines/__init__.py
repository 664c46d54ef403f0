"""Sans-I/O protocol engines, chosen by name: bytes in, our events out."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import TYPE_CHECKING

from .._config import HTTP2

if TYPE_CHECKING:
    from .http2 import HTTP2Engine
    from .http11 import HTTP11Engine

__all__ = ["HTTP2_ENGINES", "HTTP11_ENGINES", "is_installed", "make_http2_engine", "make_http11_engine"]

HTTP11_ENGINES = ("auto", "h11", "httptools", "zttp")
HTTP2_ENGINES = ("h2",)


def is_installed(name: str) -> bool:
    """Whether the library of an engine is there; h11 and h2 always are."""
    return name in ("auto", "h11", "h2") or importlib.util.find_spec(name) is not None


def make_http11_engine(name: str, max_header_bytes: int, max_header_count: int) -> HTTP11Engine:
    """A new engine for one connection: "h11", "httptools", "zttp", or "auto" for httptools where it is installed."""
    return _engine_class(name)(max_header_bytes, max_header_count)


@cache
def _engine_class(name: str) -> type[HTTP11Engine]:
    if name == "httptools" or (name == "auto" and is_installed("httptools")):
        from .httptools import HttptoolsEngine

        return HttptoolsEngine
    if name == "zttp":
        from .zttp import ZttpEngine

        return ZttpEngine
    from .h11 import H11Engine

    return H11Engine


def make_http2_engine(settings: HTTP2, max_header_bytes: int) -> HTTP2Engine:
    """A new engine for one connection: h2."""
    from .h2 import H2Engine

    return H2Engine(settings, min(settings.max_header_list_size, max_header_bytes))

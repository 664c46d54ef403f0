"""httpcore: an async-first, low-level HTTP client core.

    async with httpcore.ConnectionPool() as http:
        response = await http.request("GET", "https://example.org/")

Everything public is here. Modules load when a name of theirs is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._config import HTTP2, Limits, SSLConfig, Timeout
    from ._errors import (
        ConnectError,
        ConnectTimeout,
        DecodingError,
        HTTPCoreError,
        InvalidURL,
        LocalProtocolError,
        NetworkError,
        PoolClosed,
        PoolTimeout,
        ProtocolError,
        ProxyError,
        ReadError,
        ReadTimeout,
        RemoteProtocolError,
        ResponseNotRead,
        StreamClosed,
        StreamConsumed,
        TimeoutException,
        TotalTimeout,
        UnsupportedProtocol,
        WriteError,
        WriteTimeout,
    )
    from ._fetch_options import FetchInfo, FetchOptions
    from ._headers import Headers
    from ._network import AllowAddress, Network, Resolver
    from ._network_stream import NetworkStream
    from ._pool import ConnectionPool
    from ._proxy import Proxy
    from ._request import Request
    from ._response import Response
    from ._stats import ConnectionStats, OriginStats, PoolStats
    from ._streams import StreamInfo
    from ._sync import SyncConnectionPool, SyncNetworkStream, SyncResponse
    from ._trace import (
        Connected,
        ConnectFailed,
        Connecting,
        ConnectionAcquired,
        ConnectionClosed,
        InformationalReceived,
        RequestFailed,
        RequestResent,
        RequestStarted,
        ResponseEnded,
        ResponseStarted,
        TraceEvent,
    )
    from ._urls import URL, Origin

__version__ = "2.0.0.dev0"

_MODULES = {
    "_config": ("HTTP2", "Limits", "SSLConfig", "Timeout"),
    "_errors": (
        "ConnectError", "ConnectTimeout", "DecodingError", "HTTPCoreError", "InvalidURL", "LocalProtocolError",
        "NetworkError", "PoolClosed", "PoolTimeout", "ProtocolError", "ProxyError", "ReadError", "ReadTimeout",
        "RemoteProtocolError", "ResponseNotRead", "StreamClosed", "StreamConsumed", "TimeoutException", "TotalTimeout",
        "UnsupportedProtocol", "WriteError", "WriteTimeout",
    ),
    "_fetch_options": ("FetchInfo", "FetchOptions"),
    "_headers": ("Headers",),
    "_network": ("AllowAddress", "Network", "Resolver"),
    "_network_stream": ("NetworkStream",),
    "_pool": ("ConnectionPool",),
    "_proxy": ("Proxy",),
    "_request": ("Request",),
    "_response": ("Response",),
    "_stats": ("ConnectionStats", "OriginStats", "PoolStats"),
    "_streams": ("StreamInfo",),
    "_sync": ("SyncConnectionPool", "SyncNetworkStream", "SyncResponse"),
    "_trace": (
        "ConnectFailed", "Connected", "Connecting", "ConnectionAcquired", "ConnectionClosed", "InformationalReceived",
        "RequestFailed", "RequestResent", "RequestStarted", "ResponseEnded", "ResponseStarted", "TraceEvent",
    ),
    "_urls": ("URL", "Origin"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "HTTP2", "URL", "AllowAddress", "ConnectError", "ConnectFailed", "ConnectTimeout", "Connected", "Connecting",
    "ConnectionAcquired", "ConnectionClosed", "ConnectionPool", "ConnectionStats", "DecodingError", "FetchInfo",
    "FetchOptions", "HTTPCoreError", "Headers", "InformationalReceived", "InvalidURL", "Limits", "LocalProtocolError",
    "Network", "NetworkError", "NetworkStream", "Origin", "OriginStats", "PoolClosed", "PoolStats", "PoolTimeout",
    "ProtocolError", "Proxy", "ProxyError", "ReadError", "ReadTimeout", "RemoteProtocolError", "Request",
    "RequestFailed", "RequestResent", "RequestStarted", "Resolver", "Response", "ResponseEnded", "ResponseNotRead",
    "ResponseStarted", "SSLConfig", "StreamClosed", "StreamConsumed", "StreamInfo", "SyncConnectionPool",
    "SyncNetworkStream", "SyncResponse", "Timeout", "TimeoutException", "TotalTimeout", "TraceEvent",
    "UnsupportedProtocol", "WriteError", "WriteTimeout",
]  # fmt: skip


if not TYPE_CHECKING:  # else type checkers would take any name for one of ours

    def __getattr__(name: str) -> object:
        module = _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module 'httpcore' has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"httpcore.{module}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Run the ASGI application in uvicorn or hypercorn, in clear and over TLS; `servers.py` does so in another process.

Prints the two ports as soon as connections to them succeed, then serves until it is ended.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, cast

from tests.support.app import app


async def serve_uvicorn(clear: socket.socket, tls: socket.socket, chain: str, key: str) -> None:
    import uvicorn

    options: dict[str, Any] = {"lifespan": "off", "log_level": "info", "timeout_graceful_shutdown": 1}
    in_clear = uvicorn.Server(uvicorn.Config(app, **options))
    over_tls = uvicorn.Server(uvicorn.Config(app, ssl_certfile=chain, ssl_keyfile=key, **options))
    await asyncio.gather(in_clear.serve([clear]), over_tls.serve([tls]))


async def serve_hypercorn(clear: socket.socket, tls: socket.socket, chain: str, key: str) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind, config.insecure_bind = [f"fd://{tls.detach()}"], [f"fd://{clear.detach()}"]
    config.certfile, config.keyfile = chain, key
    config.graceful_timeout = 1
    config.accesslog = "-"
    await serve(cast("Any", app), config)


def listen() -> socket.socket:
    # asyncio sets TCP_NODELAY only where the protocol is named; without it a response in two writes takes 40 ms.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    sock.listen(1024)
    return sock


SERVERS = {"uvicorn": serve_uvicorn, "hypercorn": serve_hypercorn}


def main(name: str, chain: str, key: str) -> None:
    clear, tls = listen(), listen()
    print(clear.getsockname()[1], tls.getsockname()[1], flush=True)
    # Their access logs are for whoever looks into a failure.
    sys.stdout = sys.stderr
    asyncio.run(SERVERS[name](clear, tls, chain, key))


if __name__ == "__main__":
    main(*sys.argv[1:])

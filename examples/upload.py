"""An upload that is made while it is sent. python examples/upload.py [url]"""

import asyncio
import sys
from collections.abc import AsyncIterator

import httpcore

URL = sys.argv[1] if len(sys.argv) > 1 else "https://example.org/"


async def lines() -> AsyncIterator[bytes]:
    for number in range(10_000):
        yield b"line %d\n" % number


async def main() -> None:
    async with httpcore.ConnectionPool() as http:
        response = await http.request("POST", URL, headers={"content-type": "text/plain"}, body=lines())
        print(response.status_code, response.reason)


asyncio.run(main())

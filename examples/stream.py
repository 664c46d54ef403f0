"""A download of any size in little memory, decoded on the way. python examples/stream.py [url]"""

import asyncio
import sys

import httpcore

URL = sys.argv[1] if len(sys.argv) > 1 else "https://example.org/"


async def main() -> None:
    async with httpcore.ConnectionPool() as http:
        response = await http.request("GET", URL, stream=True)
        size = 0
        async for part in response.stream():
            size += len(part)
        print(response.status_code, size, "bytes")


asyncio.run(main())

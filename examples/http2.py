"""A hundred requests at once over one connection, where the server speaks HTTP/2. python examples/http2.py [url]"""

import asyncio
import sys

import httpcore

URL = sys.argv[1] if len(sys.argv) > 1 else "https://example.org/"


async def main() -> None:
    settings = httpcore.HTTP2(stream_window=1024 * 1024, ping_interval=15.0)
    async with httpcore.ConnectionPool(http2=settings) as http:
        responses = await asyncio.gather(*(http.request("GET", URL) for _ in range(100)))
        print(len(responses), "answers in", responses[0].http_version)
        print("connections:", http.stats().opened)
        print("streams:", *(response.extensions.get("stream_id") for response in responses))


asyncio.run(main())

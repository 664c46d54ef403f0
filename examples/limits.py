"""A hundred requests at once over ten connections, none longer than ten seconds. python examples/limits.py [url]"""

import asyncio
import sys

import httpcore

URL = sys.argv[1] if len(sys.argv) > 1 else "https://example.org/"


async def main() -> None:
    limits = httpcore.Limits(max_connections=10, keepalive_expiry=30.0)
    timeout = httpcore.Timeout(connect=2.0, read=5.0, pool=None, total=10.0)
    async with httpcore.ConnectionPool(limits=limits, timeout=timeout) as http:
        responses = await asyncio.gather(*(http.request("GET", URL) for _ in range(100)))
        print(sum(response.status_code == 200 for response in responses), "answers")
        print(http)


asyncio.run(main())

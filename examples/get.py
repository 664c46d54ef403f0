"""One GET. python examples/get.py [url]"""

import asyncio
import sys

import httpcore

URL = sys.argv[1] if len(sys.argv) > 1 else "https://example.org/"


async def main() -> None:
    async with httpcore.ConnectionPool() as http:
        response = await http.request("GET", URL)
        print(response.status_code, response.reason, response.http_version)
        print(response.headers.get("content-type"))
        print(len(response.body), "bytes")


asyncio.run(main())

"""A GET through proxies, or as the environment says. python examples/proxy.py [url] [proxy ...]"""

import asyncio
import sys

import httpcore

URL = sys.argv[1] if len(sys.argv) > 1 else "https://example.org/"
PROXIES = [httpcore.Proxy(url) for url in sys.argv[2:]]


async def main() -> None:
    async with httpcore.ConnectionPool(proxy=PROXIES or httpcore.Proxy.from_environment()) as http:
        try:
            response = await http.request("GET", URL)
        except httpcore.ProxyError as exc:
            print("refused:", exc.status_code, exc.reason)
            print(exc)
        else:
            through = f", through {', '.join(map(str, PROXIES))}" if PROXIES else ""
            print(f"{response.status_code} {response.reason} in {response.http_version}{through}")


asyncio.run(main())

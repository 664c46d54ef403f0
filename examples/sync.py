"""The same without await: no event loop, no threads. python examples/sync.py [url]"""

import sys

import httpcore

URL = sys.argv[1] if len(sys.argv) > 1 else "https://example.org/"

with httpcore.SyncConnectionPool() as http:
    response = http.request("GET", URL)
    print(response.status_code, response.reason, len(response.body), "bytes")

    with http.request("GET", URL, stream=True) as response:
        print(sum(len(part) for part in response.stream()), "bytes, streamed")

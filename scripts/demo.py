"""The library at work, against a server of its own on loopback; `scripts/demo` runs it. Ends 0 only if all held."""

import asyncio
import gzip
import hashlib
import logging
import resource
import runpy
import socket
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import trustme
import uvicorn

import httpcore

MB = 1024 * 1024
DOWNLOAD_MB = 64
UPLOAD_MB = 32

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


# The server


async def app(scope: Message, receive: Receive, send: Send) -> None:
    async def answer(body: bytes, *headers: tuple[bytes, bytes], more: bool = False) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": more})

    if scope["path"] == "/upload":
        await answer((await digest_of_body(receive)).encode())
    elif scope["path"] == "/download":
        # Members of one megabyte each make one valid gzip body (RFC 1952, 2.2).
        await answer(b"", (b"content-encoding", b"gzip"), more=True)
        member = gzip.compress(b"0123456789abcdef" * (MB // 16), compresslevel=1)
        for _ in range(DOWNLOAD_MB):
            await send({"type": "http.response.body", "body": member, "more_body": True})
        await send({"type": "http.response.body"})
    elif scope["path"] == "/silence":
        while (await receive())["type"] != "http.disconnect":
            pass
    else:
        await asyncio.sleep(0.01 if scope["path"] == "/wait" else 0)
        await answer(b"hello from " + scope["path"].encode(), (b"content-type", b"text/plain"))


async def digest_of_body(receive: Receive) -> str:
    digest = hashlib.sha256()
    while True:
        message = await receive()
        digest.update(message.get("body", b""))
        if not message.get("more_body"):
            return digest.hexdigest()


@contextmanager
def serving(application: Any, **options: Any) -> Iterator[int]:
    """An ASGI application on a free port of loopback, in a thread of its own; gives the port."""
    # asyncio sets TCP_NODELAY only where the protocol is named; without it every second answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", timeout_graceful_shutdown=1, **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


# What is shown


class Report:
    """Prints what is tried and whether it held."""

    def __init__(self) -> None:
        self.failures = 0

    def title(self, text: str) -> None:
        print(f"\n{text}")

    def check(self, what: str, holds: bool, seen: object = "") -> None:
        self.failures += not holds
        print(f"  {'ok  ' if holds else 'FAIL'}  {what}" + (f": {seen}" if seen != "" else ""))

    async def error(self, what: str, expected: type[Exception], request: Awaitable[httpcore.Response]) -> None:
        try:
            response = await request
        except expected as exc:
            again = "may have been processed" if getattr(exc, "request_sent", False) else "safe to send again"
            self.check(what, bool(str(exc)), f"{type(exc).__name__}, {again}\n          {exc}")
        else:
            self.check(what, False, f"no {expected.__name__} but {response!r}")


def peak_memory_mb() -> float:
    """Of this process, ever. Kilobytes on Linux, bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (MB if sys.platform == "darwin" else 1024)


async def show_requests(report: Report, http: httpcore.ConnectionPool, plain: str, secure: str) -> None:
    report.title("Requests")
    response = await http.request("GET", f"{plain}/there")
    seen = f"{response.status_code} {response.reason} {response.http_version}, {response.body!r}"
    report.check("GET", response.body == b"hello from /there", seen)
    response = await http.request("GET", f"{secure}/there")
    report.check("GET over TLS, verified by our own authority", response.status_code == 200, response.body)
    response = await http.request("POST", f"{plain}/upload", body="text")
    report.check("POST", response.body == hashlib.sha256(b"text").hexdigest().encode())


async def show_streams(report: Report, http: httpcore.ConnectionPool, plain: str) -> None:
    report.title("Streams")
    before, size, parts = peak_memory_mb(), 0, 0
    async with await http.request("GET", f"{plain}/download", stream=True) as response:
        async for part in response.stream():
            size, parts = size + len(part), parts + 1
    seen = f"{size // MB} MB out of gzip in {parts} parts"
    report.check("download, decoded on the way", size == DOWNLOAD_MB * MB, seen)

    sent = hashlib.sha256()

    async def made_while_sent() -> AsyncIterator[bytes]:
        for number in range(UPLOAD_MB):
            part = bytes([number]) * MB
            sent.update(part)
            yield part

    response = await http.request("POST", f"{plain}/upload", body=made_while_sent())
    report.check("upload, made while it is sent", response.body.decode() == sent.hexdigest(), f"{UPLOAD_MB} MB")
    grown = peak_memory_mb() - before
    # Client and server share this process, so this is the memory of both.
    report.check("memory stayed flat", grown < 32, f"+{grown:.1f} MB")


async def show_limits(report: Report, plain: str) -> None:
    report.title("A hundred at once, ten connections")
    async with httpcore.ConnectionPool(limits=httpcore.Limits(max_connections=10)) as http:
        begun = time.perf_counter()
        responses = await asyncio.gather(*(http.request("GET", f"{plain}/wait") for _ in range(100)))
        seconds = time.perf_counter() - begun
        ok = sum(response.status_code == 200 for response in responses)
        report.check("all answered", ok == 100, f"{ok} in {seconds * 1000:.0f} ms, of 10 ms each")
        report.check("over few connections", 1 <= len(http.connections) <= 10, http)
        print(f"        {http.stats()}")

        tasks = [asyncio.create_task(http.request("GET", f"{plain}/silence")) for _ in range(50)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        response = await http.request("GET", f"{plain}/after")
        report.check("fifty cancelled, and the pool as good as before", response.status_code == 200, http)


async def show_errors(report: Report, http: httpcore.ConnectionPool, plain: str, secure: str) -> None:
    report.title("Errors that speak")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # without listening, so that connecting is refused
        refused = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        await report.error("nobody listens", httpcore.ConnectError, http.request("GET", refused))
    async with httpcore.ConnectionPool() as strangers:
        await report.error("an authority nobody knows", httpcore.ConnectError, strangers.request("GET", f"{secure}/"))
    patience = httpcore.Timeout(5, read=0.2)
    silent = http.request("POST", f"{plain}/silence", body=b"x", timeout=patience)
    await report.error("no answer", httpcore.ReadTimeout, silent)
    silent = http.request("GET", f"{plain}/silence", timeout=httpcore.Timeout(total=0.2))
    await report.error("a deadline for everything", httpcore.TotalTimeout, silent)
    injected = http.request("GET", f"{plain}/", headers={"x-name": "a\r\nx-injected: b"})
    await report.error("an injection", httpcore.LocalProtocolError, injected)
    await report.error("a scheme of another kind", httpcore.UnsupportedProtocol, http.request("GET", "ftp://x/"))
    response = await http.request("GET", f"{plain}/after")
    report.check("afterwards the pool works as before", response.status_code == 200)


def show_blocking(report: Report, plain: str, secure: str, ca: str) -> None:
    report.title("Without await")
    with httpcore.SyncConnectionPool(ssl=httpcore.SSLConfig(verify=ca)) as http:
        response = http.request("GET", f"{secure}/there")
        report.check("GET over TLS", response.body == b"hello from /there", response.body)
        with http.request("GET", f"{plain}/download", stream=True) as streamed:
            size = sum(len(part) for part in streamed.stream())
        report.check("download, decoded on the way", size == DOWNLOAD_MB * MB, f"{size // MB} MB")
        with ThreadPoolExecutor(8) as threads:
            bodies = set(threads.map(lambda _: http.request("GET", f"{plain}/thread").body, range(200)))
        report.check("two hundred requests from eight threads", bodies == {b"hello from /thread"}, http)


async def show_gateway(report: Report, http: httpcore.ConnectionPool, gateway: str) -> None:
    report.title("Through the ASGI gateway of examples/gateway.py")
    response = await http.request("GET", f"{gateway}/there")
    report.check("GET", response.body == b"hello from /there", response.body)
    response = await http.request("POST", f"{gateway}/upload", body=iter([b"a" * MB] * 8))
    report.check("upload", response.body.decode() == hashlib.sha256(b"a" * 8 * MB).hexdigest(), "8 MB")
    size = 0
    async with await http.request("GET", f"{gateway}/download", {"accept-encoding": "gzip"}, stream=True) as response:
        async for part in response.stream():
            size += len(part)
    encoding = response.headers.get("content-encoding")
    report.check(
        "what the client asked for passes untouched", encoding == b"gzip" and size < MB, f"{size} bytes of gzip"
    )
    async with await http.request("GET", f"{gateway}/download", stream=True, decompress=False) as response:
        size = sum([len(part) async for part in response.stream()])
    report.check("else it is decoded", size == DOWNLOAD_MB * MB, f"{size // MB} MB")


async def show(report: Report, plain: str, secure: str, gateway: str, ca: str) -> None:
    async with httpcore.ConnectionPool(ssl=httpcore.SSLConfig(verify=ca)) as http:
        await show_requests(report, http, plain, secure)
        await show_streams(report, http, plain)
        await show_limits(report, plain)
        await show_errors(report, http, plain, secure)
        await show_gateway(report, http, gateway)


def main() -> int:
    logging.getLogger("gateway").setLevel(logging.ERROR)
    report = Report()
    Gateway = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "gateway.py"))["Gateway"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        plain = f"http://127.0.0.1:{stack.enter_context(serving(app))}"
        secure = f"https://127.0.0.1:{stack.enter_context(serving(app, ssl_certfile=folder / 'server.pem'))}"
        gateway = f"http://127.0.0.1:{stack.enter_context(serving(Gateway(plain)))}"
        print(f"httpcore against its own server: {plain}, {secure}, and a gateway before it, {gateway}")
        asyncio.run(show(report, plain, secure, gateway, str(folder / "ca.pem")))
        show_blocking(report, plain, secure, str(folder / "ca.pem"))
    print("\nAll of it held." if not report.failures else f"\n{report.failures} checks did not hold.")
    return min(report.failures, 1)


if __name__ == "__main__":
    sys.exit(main())

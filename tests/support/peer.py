"""Scripted peers: servers that do, byte by byte, what no real server does.

A script is a plain blocking function of one connection; it runs in a thread of its own for each accepted connection:

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(body=b"hello")
        conn.rst()

    with ScriptedPeer(script) as peer:
        response = await http.request("GET", peer.url)

An exception in a script fails the test when the `with` block ends. Leaving a connection where a client may, between
requests, is no exception; a client that breaks off elsewhere is one, unless `expect_disconnect=True` says that it will.
Nothing waits for ever: each read and write of a script has twenty seconds, each gate and `wait_for` its timeout.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from http import HTTPStatus
from types import TracebackType

from .ways import CLEAR, Way, current
from .wire import ByteLayer, Disconnected, Req, RequestReader, SocketLayer, TLSLayer

__all__ = ["Conn", "Disconnected", "Gate", "Req", "ScriptedPeer"]

# A third of a test's time limit, so that it is the script that says what it waited for.
_SCRIPT_TIMEOUT = 20.0

HeaderPairs = Iterable[tuple[bytes, bytes]]
Script = Callable[["Conn"], None]


class Gate:
    """Holds a script until the test opens it, or the other way round. Waiting is bounded; leaving the peer opens it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def open(self) -> None:
        self._event.set()

    def is_open(self) -> bool:
        """For `await world.until(gate.is_open)`, when the script opens it."""
        return self._event.is_set()

    def wait(self, timeout: float = _SCRIPT_TIMEOUT) -> None:
        if not self._event.wait(timeout):
            raise TimeoutError(f"nobody opened the gate within {timeout} s")


class Conn:
    """One accepted connection, in the hands of the script."""

    def __init__(self, peer: ScriptedPeer, index: int, sock: socket.socket) -> None:
        self.peer = peer
        self.index = index
        """0 for the first connection that the peer accepted, 1 for the next."""
        self.socket = SocketLayer(sock)
        self.tls: ssl.SSLObject | None = None
        """The innermost TLS, for `version()`, `selected_alpn_protocol()`, `getpeercert()`."""
        self.server_name: str | None = None
        """The SNI of the innermost TLS."""
        self.requests: list[Req] = []
        self.is_cut_off = False
        """Whether the `with` block of the peer ended while both sides were still there."""
        self.is_tunnel = False
        """Whether a way has brought a CONNECT, behind which the script is."""
        self._tls_layer: TLSLayer | None = None
        self._reader = RequestReader(self.socket)

    # Reading

    def read_head(self) -> Req:
        """The head of the next request; its body is still to come. Logged in `peer.requests`."""
        head = replace(self._reader.read_head(), connection=self.index)
        if self.peer.forwards and not self.is_tunnel:
            if head.method == b"CONNECT":  # as what is to be switched to another protocol is not forwarded
                self.open_tunnel(head.target)
                return self.read_head()
            head = replace(head, target=self._forwarded(head.target))
        self.peer._log_request(self, head)
        return head

    def open_tunnel(self, authority: bytes) -> None:
        self.is_tunnel = True
        self.peer.asked_for.append(authority)
        self.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

    def _forwarded(self, target: bytes) -> bytes:
        """What an origin behind a proxy is asked for (RFC 9112, 3.2.2)."""
        prefix, slashes, rest = target.partition(b"://")
        assert (prefix, slashes) == (b"http", b"://"), target
        authority, _, path = rest.partition(b"/")
        if not self.requests:
            self.peer.asked_for.append(authority)
        return b"/" + path

    def read_body(self, head: Req) -> Req:
        """The same request with its body."""
        request = self._reader.read_body(head)
        self.peer._log_request(self, request, instead_of=head)
        return request

    def read_request(self) -> Req:
        return self.read_body(self.read_head())

    def recv(self, max_bytes: int = 65_536) -> bytes:
        """The next bytes, or b"" when the client has ended its side."""
        return self._reader.recv(max_bytes)

    def recv_exactly(self, count: int) -> bytes:
        return self._reader.recv_exactly(count)

    def recv_until(self, end: bytes) -> bytes:
        return self._reader.recv_until(end)

    @property
    def has_more(self) -> bool:
        """Whether more has come than the script has read, in clear text; an end counts."""
        return self._reader.has_buffer or self.socket.is_readable

    def wait_closed(self, timeout: float = _SCRIPT_TIMEOUT) -> bool:
        """Read and drop until the client ends or resets; whether it did so in time, by itself.

        False where the peer's `with` block ends first: a test that wants True closes its pool within it.
        """
        deadline = time.monotonic() + timeout
        try:
            while (left := deadline - time.monotonic()) > 0:
                self.socket.sock.settimeout(left)
                if not self._reader.recv(65_536):
                    return not self.is_cut_off
        except Disconnected:
            return not self.is_cut_off
        except TimeoutError:
            return False
        finally:
            if self.socket.sock.fileno() >= 0:
                self.socket.sock.settimeout(_SCRIPT_TIMEOUT)
        return False

    # Writing

    def send(self, data: bytes) -> None:
        self._reader.layer.sendall(data)

    def send_bytewise(self, data: bytes) -> None:
        """Each byte on its own: TCP_NODELAY is on, so most arrive in a segment of their own."""
        for index in range(len(data)):
            self._reader.layer.sendall(data[index : index + 1])

    def respond(
        self, status: int = 200, body: bytes = b"", headers: HeaderPairs = (), version: bytes = b"HTTP/1.1"
    ) -> None:
        """Send a response, with a content-length where neither the headers nor the status say otherwise."""
        fields = list(headers)
        names = {name.lower() for name, _ in fields}
        if not names & {b"content-length", b"transfer-encoding"} and status >= 200 and status not in (204, 304):
            fields.append((b"content-length", b"%d" % len(body)))
        self.send(head_bytes(status, fields, version) + body)

    def respond_chunked(
        self, chunks: Iterable[bytes], status: int = 200, headers: HeaderPairs = (), trailers: HeaderPairs = ()
    ) -> None:
        """Send a response chunk by chunk, each in a write of its own."""
        self.send(head_bytes(status, [*headers, (b"transfer-encoding", b"chunked")]))
        for chunk in chunks:
            self.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.send(b"0\r\n" + b"".join(b"%s: %s\r\n" % pair for pair in trailers) + b"\r\n")

    # TLS

    def start_tls(self, context: ssl.SSLContext) -> None:
        """From here on speak TLS, over whatever was spoken before: after a CONNECT, or once more for TLS in TLS."""
        lower: ByteLayer = self._reader.layer
        if rest := self._reader.take_buffer():
            lower = _Prefixed(rest, lower)
        layer = TLSLayer(lower, context)
        self.tls, self.server_name, self._tls_layer = layer.object, layer.server_name, layer
        self._reader = RequestReader(layer)

    def close_notify(self) -> None:
        """End the innermost TLS properly; the sockets stays open. Closing without it is a truncation."""
        if self._tls_layer is None:
            raise ValueError("this connection speaks no TLS")
        self._tls_layer.close_notify()

    # Ending. A script that returns closes the connection, with close_notify under TLS.

    def fin(self) -> None:
        """Send no more (SHUT_WR), without a close_notify but where a way brings the TLS; can still receive."""
        self._end_in_order()
        with contextlib.suppress(OSError):  # the client, which has all it wanted, was first to close
            self.socket.sock.shutdown(socket.SHUT_WR)

    def rst(self) -> None:
        """Close with RST."""
        self.socket.reset()

    def close(self) -> None:
        """Close as it is. A kernel sends RST instead of FIN where it holds bytes that the script never read."""
        self._end_in_order()
        self.socket.sock.close()

    def _end_in_order(self) -> None:
        """A script that knows nothing of TLS means an end, and not a truncation."""
        if self._tls_layer is not None and self.peer.way.is_secure:
            with contextlib.suppress(Disconnected, OSError):  # the client was first
                self._tls_layer.close_notify()

    @property
    def is_open(self) -> bool:
        """Whether neither side has ended it."""
        return not self.socket.is_ended

    def _cut_off(self) -> None:
        """Wake a script that reads. Where the client has ended the connection, the script will see that by itself."""
        if self.is_open:
            self.is_cut_off = True
            with contextlib.suppress(OSError):  # the client, or the script, was faster
                self.socket.sock.shutdown(socket.SHUT_RDWR)

    def _finish(self) -> None:
        if self._tls_layer is not None and self.socket.sock.fileno() >= 0:
            with contextlib.suppress(Disconnected, OSError):  # the client was first
                self._tls_layer.close_notify()
        self.socket.sock.close()


class _Prefixed:
    """A layer of which some bytes were read already."""

    def __init__(self, prefix: bytes, lower: ByteLayer) -> None:
        self._prefix = prefix
        self._lower = lower
        self.sendall = lower.sendall

    def recv(self, max_bytes: int) -> bytes:
        if not self._prefix:
            return self._lower.recv(max_bytes)
        data, self._prefix = self._prefix[:max_bytes], self._prefix[max_bytes:]
        return data


class ScriptedPeer:
    """A server on loopback that runs a script for each connection it accepts.

    Args:
        script: called with each `Conn`, in a thread of its own.
        tls: a server context (see `tls.py`); the handshake is made before the script runs. One that fails is no error
            of the script, it is noted in `tls_errors`.
        host: the address to listen on; "::1" for IPv6.
        uds: listen on a unix socket instead; a name that starts with a NUL is an abstract one (Linux).
        alpn: the protocols that it offers where a way brings the TLS.
        expect_disconnect: the client may break off anywhere.
        backlog: how many connections the kernel holds that were not yet accepted.
    """

    def __init__(
        self,
        script: Script,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        uds: str | None = None,
        alpn: tuple[str, ...] = (),
        expect_disconnect: bool = False,
        backlog: int = 1024,
    ) -> None:
        reaching = current()
        is_own = tls is None and uds is None
        self.way: Way = reaching.way if is_own else CLEAR
        """How it is reached, by the test's way; `CLEAR` where the test says it by itself."""
        self.asked_for: list[bytes] = []
        """The origins of the connections to it as a proxy, where a way brings that."""
        self._script = script
        self._tls = reaching.server(alpn) if is_own else tls
        self._expect_disconnect = expect_disconnect
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._gates: list[Gate] = []
        self._errors: list[Exception] = []
        self._listening = True
        self.uds = uds
        self.connections: list[Conn] = []
        """All accepted so far."""
        self.requests: list[Req] = []
        """All read so far, in the order in which they came; those whose body is not read yet without it."""
        self.tls_errors: list[Exception] = []
        """Handshakes that failed, most often because the client did not like the certificate."""
        self._listener = _listen(host, uds, backlog)
        self.host: str = "localhost" if uds is not None else host
        self.port: int = 0 if uds is not None else self._listener.getsockname()[1]
        self._waker, self._wake = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name=f"peer {self.port} accepting", daemon=True)

    @classmethod
    def answering(cls, response: bytes, *, close: bool = False, tls: ssl.SSLContext | None = None) -> ScriptedPeer:
        """A peer that sends these bytes after each request, and closes the connection then if told to."""

        def script(conn: Conn) -> None:
            while True:
                conn.read_request()
                conn.send(response)
                if close:
                    return

        return cls(script, tls=tls)

    @property
    def scheme(self) -> str:
        return "http" if self._tls is None else "https"

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.uds is not None else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """`http://127.0.0.1:1234`, to which a path can be added."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """`http://127.0.0.1:1234/`"""
        return f"{self.origin}/"

    @property
    def forwards(self) -> bool:
        """Whether requests in clear come to it as to a proxy."""
        return self.way.is_proxied and not self.way.is_secure

    @property
    def accepted(self) -> int:
        """How many connections were accepted, but for those to another origin behind it."""
        own = self.authority.encode()
        return len(self.connections) - sum(authority != own for authority in list(self.asked_for))

    @property
    def open_connections(self) -> int:
        """How many of them neither side has ended, as the kernel knows, whether or not a script looks."""
        return sum(conn.is_open for conn in list(self.connections))

    def gate(self) -> Gate:
        gate = Gate()
        self._gates.append(gate)
        return gate

    def wait_for(self, condition: Callable[[], object], timeout: float = 15.0) -> None:
        """Block until a condition holds. It holds up the event loop: in a test body use `await world.until`."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not condition():
                if time.monotonic() > deadline:
                    raise AssertionError(f"did not happen within {timeout} s; {self!r}")
                # What the kernel knows changes without a word.
                self._changed.wait(0.005)

    def stop_listening(self) -> None:
        """From here on connections are refused; those that are open stay."""
        if self._listening:
            self._listening = False
            self._wake.close()
            self._acceptor.join(_SCRIPT_TIMEOUT)

    def __repr__(self) -> str:
        requests = ", ".join(f"{request.method.decode()} {request.target.decode()}" for request in self.requests[-5:])
        return (
            f"<ScriptedPeer {self.origin}, {self.accepted} accepted, {self.open_connections} open, "
            f"{len(self.requests)} requests, the last {requests or 'none'}, errors {self._errors}>"
        )

    def __enter__(self) -> ScriptedPeer:
        if self.way.is_proxied:
            current().proxy = self.authority
        self._acceptor.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop_listening()
        for conn in self.connections:
            conn._cut_off()
        for gate in self._gates:
            gate.open()
        deadline = time.monotonic() + 15
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._errors += [TimeoutError(f"{t.name} does not end") for t in self._threads if t.is_alive()]
        if not self._errors:
            return
        if exc is None:
            raise ExceptionGroup(f"the script of {self!r} failed", self._errors)
        for error in self._errors:
            exc.add_note(f"and the script of the peer failed: {error!r}")

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector, self._listener, self._waker:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._waker, selectors.EVENT_READ)
            while all(key.fileobj is self._listener for key, _ in selector.select()):
                self._accept_one()
        if self.uds is not None and not self.uds.startswith("\0"):
            os.unlink(self.uds)

    def _accept_one(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # gone again before we came
        sock.settimeout(_SCRIPT_TIMEOUT)
        if sock.family != getattr(socket, "AF_UNIX", None):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._changed:
            conn = Conn(self, len(self.connections), sock)
            self.connections.append(conn)
            self._changed.notify_all()
        thread = threading.Thread(target=self._run, args=(conn,), name=f"peer {self.port}, {conn.index}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, conn: Conn) -> None:
        try:
            if self.way.is_proxied and self.way.is_secure:
                method, authority, _ = conn.recv_until(b"\r\n\r\n").split(b" ", 2)
                assert method == b"CONNECT", method
                conn.open_tunnel(authority)
            if self._tls is None or self._handshake(conn, self._tls):
                self._script(conn)
        except Disconnected as exc:
            if not (exc.is_between_requests or self._expect_disconnect or conn.is_cut_off):
                self._errors.append(exc)
        except Exception as exc:
            # The socket may have been shut down under the script's hands; only its assertions are errors then.
            if not conn.is_cut_off or isinstance(exc, AssertionError):
                self._errors.append(exc)
        finally:
            conn._finish()
            with self._changed:
                self._changed.notify_all()

    def _handshake(self, conn: Conn, context: ssl.SSLContext) -> bool:
        try:
            conn.start_tls(context)
        except (ssl.SSLError, Disconnected, TimeoutError) as exc:
            self.tls_errors.append(exc)
            return False
        return True

    def _log_request(self, conn: Conn, request: Req, instead_of: Req | None = None) -> None:
        with self._changed:
            for log in (self.requests, conn.requests):
                if instead_of is None:
                    log.append(request)
                else:
                    at = next(index for index, logged in enumerate(log) if logged is instead_of)
                    log[at] = request
            self._changed.notify_all()


def head_bytes(status: int, headers: HeaderPairs, version: bytes = b"HTTP/1.1") -> bytes:
    """A response head. Headers go out as they are, bad ones too."""
    try:
        reason = HTTPStatus(status).phrase.encode()
    except ValueError:
        reason = b""
    lines = [b"%s %d %s" % (version, status, reason), *(b"%s: %s" % pair for pair in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _listen(host: str, uds: str | None, backlog: int) -> socket.socket:
    if uds is not None:
        listener = socket.socket(socket.AF_UNIX)
        address: str | tuple[str, int] = uds
    else:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        address = (host, 0)
    try:
        listener.bind(address)
        listener.listen(backlog)
        # A client that is gone again before we accept must not block us.
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener

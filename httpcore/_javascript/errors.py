"""What JavaScript throws, in our words: what is known, what the runtime hides, and what usually causes it."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit

import js

from .._errors import (
    ConnectError,
    ConnectTimeout,
    HTTPCoreError,
    LocalProtocolError,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
)
from .runtime import runtime

__all__ = ["Failure", "body_error", "fetch_error", "page_origin", "silence"]

# Node's codes: (words, kind). What fails before a connection is there was certainly not sent.
_CODES: dict[str, tuple[str, type[HTTPCoreError]]] = {
    "ECONNREFUSED": ("the connection was refused", ConnectError),
    "ENOTFOUND": ("the host name is not known", ConnectError),
    "EAI_AGAIN": ("the host name could not be looked up now", ConnectError),
    "EHOSTUNREACH": ("the host cannot be reached", ConnectError),
    "ENETUNREACH": ("the network cannot be reached", ConnectError),
    "EADDRNOTAVAIL": ("the address is not available", ConnectError),
    "ETIMEDOUT": ("the host did not answer", ConnectTimeout),
    "UND_ERR_CONNECT_TIMEOUT": ("the host did not answer", ConnectTimeout),
    "UND_ERR_INVALID_ARG": ("Node's fetch refuses the request", LocalProtocolError),
    "UND_ERR_NOT_SUPPORTED": ("Node's fetch refuses the request", LocalProtocolError),
    "UND_ERR_REQ_CONTENT_LENGTH_MISMATCH": ("the body disagrees with its content-length", LocalProtocolError),
}
_TLS = ("ERR_SSL", "ERR_TLS", "CERT_", "UNABLE_TO_", "SELF_SIGNED", "DEPTH_ZERO", "HOSTNAME_MISMATCH")
_TIMEOUTS = frozenset({"UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT"})
# A browser takes an http page of these for as safe as https (W3C Secure Contexts, 3.1).
_LOOPBACK = ("localhost", "127.", "[::1]", "::1")
# The Fetch standard, 2.9 (bad port): of other protocols, whose servers a request could be made to speak to.
_BAD_PORTS = frozenset(
    {
        1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
        110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530,
        531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190,
        5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
    }
)  # fmt: skip


class Failure(NamedTuple):
    """What was thrown.

    Args:
        name: such as "TypeError" or "AbortError".
        detail: the message of what caused it, and its code, where Node tells them.
        is_stream: whether a body was on its way part by part.
    """

    name: str
    message: str
    code: str = ""
    detail: str = ""
    is_stream: bool = False

    @classmethod
    def of(cls, exc: Any) -> Failure:
        """Of a JsException, or of the error itself."""
        cause = getattr(exc, "cause", None) or None
        code = str(getattr(cause, "code", "") or "") if cause is not None else ""
        detail = str(getattr(cause, "message", "") or "") if cause is not None else ""
        return cls(str(getattr(exc, "name", "")), str(getattr(exc, "message", "") or exc), code, detail)

    @property
    def words(self) -> str:
        return ": ".join(part for part in (self.message, self.code, self.detail) if part)


def page_origin() -> str:
    """The origin that a browser holds requests of ours against."""
    return str(getattr(getattr(js, "location", None), "origin", "") or "")


def fetch_error(failure: Failure, method: str, url: str) -> HTTPCoreError:
    """Why there is no response."""
    if failure.name == "AbortError":
        return ReadError("the request was aborted here")
    if runtime().is_browser:
        return _browser_error(failure, method, url)
    code, where = failure.code, f"{method} {url}"
    if code in _CODES:
        words, kind = _CODES[code]
        return kind(f"{where}: {words} ({failure.words})")
    if code in _TIMEOUTS:
        return _sent(ReadTimeout(f"{where}: Node's own timeout passed ({failure.words})"))
    text = f"{failure.message} {failure.detail}"
    if code.startswith(_TLS) or "invalid peer certificate" in text:
        return ConnectError(f"{where}: TLS failed ({failure.words})")
    if "(Connect)" in text or "dns error" in text or "bad port" in text:
        return ConnectError(f"{where}: no connection could be made ({failure.words})")
    if "redirect" in text:
        return _sent(RemoteProtocolError(f"{where}: the response is a redirect that was not allowed ({failure.words})"))
    if code.startswith("HPE_") or "parse" in text.lower() or "invalid HTTP" in text:
        return _sent(RemoteProtocolError(f"{where}: the response is not valid HTTP ({failure.words})"))
    return _sent(ReadError(f"{where}: no response came ({failure.words})"))


def _browser_error(failure: Failure, method: str, url: str) -> HTTPCoreError:
    """A browser says the same of everything, so that no page can look around in a network."""
    origin = page_origin()
    target = urlsplit(url)
    is_cross = origin != f"{target.scheme}://{target.netloc}"
    said = f'{method} {url} from a page of {origin}: the browser says no more than "{failure.words}"'
    navigator = getattr(js, "navigator", None)
    if origin.startswith("https:") and target.scheme == "http" and not (target.hostname or "").startswith(_LOOPBACK):
        cause = "a page that came by https may not ask for http (mixed content): use https"
        return ConnectError(f"{said}. {cause}")
    if target.port in _BAD_PORTS:
        return ConnectError(f"{said}. No browser connects to port {target.port}, which is that of another protocol")
    if navigator is not None and navigator.onLine is False:
        return ConnectError(f"{said}. It says that it is offline")
    causes = (
        "the server cannot be reached (name, address, port, certificate), or the request was blocked (an extension, a "
        "content security policy)"
    )
    if failure.is_stream:
        causes += ", or the answer is a redirect other than 303, which a body that goes up part by part cannot follow"
    if is_cross:
        causes = (
            f"CORS, if the server is there: its answer needs the header access-control-allow-origin: {origin} (or *), "
            "and methods and headers beyond the simple ones need an answer to OPTIONS that allows them. Or "
        ) + causes
    return _sent(ConnectError(f"{said}. It hides the reason, which its console may tell; usually it is {causes}"))


def body_error(failure: Failure, method: str, url: str) -> HTTPCoreError:
    """Why the body does not go on."""
    if failure.name == "AbortError":
        return _sent(ReadError("the request was aborted here"))
    if failure.code in _TIMEOUTS:
        return _sent(ReadTimeout(f"{method} {url}: Node's own timeout passed ({failure.words})"))
    return _sent(ReadError(f"{method} {url}: the body broke off, or does not decode ({failure.words})"))


def silence() -> HTTPCoreError:
    """A deadline passed: JavaScript does not tell whether a connection was there already."""
    return _sent(ReadTimeout("the server sent nothing in time"))


def _sent(error: HTTPCoreError) -> HTTPCoreError:
    error.request_sent = True
    return error

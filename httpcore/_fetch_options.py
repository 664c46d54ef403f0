"""What JavaScript's fetch is told beside the request: frozen, checked, and meaningless where sockets carry requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

__all__ = ["MAX_WHOLE_BYTES", "FetchInfo", "FetchOptions", "checked_fetch_options"]

# Of a body that XMLHttpRequest hands over whole. On the main thread it is held about six times, as text of JavaScript's
# and of Python's and as bytes, and 4 GiB is all that WebAssembly has. V8 knows no text beyond 512 MiB.
MAX_WHOLE_BYTES = 256 * 1024 * 1024

# The Fetch standard, 5.4 (RequestInit), and Referrer Policy, 3.
_CHOICES = {
    "credentials": ("omit", "same-origin", "include"),
    "mode": ("cors", "no-cors", "same-origin"),
    "cache": ("default", "no-store", "reload", "no-cache", "force-cache", "only-if-cached"),
    "redirect": ("follow", "manual", "error"),
    "referrer_policy": (
        "no-referrer", "no-referrer-when-downgrade", "origin", "origin-when-cross-origin", "same-origin",
        "strict-origin", "strict-origin-when-cross-origin", "unsafe-url",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How JavaScript's fetch treats a request: `Network(fetch=FetchOptions(...))` for a pool, and
    `extensions={"fetch": FetchOptions(...)}` for a request, where what is not None counts instead of the pool's.

    Args:
        credentials: whether the browser adds its cookies: "omit", "same-origin" (its default) or "include".
        mode: "cors" (the default), "no-cors" or "same-origin".
        cache: what the browser's HTTP cache may do. None is "no-store", since with a cache the browser sends identical
            requests one after another.
        redirect: "follow", "manual" or "error". None is "manual" where redirects can be seen (Node, Deno), and "follow"
            in a browser, which hides them.
        referrer_policy: what the browser says in Referer.
        integrity: a hash that the body must have, such as "sha256-...".
        keepalive: whether the request goes on when the page is left.
        max_whole_bytes: how many bytes a body may have that can only be had whole, by XMLHttpRequest; None is 256 MiB.

    Raises: TypeError, ValueError.
    """

    credentials: str | None = None
    mode: str | None = None
    cache: str | None = None
    redirect: str | None = None
    referrer_policy: str | None = None
    integrity: str | None = None
    keepalive: bool | None = None
    max_whole_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise ValueError(f"the fetch option {name!r} is {value!r}; it is None or one of {', '.join(choices)}")
        if self.integrity is not None and not isinstance(self.integrity, str):
            raise TypeError(f"the fetch option 'integrity' is a str, not {type(self.integrity).__name__}")
        if self.keepalive is not None and not isinstance(self.keepalive, bool):
            raise TypeError(f"the fetch option 'keepalive' is True, False or None, not {self.keepalive!r}")
        limit = self.max_whole_bytes
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise ValueError(f"the fetch option 'max_whole_bytes' is {limit!r}; it is a number of bytes, or None")

    def override(self, other: object) -> FetchOptions:
        """These options, but for what the `other`, if there is one, says itself."""
        if not isinstance(other, FetchOptions):
            return self
        chosen = {field.name: getattr(other, field.name) for field in fields(other)}
        return FetchOptions(**{name: getattr(self, name) if value is None else value for name, value in chosen.items()})


@dataclass(frozen=True, slots=True)
class FetchInfo:
    """What JavaScript tells of a response: `response.extensions["fetch"]`.

    Args:
        url: where the response came from in the end; "" where JavaScript hides it.
        redirected: whether that was not where the request went first.
        type: "basic", "cors", "default", "opaque" or "opaqueredirect": the last two hide everything, and have status 0.
        sent_by: "fetch", "jspi" (fetch that blocks), "worker" (fetch in a helper thread) or "xhr".
    """

    url: str
    redirected: bool
    type: str
    sent_by: str


def checked_fetch_options(options: object) -> FetchOptions:
    """The extension "fetch" of a request: a `FetchOptions`, or a mapping of its fields.

    Raises: TypeError, ValueError.
    """
    if isinstance(options, Mapping):
        known = {field.name for field in fields(FetchOptions)}
        if unknown := set(options) - known:
            raise ValueError(f"unknown fetch options {sorted(map(str, unknown))}; known are {sorted(known)}")
        return FetchOptions(**options)
    if not isinstance(options, FetchOptions):
        raise TypeError(f"the fetch options are a FetchOptions or a mapping, not {type(options).__name__}")
    return options

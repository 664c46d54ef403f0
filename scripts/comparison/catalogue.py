"""All that is measured."""

from __future__ import annotations

from . import codings, http2, http11, proxies, reuse, tls

CASES = [*http11.cases(), *reuse.cases(), *tls.cases(), *proxies.cases(), *codings.cases(), *http2.cases()]

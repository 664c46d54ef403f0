"""All that is measured."""

from __future__ import annotations

from . import http2, http11

CASES = [*http11.cases(), *http2.cases()]

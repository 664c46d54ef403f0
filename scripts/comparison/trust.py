"""An authority of our own, for peers that speak TLS."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.tls import CertificateAuthority


@contextmanager
def authority() -> Iterator[CertificateAuthority]:
    with tempfile.TemporaryDirectory(prefix="compare-") as directory:
        yield CertificateAuthority(Path(directory))

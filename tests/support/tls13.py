"""Records of TLS 1.3 written by hand, for a server that sends tickets and key updates when OpenSSL would not.

Source: RFC 8446, 4.6, 5 and 7.
"""

from __future__ import annotations

import ssl
import struct
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from .peer import Conn
from .tls import CertificateAuthority

_HANDSHAKE, _APPLICATION_DATA = 22, 23
_SUITES: dict[str, tuple[type[HashAlgorithm], int]] = {
    "TLS_AES_128_GCM_SHA256": (SHA256, 16),
    "TLS_AES_256_GCM_SHA384": (SHA384, 32),
}


class Records:
    """What the server sends from here on. OpenSSL goes on reading, but must not write any more.

    Args:
        key_log: where the server's context logs secrets (`keylog_filename`); the last handshake in it counts.
        suite: the name of the cipher.
        written: how many records the server has already sent since the handshake; none with `num_tickets = 0`.
    """

    def __init__(self, key_log: Path, suite: str, written: int = 0) -> None:
        lines = [line.split() for line in key_log.read_text().splitlines()]
        secrets = [line[2] for line in lines if line and line[0] == "SERVER_TRAFFIC_SECRET_0"]
        self._hash, self._key_size = _SUITES[suite]
        self._use(bytes.fromhex(secrets[-1]))
        self._written = written

    def data(self, data: bytes) -> bytes:
        """One record of application data; an empty one is allowed."""
        return self._record(data, _APPLICATION_DATA)

    def ticket(self) -> bytes:
        """A NewSessionTicket."""
        body = struct.pack("!IIB", 3600, 0, 1) + b"n" + struct.pack("!H", 32) + b"t" * 32 + b"\0\0"
        return self._handshake(4, body)

    def key_update(self, is_answer_wanted: bool) -> bytes:
        """A KeyUpdate, after which the next key counts."""
        record = self._handshake(24, bytes([is_answer_wanted]))
        self._use(self._expand(self._secret, b"traffic upd", self._hash().digest_size))
        return record

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(self._expand(secret, b"key", self._key_size))
        self._iv = int.from_bytes(self._expand(secret, b"iv", 12))
        self._written = 0

    def _expand(self, secret: bytes, label: bytes, size: int) -> bytes:
        label = b"tls13 " + label
        info = struct.pack("!HB", size, len(label)) + label + b"\0"
        return HKDFExpand(self._hash(), size, info).derive(secret)

    def _handshake(self, kind: int, body: bytes) -> bytes:
        return self._record(bytes([kind]) + len(body).to_bytes(3) + body, _HANDSHAKE)

    def _record(self, content: bytes, kind: int) -> bytes:
        inner = content + bytes([kind])
        header = struct.pack("!BHH", _APPLICATION_DATA, 0x0303, len(inner) + 16)
        nonce = (self._iv ^ self._written).to_bytes(12)
        self._written += 1
        return header + self._cipher.encrypt(nonce, inner, header)


class Written:
    """A TLS 1.3 server whose records the test writes itself."""

    def __init__(self, ca: CertificateAuthority, directory: Path) -> None:
        self.context = ca.server_context()
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0
        self._key_log = directory / "keys"
        self.context.keylog_filename = str(self._key_log)

    def records(self, conn: Conn) -> Records:
        assert conn.tls is not None
        cipher = conn.tls.cipher()
        assert cipher is not None
        return Records(self._key_log, cipher[0])

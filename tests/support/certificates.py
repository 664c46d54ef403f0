"""Certificates of every kind, down to those that no CA would issue. For plain ones `tls.py` is enough."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, path: Path, *chain: Identity, password: bytes | None = None) -> Path:
        """One PEM file with the certificate, those that lead to the root, and the key."""
        certificates = b"".join(link.certificate.public_bytes(serialization.Encoding.PEM) for link in (self, *chain))
        path.write_bytes(certificates + self.key_pem(password))
        return path

    def write_certificate(self, path: Path) -> Path:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def key_pem(self, password: bytes | None = None) -> bytes:
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            encryption = serialization.BestAvailableEncryption(password)
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)

    def server_context(self, directory: Path, *chain: Identity) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.write(directory / f"{self.certificate.serial_number}.pem", *chain))
        return context


def root(name: str = "a root", path_length: int | None = None, permitted: str | None = None) -> Identity:
    return issue(None, (), common_name=name, is_ca=True, path_length=path_length, permitted=permitted)


def issue(
    issuer: Identity | None,
    names: Iterable[str],
    *,
    common_name: str | None = None,
    valid: tuple[float, float] = (-1, 1),
    is_ca: bool = False,
    path_length: int | None = None,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    permitted: str | None = None,
) -> Identity:
    """A certificate, self-signed where there is no issuer.

    Args:
        names: DNS names as they are, or IP addresses; none leaves the extension out. Fewer than 128 bytes in all
            where one is not ASCII.
        common_name: of the subject.
        valid: from and until, in days from now.
        is_ca: whether it says that it may issue others, over at most `path_length` steps and for `permitted` names.
        purpose: the extended key usage.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or f"number {serial}"[:60])])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now + valid[0] * _DAY)
        .not_valid_after(now + valid[1] * _DAY)
        .add_extension(x509.BasicConstraints(is_ca, path_length), critical=True)
    )
    if not is_ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    names = list(names)
    if any(not name.isascii() for name in names):
        builder = builder.add_extension(_names_as_they_are(names), critical=False)
    elif names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
    if permitted is not None:
        constraints = x509.NameConstraints([x509.DNSName(permitted)], None)
        builder = builder.add_extension(constraints, critical=True)
    certificate = builder.sign(key if issuer is None else issuer.key, hashes.SHA256())
    return Identity(certificate, key)


def _names_as_they_are(names: Iterable[str]) -> x509.UnrecognizedExtension:
    """DNS names in UTF-8, which no CA may issue: the type is IA5String (RFC 5280, 4.2.1.6, where dNSName is [2])."""
    encoded = b"".join(bytes([0x82, len(name.encode())]) + name.encode() for name in names)
    return x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes([0x30, len(encoded)]) + encoded)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """A root that the client trusts, with what it issued, and others that it does not trust."""

    def __init__(self, directory: Path) -> None:
        self.root = root("the trusted root")
        self.path = self.root.write_certificate(directory / "root.pem")
        self._directory = directory

    def issue(self, *names: str, **options: Any) -> ssl.SSLContext:
        return issue(self.root, names, **options).server_context(self._directory)

    def behind(self, intermediate: Identity, *names: str, **options: Any) -> ssl.SSLContext:
        return issue(intermediate, names, **options).server_context(self._directory, intermediate)

    def without_intermediate(self, *names: str) -> ssl.SSLContext:
        return issue(self._intermediate(), names).server_context(self._directory)

    def _intermediate(self, **options: Any) -> Identity:
        return issue(self.root, (), **{"is_ca": True, "common_name": "an intermediate", **options})

    def with_intermediate(self, *names: str, **options: Any) -> ssl.SSLContext:
        return self.behind(self._intermediate(**options), *names)

    def over_too_long_a_path(self, *names: str) -> ssl.SSLContext:
        first = self._intermediate(path_length=0)
        second = issue(first, (), is_ca=True, common_name="one too many")
        return issue(second, names).server_context(self._directory, second, first)

    def self_signed(self, *names: str) -> ssl.SSLContext:
        return issue(None, names).server_context(self._directory)

    def of_another_root(self, *names: str) -> ssl.SSLContext:
        return self.behind(root("another root"), *names)

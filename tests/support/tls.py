"""TLS for tests: a throw-away CA, and servers with every kind of certificate that a client must refuse or take."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from pathlib import Path

import trustme


class CertificateAuthority:
    """A throw-away CA. `client_context()` or `pem_path` make a client trust it; the rest makes servers.

    Args:
        directory: where PEM files are put.
    """

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA(organization_name="httpcore tests")
        self._directory = directory
        self.pem_path = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.pem_path))
        leaf = self._ca.issue_cert("localhost", "127.0.0.1", "::1")
        self.server_chain_path = directory / "server-chain.pem"
        """The certificate chain for localhost, 127.0.0.1 and ::1, for servers that read files."""
        self.server_key_path = directory / "server-key.pem"
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(str(self.server_chain_path), append=True)
        leaf.private_key_pem.write_to_path(str(self.server_key_path))

    def client_context(self, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """A client that trusts this CA and nothing else."""
        context = ssl.create_default_context(cafile=str(self.pem_path))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    # Servers that are fine

    def server_context(self, *names: str, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """A server with a good certificate for some names; for localhost, 127.0.0.1 and ::1 if none are given."""
        context = _server_context(self._ca.issue_cert(*(names or ("localhost", "127.0.0.1", "::1"))))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def requiring_client_certificate(self) -> ssl.SSLContext:
        """A server that takes only clients with a certificate of this CA."""
        context = self.server_context()
        self._ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_certificate(self, name: str = "client@example.org") -> tuple[Path, Path]:
        """Paths of a client's certificate chain and of its key."""
        leaf = self._ca.issue_cert(name)
        chain, key = self._directory / f"{name}-chain.pem", self._directory / f"{name}-key.pem"
        chain.unlink(missing_ok=True)
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(str(chain), append=True)
        leaf.private_key_pem.write_to_path(str(key))
        return chain, key

    # Servers that must be refused

    def expired(self) -> ssl.SSLContext:
        past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        return _server_context(self._ca.issue_cert("localhost", "127.0.0.1", not_after=past))

    def wrong_host(self) -> ssl.SSLContext:
        """For another name; 127.0.0.1 is right."""
        return _server_context(self._ca.issue_cert("other.example.org", "127.0.0.1"))

    def wrong_ip(self) -> ssl.SSLContext:
        """For another address; localhost is right."""
        return _server_context(self._ca.issue_cert("localhost", "192.0.2.1"))

    @staticmethod
    def untrusted() -> ssl.SSLContext:
        """Issued by a CA that nobody trusts."""
        return _server_context(trustme.CA().issue_cert("localhost", "127.0.0.1"))

    def self_signed(self) -> ssl.SSLContext:
        """A certificate that is its own issuer."""
        certificate, key = self._directory / "self-signed.pem", self._directory / "self-signed-key.pem"
        if not certificate.exists():
            _write_self_signed(certificate, key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLObject:
    """The client's side of a handshake in memory, with the tickets that the server sent and a byte after them."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    peer = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (tls, peer, tls, peer):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    peer.write(b"x")
    assert tls.read(2) == b"x"
    return tls


def _server_context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def _write_self_signed(certificate_path: Path, key_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )

"""RSA keys: made here, published as certificates and as service account key files."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair, and the id by which tokens refer to it."""

    private: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65_537, key_size=2048), repr=False
    )
    id: str = field(default_factory=lambda: secrets.token_hex(20))

    @property
    def pem(self) -> str:
        """The private key in the form that a key file contains."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    def make_certificate(self) -> str:
        """Make a self-signed certificate for the key."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "identity.emulator")])
        now = datetime.now(UTC)
        unsigned = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
        )
        signed = unsigned.sign(self.private, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()

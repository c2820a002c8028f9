"""A certificate authority of the local stack's own, for servers that speak TLS."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from closedloop.local.state import StateFolder

LIFETIME: Final = timedelta(days=30)
ADDRESS: Final = "127.0.0.1"


@dataclass(frozen=True)
class Certificate:
    """PEM files: the certificate, and its key, which only the owner may read."""

    name: str
    certificate: Path
    key: Path


class Authority:
    """Signs certificates for 127.0.0.1; a new key with each object. `certificate` is what a client must be told to trust."""

    def __init__(self, folder: Path, name: str = "closedloop-local") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        usage = x509.KeyUsage(
            False, False, False, False, False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False
        )
        own = self._signed(self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0), usage)
        self.certificate = folder / "ca.pem"
        self.certificate.write_bytes(own)

    def issue(self, name: str) -> Certificate:
        """A certificate for a server, or a client, of that name on 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        where = x509.SubjectAlternativeName([x509.IPAddress(ip_address(ADDRESS)), x509.DNSName("localhost")])
        issued = Certificate(name, self._folder / f"{name}.pem", self._folder / f"{name}.key")
        issued.certificate.write_bytes(self._signed(_named(name), key.public_key(), where))
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        StateFolder.write_private(issued.key, pem.decode())
        return issued

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(minutes=5),
            not_valid_after=now + LIFETIME,
        )
        # OpenSSL 3's strict checks, which Python 3.13 turned on, want both key identifiers
        known = (
            x509.SubjectKeyIdentifier.from_public_key(key),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
        )
        for extension in (*extensions, *known):
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints | x509.KeyUsage))
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

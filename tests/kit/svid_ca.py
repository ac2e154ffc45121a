"""A SPIFFE trust domain of a test's own: its authority, and the X.509-SVIDs that it issues."""

import ssl
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class TrustDomain:
    """One authority."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
        now = datetime.now(UTC)
        self._cert = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectAlternativeName([_uri(f"spiffe://{name}")]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._cert.public_bytes(serialization.Encoding.PEM).decode()

    def issue(
        self, *uris: str, minutes: float = 60, ca: bool = False, dns: Sequence[str] = ()
    ) -> tuple[str, str, str]:
        """Return certificate and key as PEM, and the certificate's SHA-256 in hex."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        start = now + timedelta(minutes=min(0.0, minutes) - 60)
        names: list[x509.GeneralName] = [*map(_uri, uris), *map(x509.DNSName, dns)]
        cert = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._cert.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(now + timedelta(minutes=minutes))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_usage(signs=ca), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return (
            cert.public_bytes(serialization.Encoding.PEM).decode(),
            private.decode(),
            cert.fingerprint(hashes.SHA256()).hex(),
        )


def present(context: ssl.SSLContext, pair: tuple[str, str, str]) -> None:
    """Have a TLS client show a certificate."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "svid.pem"
        file.write_text(pair[0] + pair[1])
        context.load_cert_chain(file)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)

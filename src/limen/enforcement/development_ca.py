"""Issuing: a development CA limited to this system's names, and the leaf that it signs."""

import ipaddress
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from limen.administrator.issuing import begin_certificate, key_usage
from limen.core.ids import Instant

CA_DAYS = 3650  # trusting it again is a person's work on each machine
LEAF_DAYS = 90  # browsers accept at most 398; short ones prove that renewal works
DAY_S = 86_400


def issue_ca(
    key: ec.EllipticCurvePrivateKey, domain: str, trees: tuple[str, ...], now: Instant
) -> x509.Certificate:
    """Return a CA that may vouch for `trees` (names and what is below them) and for nothing else."""
    made = _moment(now)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Limen development"),
            # The instant tells one CA of this system from its successor, in a browser's list and here.
            x509.NameAttribute(NameOID.COMMON_NAME, f"Limen development CA {domain} {made:%Y%m%d%H%M%S}"),
        ]
    )
    permitted = [x509.DNSName(tree) for tree in trees]
    no_address = [x509.IPAddress(ipaddress.ip_network(text)) for text in ("0.0.0.0/0", "::/0")]
    builder = begin_certificate(subject, subject, key.public_key(), now, CA_DAYS * DAY_S)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(key_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(
        x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=no_address), critical=True
    )
    return builder.sign(key, hashes.SHA256())


def issue_leaf(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    names: tuple[str, ...],
    now: Instant,
) -> x509.Certificate:
    """Return a server certificate of `key` for `names`."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = begin_certificate(subject, ca.subject, key, now, LEAF_DAYS * DAY_S)
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = builder.add_extension(alternatives, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(server, critical=False).add_extension(issuer, critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def permitted_trees(cert: x509.Certificate) -> tuple[str, ...]:
    """Return the names that a CA may vouch for, the system's domain first."""
    try:
        limits = cert.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(tree.value for tree in limits.permitted_subtrees or () if isinstance(tree, x509.DNSName))


def _moment(now: Instant) -> datetime:
    return datetime.fromtimestamp(int(now), UTC)


def pem_of_cert(cert: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return cert.public_bytes(serialization.Encoding.PEM)


def pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as unencrypted PKCS 8 PEM; the file's mode protects it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

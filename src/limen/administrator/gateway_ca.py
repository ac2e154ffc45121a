"""Limen's own CA for gateways: it says which machine is which gateway, and which is control.

It is apart from the development CA, which speaks for web hosts: this one is trusted by gateways and
control alone, and its key never leaves control's state folder. Two kinds of certificate, which cannot be
taken for each other: control's is a server's, for the one name `CONTROL_NAME`; a gateway's is a client's,
for the one URI `limen:gateway:<node>` (RFC 5280 section 4.2.1.6 and 4.2.1.12).
"""

import fcntl
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from limen.administrator.gateway_csr import parse_csr, pem_of_key, refuse_foreign_names
from limen.administrator.issuing import BACKDATE_S, begin_certificate, key_usage
from limen.core.errors import Invalid, Refused
from limen.core.ids import Instant

CONTROL_NAME = "control.limen.internal"
"""What control's certificate names, wherever control runs: gateways and their Envoys check it."""

GATEWAY_URI = "limen:gateway:"
CA_DAYS = 3650
CONTROL_DAYS = 90
GATEWAY_CERTIFICATE_S = 7 * 86_400  # a stolen machine's certificate dies by itself
RENEW_AT = 2 / 3  # of a certificate's life

RESERVED_NAMES = frozenset({"control", "gateway"})
"""Names of control's own machine: they stand in the journal."""

_NODE = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")


class Issued(msgspec.Struct, frozen=True):
    """A certificate that was signed just now, and the CA's own, both PEM."""

    chain: str
    ca: str
    serial: str
    expires_at: Instant


class GatewayCertificate(msgspec.Struct, frozen=True):
    """What a gateway's certificate says. TLS has verified that the CA signed it, and its dates."""

    node: str
    serial: str
    issued_at: Instant
    expires_at: Instant


def verify_node(node: str) -> str:
    """Return a gateway's name.

    Raises:
        Invalid: not a DNS label, or a name of control's own machine.
    """
    if not _NODE.fullmatch(node) or node in RESERVED_NAMES:
        raise Invalid(
            f"'{node[:64]}' cannot be the name of a gateway on another machine.",
            remedy="Use a–z, 0–9 and dash, at most 48, and not 'gateway' or 'control'.",
        )
    return node


class GatewayCa:
    """The CA in `folder` (`STATE/ca/gateways`); made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._key = _load_key(folder / "ca.key")
        self.cert = self._load_cert()

    @property
    def pem(self) -> str:
        """The CA's certificate."""
        return _pem(self.cert)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the CA's certificate (DER), hex: what a join token carries."""
        return self.cert.fingerprint(hashes.SHA256()).hex()

    def issue_gateway(self, node: str, csr_pem: str, now: Instant) -> Issued:
        """Sign a gateway's certificate for the key of a request.

        Raises:
            Invalid: not a request, or not signed by its own key, or not of a key that we take.
            Refused: it asks for names that are not this gateway's.
        """
        request = parse_csr(csr_pem)
        refuse_foreign_names(request, {f"{GATEWAY_URI}{node}"})
        name = x509.UniformResourceIdentifier(f"{GATEWAY_URI}{node}")
        return self._issue(
            request.public_key(),
            name,
            ExtendedKeyUsageOID.CLIENT_AUTH,
            now=now,
            life_s=GATEWAY_CERTIFICATE_S,
            common_name=node,
        )

    def issue_control(self, now: Instant) -> tuple[Issued, str]:
        """Return a new certificate of control with its key (PEM)."""
        key = ec.generate_private_key(ec.SECP256R1())
        issued = self._issue(
            key.public_key(),
            x509.DNSName(CONTROL_NAME),
            ExtendedKeyUsageOID.SERVER_AUTH,
            now=now,
            life_s=CONTROL_DAYS * 86_400,
            common_name=CONTROL_NAME,
        )
        return issued, pem_of_key(key)

    def _issue(
        self,
        key: object,
        name: x509.GeneralName,
        usage: ObjectIdentifier,
        *,
        now: Instant,
        life_s: float,
        common_name: str,
    ) -> Issued:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = begin_certificate(subject, self.cert.subject, key, now, life_s)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        cert = (
            builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(_pem(cert), self.pem, _serial(cert), cert.not_valid_after_utc.timestamp())

    def _load_cert(self) -> x509.Certificate:
        path = self._folder / "ca.pem"
        with _locked(self._folder):
            if not path.exists():
                now = datetime.now(UTC).timestamp()  # its dates are no part of any decision
                _write(path, _pem(_ca_certificate(self._key, now)).encode(), 0o644)
        return x509.load_pem_x509_certificate(path.read_bytes())


def parse_gateway_certificate(der: bytes) -> GatewayCertificate:
    """Return what a certificate of this CA says about its gateway.

    Raises:
        Refused: it is not a gateway's.
    """
    try:
        cert = x509.load_der_x509_certificate(der)
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        node = verify_node(uri.removeprefix(GATEWAY_URI))
        if uri != f"{GATEWAY_URI}{node}":
            raise ValueError(uri)
    except (ValueError, x509.ExtensionNotFound, Invalid):
        raise Refused(
            "The certificate is not a gateway's.", remedy="Join this gateway.", code="GATEWAY_CERTIFICATE"
        ) from None
    issued_at = cert.not_valid_before_utc.timestamp() + BACKDATE_S
    return GatewayCertificate(node, _serial(cert), issued_at, cert.not_valid_after_utc.timestamp())


def _ca_certificate(key: ec.EllipticCurvePrivateKey, now: Instant) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Limen gateways")])
    builder = begin_certificate(subject, subject, key.public_key(), now, CA_DAYS * 86_400)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(key_usage(signs_certificates=True), critical=True).sign(key, hashes.SHA256())


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    with _locked(path.parent):
        if not path.exists():
            _write(path, pem_of_key(ec.generate_private_key(ec.SECP256R1())).encode(), 0o600)
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey), f"{path} was made here"
    return key


class _locked:  # noqa: N801  # a context manager
    """Holds the folder: control nodes that share it make one CA."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"

    def __enter__(self) -> None:
        self._file = self._path.open("a+")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _write(path: Path, content: bytes, mode: int) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


def _serial(cert: x509.Certificate) -> str:
    return f"{cert.serial_number:x}"


def _pem(cert: x509.Certificate) -> str:
    return cert.public_bytes(serialization.Encoding.PEM).decode()

"""Certificates that the gateway shows: a development CA of its own, or the organisation's files.

The development CA is name-constrained (RFC 5280 section 4.2.1.10): whoever steals its key can
pretend to be the hosts of this system and nobody else, which makes it bearable to trust it in a browser.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from limen.administrator.gateway_csr import parse_csr, refuse_foreign_names
from limen.core.catalogue import Catalogue
from limen.core.errors import Invalid, NotFound, Refused
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.enforcement.development_ca import (
    LEAF_DAYS,
    issue_ca,
    issue_leaf,
    pem_of_cert,
    pem_of_key,
    permitted_trees,
)
from limen.enforcement.trust import trust_text

RENEW_DAYS = 30


class Pair(msgspec.Struct, frozen=True):
    """A certificate chain with its key, which belong together.

    Attributes:
        hosts: DNS names of the certificate, wildcards included.
    """

    cert_pem: str
    key_pem: Secret[str]
    hosts: tuple[str, ...]
    expires_at: Instant

    def uncovered(self, hosts: Iterable[str]) -> tuple[str, ...]:
        """Return those of `hosts` that no name of the certificate fits (RFC 6125 section 6.4.3)."""
        return tuple(sorted(host for host in set(hosts) if not _covers(self.hosts, host)))


def catalogue_hosts(catalogue: Catalogue) -> tuple[str, ...]:
    """Return every host that the gateway answers for, sign-in first."""
    hosts = {app.host for app in catalogue.apps.values()}
    hosts |= {service.host for service in catalogue.services.values()}
    return (catalogue.auth_host, *sorted(hosts))


class CertificateFolder:
    """The pair to show for a catalogue; the development CA and its leaf are kept in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca_file = folder / "ca.pem"

    def pair_for(self, catalogue: Catalogue, now: Instant) -> Pair:
        """Return the organisation's own pair if the catalogue names one, else the development leaf.

        Raises:
            NotFound: a file of the organisation's pair is not there.
            Invalid: it is no pair, or has expired.
        """
        if catalogue.certificate is not None:
            own = catalogue.certificate
            return load_pair(Path(own.cert), Path(own.key), now)
        return self._development_pair(catalogue, now)

    def sign(self, csr_pem: str, catalogue: Catalogue, now: Instant) -> tuple[str, str]:
        """Sign a gateway's request with the development CA; return the chain and the CA, both PEM.

        The names are the catalogue's, whatever of them the request asks for: gateways are alike.

        Raises:
            Refused: it asks for another name, or the organisation has a certificate of its own.
            Invalid: it is no request.
        """
        if catalogue.certificate is not None:
            raise Refused(
                "The organisation has a certificate of its own.",
                remedy="Put its files on this gateway too, under the paths that limen.yaml names.",
            )
        hosts = catalogue_hosts(catalogue)
        names = leaf_names(catalogue.domain, hosts)
        request = parse_csr(csr_pem)
        refuse_foreign_names(request, (*names, *hosts))
        key = request.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey), "parse_csr takes no other"
        ca_cert, ca_key = self._ca(catalogue.domain, hosts, now)
        leaf = issue_leaf(ca_cert, ca_key, key, names, now)
        return pem_of_cert(leaf).decode(), pem_of_cert(ca_cert).decode()

    def _development_pair(self, catalogue: Catalogue, now: Instant) -> Pair:
        hosts = catalogue_hosts(catalogue)
        names = leaf_names(catalogue.domain, hosts)
        cert, key = self._folder / "leaf.pem", self._folder / "leaf.key"
        ca_cert, ca_key = self._ca(catalogue.domain, hosts, now)
        try:
            pair = load_pair(cert, key, now + RENEW_DAYS * 86_400)
        except (NotFound, Invalid):
            pair = None
        issuer = _issuer_of(pair) if pair else None
        if pair and set(names) <= set(pair.hosts) and issuer == ca_cert.subject:
            return pair
        leaf_key = ec.generate_private_key(ec.SECP256R1())
        leaf = issue_leaf(ca_cert, ca_key, leaf_key.public_key(), names, now)
        write_private(key, pem_of_key(leaf_key))
        write_private(cert, pem_of_cert(leaf))
        return load_pair(cert, key, now)

    def _ca(
        self, domain: str, hosts: Iterable[str], now: Instant
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Return the development CA, made anew when there is none, it ends, or may not sign for a host.

        Control and a gateway on its machine share the folder, and make one CA.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / ".lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self._load_ca(domain, hosts, now)

    def _load_ca(
        self, domain: str, hosts: Iterable[str], now: Instant
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        needed = _constraints(domain, hosts)
        key_file = self._folder / "ca.key"
        if self.ca_file.exists() and key_file.exists():
            cert = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
            key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
            ends = cert.not_valid_after_utc.timestamp()
            ours = _public(key.public_key()) == _public(cert.public_key())
            lasts = ends > now + LEAF_DAYS * 86_400
            if isinstance(key, ec.EllipticCurvePrivateKey) and ours and lasts:
                permitted = permitted_trees(cert)
                if all(_below(name, permitted) for name in needed):
                    return cert, key
                needed = tuple(dict.fromkeys((*needed, *permitted)))
        key = ec.generate_private_key(ec.SECP256R1())
        cert = issue_ca(key, domain, needed, now)
        write_private(key_file, pem_of_key(key))
        write_private(self.ca_file, pem_of_cert(cert), mode=0o644)
        return cert, key


def load_pair(cert_file: Path, key_file: Path, now: Instant) -> Pair:
    """Read a certificate chain and its key.

    Raises:
        NotFound: a file is not there or not readable.
        Invalid: not PEM, not each other's, or not valid at `now`.
    """
    cert_pem, key_pem = _read(cert_file, "certificate.cert"), _read(key_file, "certificate.key")
    try:
        cert = x509.load_pem_x509_certificates(cert_pem)[0]
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        raise Invalid(
            f"{cert_file} and {key_file} are not a PEM certificate and an unencrypted PEM key.",
            remedy="Give the chain (leaf first) and its key as PEM files.",
            code="CERTIFICATE_INVALID",
        ) from None
    if _public(cert.public_key()) != _public(key.public_key()):
        raise Invalid(
            f"The key in {key_file} does not belong to the certificate in {cert_file}.",
            remedy="Replace both files together.",
            code="CERTIFICATE_INVALID",
        )
    expires_at = cert.not_valid_after_utc.timestamp()
    if expires_at <= now:
        raise Invalid(
            f"The certificate in {cert_file} ended on {cert.not_valid_after_utc:%Y-%m-%d}.",
            remedy="Renew it and replace both files.",
            code="CERTIFICATE_EXPIRED",
        )
    return Pair(cert_pem.decode(), Secret(key_pem.decode()), _names_of(cert), expires_at)


def trust_instructions(folder: Path) -> str:
    """Return how to make this machine trust the development CA in `folder`: the text of `limen trust`.

    Raises:
        NotFound: no development CA was made, because none ran yet or the organisation has its own.
    """
    ca_file = folder / "ca.pem"
    cert = x509.load_pem_x509_certificate(_read(ca_file, "development CA"))
    return trust_text(ca_file, permitted_trees(cert)[0])


def leaf_names(domain: str, hosts: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a development leaf: the domain's wildcard, and what it does not cover."""
    wild = (domain, f"*.{domain}")
    return wild + tuple(sorted(host for host in set(hosts) if not _covers(wild, host)))


def _constraints(domain: str, hosts: Iterable[str]) -> tuple[str, ...]:
    return (domain, *sorted({host for host in hosts if not _below(host, (domain,))}))


def _covers(names: Iterable[str], host: str) -> bool:
    parent = host.partition(".")[2]
    return any(name == host or (parent and name == f"*.{parent}") for name in names)


def _below(name: str, trees: Iterable[str]) -> bool:
    return any(name == tree or name.endswith(f".{tree}") for tree in trees)


def _names_of(cert: x509.Certificate) -> tuple[str, ...]:
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))


def _issuer_of(pair: Pair) -> x509.Name:
    return x509.load_pem_x509_certificates(pair.cert_pem.encode())[0].issuer


def _public(key: object) -> bytes:
    public: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(
            f"{field}: {path} cannot be read ({error.strerror}).",
            remedy="Check the path, and that the user who runs Limen may read it.",
            code="CERTIFICATE_MISSING",
        ) from None


def write_private(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file at once, durable."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)

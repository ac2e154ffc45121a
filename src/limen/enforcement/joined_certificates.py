"""What a joined gateway shows: the organisation's files, or a development leaf that control signed.

The development CA's key stays with control. This gateway makes a key of its own, asks over its line, and
keeps the answer, so that it can restart and serve while control is away.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from limen.administrator.gateway_csr import make_csr
from limen.core.catalogue import Catalogue
from limen.core.errors import Invalid, NotFound
from limen.core.ids import Instant
from limen.enforcement.certificates import (
    RENEW_DAYS,
    CertificateFolder,
    Pair,
    catalogue_hosts,
    leaf_names,
    load_pair,
    write_private,
)
from limen.enforcement.development_ca import pem_of_cert, pem_of_key

SignLeaf = Callable[[str], Awaitable[tuple[str, str]]]
"""Has control sign a request; returns chain and CA (PEM), or raises a `LimenError`."""


class JoinedCertificates(CertificateFolder):
    """The certificates of a gateway that joined. Have `prepare` ask before a catalogue is applied."""

    def __init__(self, folder: Path, sign: SignLeaf) -> None:
        super().__init__(folder)
        self._leaf = folder
        self._sign = sign

    def wanting(self, catalogue: Catalogue, now: Instant) -> bool:
        """Whether control must sign before this catalogue's hosts can all be shown."""
        if catalogue.certificate is not None:
            return False
        try:
            pair = load_pair(*self._files, now + RENEW_DAYS * 86_400)
        except (NotFound, Invalid):
            return True
        return bool(pair.uncovered(catalogue_hosts(catalogue)))

    async def prepare(self, catalogue: Catalogue, now: Instant) -> bool:
        """Have a new leaf signed if one is wanted; return whether there is a new one.

        Raises:
            LimenError: control is away, or refuses. What was kept goes on serving.
        """
        if not self.wanting(catalogue, now):
            return False
        key = ec.generate_private_key(ec.SECP256R1())
        names = leaf_names(catalogue.domain, catalogue_hosts(catalogue))
        chain, ca = await self._sign(make_csr(key, (x509.DNSName(name) for name in names)))
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
        if leaf.public_key() != key.public_key():
            raise Invalid("Control signed another key than this gateway's.", code="CERTIFICATE_INVALID")
        issuer = x509.load_pem_x509_certificate(ca.encode())
        self._leaf.mkdir(mode=0o700, parents=True, exist_ok=True)
        cert_file, key_file = self._files
        write_private(key_file, pem_of_key(key))
        write_private(cert_file, chain.encode())
        write_private(self.ca_file, pem_of_cert(issuer), mode=0o644)
        return True

    def _development_pair(self, catalogue: Catalogue, now: Instant) -> Pair:
        return load_pair(*self._files, now)

    @property
    def _files(self) -> tuple[Path, Path]:
        return self._leaf / "leaf.pem", self._leaf / "leaf.key"

"""Certificates that machines show, as the gateway's Envoy tells of them, and whose SVIDs they are.

Envoy has verified the chain against the bundle of the leaf's own trust domain, and that the leaf is none of a
CA, before any of this is read; nothing of it is asked of what Envoy did not verify.

Source: X509-SVID sections 2 and 5, RFC 8705 section 3.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from limen.core import base64url
from limen.core.errors import Invalid
from limen.core.identity_config import SpiffeConfig
from limen.core.ids import Instant
from limen.core.spiffe import parse_spiffe_id

CERTIFICATE_URIS = "x-limen-cert-uris"
CERTIFICATE_SHA256 = "x-limen-cert-sha256"
CERTIFICATE_STARTS = "x-limen-cert-starts"
CERTIFICATE_ENDS = "x-limen-cert-ends"
"""Headers in which Envoy notes the verified certificate of the connection. What comes from outside under
these names is removed before."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SECONDS = re.compile(r"[0-9]{1,12}")


class ClientCertificate(msgspec.Struct, frozen=True):
    """A client's certificate as Envoy verified it.

    Attributes:
        uris: its URI names.
        sha256: of its DER form, hex.
        starts_at, ends_at: when it is valid.
    """

    uris: tuple[str, ...]
    sha256: str
    starts_at: Instant
    ends_at: Instant

    @property
    def x5t(self) -> str:
        """The hash as tokens name it (RFC 8705 section 3.1)."""
        return base64url.encode(bytes.fromhex(self.sha256))


def parse_certificate(headers: Mapping[str, str]) -> ClientCertificate | None:
    """Return the certificate that Envoy noted in a request's headers, or None for a connection without.

    Raises:
        Invalid: what it noted cannot be read: then nobody is proven by it.
    """
    sha256 = headers.get(CERTIFICATE_SHA256, "")
    if not sha256:
        return None
    starts, ends = headers.get(CERTIFICATE_STARTS, ""), headers.get(CERTIFICATE_ENDS, "")
    if not _SHA256.fullmatch(sha256) or not _SECONDS.fullmatch(starts) or not _SECONDS.fullmatch(ends):
        raise Invalid(
            "The client certificate of this request cannot be read.",
            remedy="Call the gateway's own port for machines.",
            code="CERTIFICATE",
        )
    uris = tuple(one for one in headers.get(CERTIFICATE_URIS, "").split(",") if one not in ("", "-"))
    return ClientCertificate(uris, sha256, float(starts), float(ends))


def find_workload(certificate: ClientCertificate, domains: Iterable[SpiffeConfig]) -> str | None:
    """Return the workload whose X.509-SVID a certificate is, or None.

    A certificate with several URI names is no SVID (X509-SVID section 2), whatever they are.
    """
    if len(certificate.uris) != 1:
        return None
    try:
        found = parse_spiffe_id(certificate.uris[0])
    except Invalid:
        return None
    named = str(found)
    for domain in domains:
        if domain.trust_domain == found.trust_domain:
            return next((name for name, held in domain.workloads.items() if held == named), None)
    return None

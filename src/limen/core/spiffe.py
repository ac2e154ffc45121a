"""SPIFFE IDs, the names of workloads in X.509-SVIDs.

Source: SPIFFE-ID sections 2.1 to 2.4.
"""

import re

import msgspec

from limen.core.errors import Invalid

SPIFFE_ID_MAX = 2_048  # bytes, SPIFFE-ID section 2.3

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[a-zA-Z0-9._-]+")


class SpiffeId(msgspec.Struct, frozen=True):
    """A workload's SPIFFE ID. `path` begins with `/`."""

    trust_domain: str
    path: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}{self.path}"


def parse_spiffe_id(text: str) -> SpiffeId:
    """Return a workload's SPIFFE ID: one with a path, as only signing authorities have none.

    Raises:
        Invalid: it is none.
    """
    scheme, _, rest = text.partition("://")
    domain, slash, path = rest.partition("/")
    good = (
        scheme == "spiffe"
        and len(text.encode()) <= SPIFFE_ID_MAX
        and is_trust_domain(domain)
        and slash == "/"
        and all(_SEGMENT.fullmatch(one) and one not in (".", "..") for one in path.split("/"))
    )
    if not good:
        raise Invalid(
            "This is not the SPIFFE ID of a workload.",
            remedy="Write spiffe://trust-domain/path, with letters, digits, dot, dash and underscore.",
            code="SPIFFE_ID",
        )
    return SpiffeId(domain, f"/{path}")


def is_trust_domain(text: str) -> bool:
    """Say whether a text can be the name of a trust domain."""
    return _TRUST_DOMAIN.fullmatch(text) is not None

"""Who a provider says somebody is, whatever it speaks: OpenID Connect or SAML."""

from collections.abc import Mapping
from typing import Any

import msgspec

from limen.core.ids import Instant
from limen.information.identity.assurance import Assurance


class UpstreamIdentity(msgspec.Struct, frozen=True):
    """Who the provider says this is. `subject` is stable; the rest is as of now.

    Attributes:
        source: `oidc:<provider>` or `saml:<provider>`; with `subject`, the identity.
        email: only where the provider says that it has verified it; else empty.
        groups: as the provider names them; None when it did not list them (`groups_missing` says why).
        claims: everything that it says, by name (SAML: attribute to a list of its values). The bundle's rules
            read it at the admission; nothing else does.
        sid: the provider's session (OIDC `sid`, SAML `SessionIndex`); empty where it names none.
        issuer: who spoke: OIDC `iss`, SAML's entity id. A link counts for the issuer that it was made with.
    """

    source: str
    subject: str
    username: str
    name: str
    email: str
    groups: tuple[str, ...] | None
    assurance: Assurance
    auth_at: Instant
    groups_missing: str = ""
    claims: Mapping[str, Any] = {}
    sid: str = ""
    issuer: str = ""

    @property
    def provider(self) -> str:
        """The provider's name in `limen.yaml`."""
        return self.source.partition(":")[2]

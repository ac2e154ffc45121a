"""A request to sign somebody out, from a provider or from an app.

Source: SAML 2.0 core, section 3.7; profiles, section 4.4.
"""

from collections.abc import Sequence

import msgspec

from limen.core.ids import Instant
from limen.core.saml_xml import ASSERTION, PROTOCOL, text_of
from limen.information.identity.saml_bindings import Received, verify_redirect
from limen.information.identity.saml_refusal import SamlRefused
from limen.information.identity.saml_response import MADE_AGO_MAX_S, SKEW_S, instant_of, read_message
from limen.information.identity.saml_signature import verify_signatures

INDEXES_MAX = 100


class LogoutAsked(msgspec.Struct, frozen=True):
    """Made by `read_logout` alone. `indexes`: the sessions meant; none is all of that name."""

    id: str
    name_id: str
    indexes: tuple[str, ...]
    expires_at: Instant


def read_logout(
    received: Received, *, issuer: str, destination: str, certificates: Sequence[str], now: Instant
) -> LogoutAsked:
    """Return a logout request that its sender has signed.

    Args:
        received: as it came.
        issuer, certificates: who is meant to have sent it, from its metadata.
        destination: the address that it came to.
        now: this instant.

    Raises:
        SamlRefused: it does not hold.
        Unavailable: xmlsec1 is not installed.
    """
    root = read_message(received.xml, "LogoutRequest")
    if text_of(root.find(f"{{{ASSERTION}}}Issuer")) != issuer:
        raise SamlRefused("it is from somebody else")
    if root.get("Destination") != destination:
        raise SamlRefused("it is meant for another address")
    if received.redirected:
        verify_redirect(received, certificates)
    elif root not in verify_signatures(received.xml, root, certificates):
        raise SamlRefused("it is not signed")
    made_at = instant_of(root.get("IssueInstant", ""))
    expires_at = made_at + MADE_AGO_MAX_S
    if root.get("NotOnOrAfter") is not None:
        expires_at = min(expires_at, instant_of(root.get("NotOnOrAfter", "")))
    if made_at > now + SKEW_S or expires_at + SKEW_S <= now:
        raise SamlRefused("it was not made within the last minutes")
    indexes = tuple(text_of(one) for one in root.findall(f"{{{PROTOCOL}}}SessionIndex"))
    name_id = text_of(root.find(f"{{{ASSERTION}}}NameID"))
    if not name_id or len(indexes) > INDEXES_MAX or not all(indexes):
        raise SamlRefused("it names nobody")
    return LogoutAsked(root.get("ID", ""), name_id, indexes, expires_at)

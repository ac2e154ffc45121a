"""A request to sign somebody in, from an app: who asks, where the answer goes, how sure it wants to be.

Law: V1 an answer goes nowhere but to an address of the app's own metadata, compared character by character:
    whoever writes a request chooses among those.

Source: SAML 2.0 core, section 3.4; profiles, section 4.1.4.1.
"""

import xml.etree.ElementTree as ET  # values only: documents come parsed from `saml_xml`

import msgspec

from limen.core.ids import Instant
from limen.core.saml_metadata import SpMetadata
from limen.core.saml_xml import ASSERTION, POST, PROTOCOL, SIGNATURE, text_of
from limen.information.identity.saml_bindings import Received, verify_redirect
from limen.information.identity.saml_refusal import SamlRefused
from limen.information.identity.saml_response import MADE_AGO_MAX_S, SKEW_S, instant_of, read_message
from limen.information.identity.saml_signature import verify_signatures

CONTEXTS_MAX = 32
TEXT_MAX = 256  # characters of an ID or a name in a request: it is stored before anybody signs in
TRUE = ("true", "1")


class SignInAsked(msgspec.Struct, frozen=True):
    """Made by `read_sign_in` alone.

    Attributes:
        id: that the answer names.
        consumer: where the answer goes.
        force: even who is signed in here signs in anew.
        passive: without a page, or not at all.
        contexts: authentication context classes, one of which is wanted; empty for any.
        comparison: how: `exact`, `minimum`, `better`, `maximum`.
        name_format: of the NameID; empty for any.
    """

    id: str
    consumer: str
    force: bool = False
    passive: bool = False
    contexts: tuple[str, ...] = ()
    comparison: str = "exact"
    name_format: str = ""


def read_issuer(received: Received, name: str = "AuthnRequest") -> str:
    """Return who a request says it is from. Nothing of it is believed yet.

    Raises:
        SamlRefused: it is no message of the protocol.
    """
    found = text_of(read_message(received.xml, name).find(f"{{{ASSERTION}}}Issuer"))
    if not found:
        raise SamlRefused("it does not say who it is from")
    return found


def read_sign_in(received: Received, sp: SpMetadata, destination: str, now: Instant) -> SignInAsked:
    """Return what an app asks for.

    Args:
        received: as it came.
        sp: the app that `read_issuer` named.
        destination: the address that it came to.
        now: this instant.

    Raises:
        SamlRefused: it does not hold.
        Unavailable: xmlsec1 is not installed, and the request is signed inside.
    """
    root = read_message(received.xml, "AuthnRequest")
    if root.get("Destination") not in (None, destination):
        raise SamlRefused("it is meant for another address")
    _demand_signature(received, root, sp)
    made_at = instant_of(root.get("IssueInstant", ""))
    if not now - MADE_AGO_MAX_S - SKEW_S <= made_at <= now + SKEW_S:
        raise SamlRefused("it was not made within the last minutes")
    if root.find(f"{{{ASSERTION}}}Subject") is not None:
        raise SamlRefused("it asks for a person by name")
    if root.get("ProtocolBinding") not in (None, POST):
        raise SamlRefused("it wants the answer by another binding than HTTP-POST")
    policy, wanted = root.find(_sp("NameIDPolicy")), root.find(_sp("RequestedAuthnContext"))
    contexts = [] if wanted is None else wanted.findall(f"{{{ASSERTION}}}AuthnContextClassRef")
    if len(contexts) > CONTEXTS_MAX:
        raise SamlRefused("it wants too much")
    asked = SignInAsked(
        id=root.get("ID", ""),
        consumer=_consumer(root, sp),
        force=root.get("ForceAuthn", "").strip() in TRUE,
        passive=root.get("IsPassive", "").strip() in TRUE,
        contexts=tuple(text_of(one) for one in contexts),
        comparison="exact" if wanted is None else wanted.get("Comparison", "exact"),
        name_format="" if policy is None else policy.get("Format", ""),
    )
    if any(len(one) > TEXT_MAX for one in (asked.id, asked.comparison, asked.name_format, *asked.contexts)):
        raise SamlRefused("a part of it is endless")
    return asked


def _demand_signature(received: Received, root: ET.Element, sp: SpMetadata) -> None:
    """Check the signature of a request that has one, and of each where the app says that all have."""
    inside = root.find(f"{{{SIGNATURE}}}Signature") is not None
    if not (received.signature or inside or sp.requests_signed) or not sp.certificates:
        return
    if received.redirected:
        verify_redirect(received, sp.certificates)
    elif root not in verify_signatures(received.xml, root, sp.certificates):
        raise SamlRefused("it is not signed")


def _consumer(root: ET.Element, sp: SpMetadata) -> str:
    """Return where the answer goes (law V1)."""
    url, index = root.get("AssertionConsumerServiceURL"), root.get("AssertionConsumerServiceIndex")
    if url is None and index is None:
        return sp.consumers[0].url
    found = [one.url for one in sp.consumers if one.url == url or (url is None and str(one.index) == index)]
    if not found:
        raise SamlRefused("it wants the answer at an address that is not in its metadata")
    return found[0]


def _sp(name: str) -> str:
    return f"{{{PROTOCOL}}}{name}"

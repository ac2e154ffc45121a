"""What Limen tells an app by SAML: a response with one assertion, or with none and why.

Values to XML text, unsigned: `saml_sign.sign_message` signs it, assertion and whole.

Source: SAML 2.0 core, sections 2.3 to 2.7 and 3.3.3; profiles, section 4.1.4.2.
"""

import xml.etree.ElementTree as ET  # writes only
from collections.abc import Mapping

import msgspec

from limen.core.ids import Instant
from limen.core.saml_xml import ASSERTION, PROTOCOL
from limen.information.identity.saml_messages import (
    RESPONDER,
    SUCCESS,
    new_ident,
    node,
    render,
    render_instant,
)
from limen.information.identity.saml_response import BEARER, SKEW_S, TRANSIENT

ASSERTION_S = 300.0  # from the form to the app, on a slow network
UNSPECIFIED = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
EMAIL = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
FORMATS = (UNSPECIFIED, EMAIL, PERSISTENT, TRANSIENT)
_OWN = frozenset({PERSISTENT, TRANSIENT})  # names that mean something between two parties alone

_URI = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
_BASIC = "urn:oasis:names:tc:SAML:2.0:attrname-format:basic"


class Told(msgspec.Struct, frozen=True):
    """What an app is told of somebody.

    Attributes:
        audience: the app's entityID.
        consumer: where the response goes.
        request: the ID of the request that it answers.
        context: authentication context class.
        ends_at: after this the app asks again.
    """

    audience: str
    consumer: str
    request: str
    name_id: str
    name_format: str
    auth_at: Instant
    context: str
    session_index: str
    ends_at: Instant
    attributes: Mapping[str, tuple[str, ...]] = {}


def name_id(value: str, name_format: str, issuer: str, audience: str) -> ET.Element:
    """Return a NameID as the app knows it."""
    own = {"NameQualifier": issuer, "SPNameQualifier": audience} if name_format in _OWN else {}
    return node(ASSERTION, "NameID", {"Format": name_format, **own}, text=value)


def success(told: Told, issuer: str, now: Instant) -> str:
    """Return a response that signs somebody in."""
    data = {
        "Recipient": told.consumer,
        "InResponseTo": told.request,
        "NotOnOrAfter": render_instant(now + ASSERTION_S),
    }
    confirmation = node(
        ASSERTION, "SubjectConfirmation", {"Method": BEARER}, node(ASSERTION, "SubjectConfirmationData", data)
    )
    audience = node(ASSERTION, "AudienceRestriction", None, node(ASSERTION, "Audience", text=told.audience))
    window = {
        "NotBefore": render_instant(now - SKEW_S),
        "NotOnOrAfter": render_instant(now + ASSERTION_S),
    }
    assertion = node(
        ASSERTION,
        "Assertion",
        {"Version": "2.0", "ID": new_ident(), "IssueInstant": render_instant(now)},
        node(ASSERTION, "Issuer", text=issuer),
        node(
            ASSERTION,
            "Subject",
            None,
            name_id(told.name_id, told.name_format, issuer, told.audience),
            confirmation,
        ),
        node(ASSERTION, "Conditions", window, audience),
        _statement(told),
    )
    if told.attributes:
        named = [_attribute(name, values) for name, values in sorted(told.attributes.items())]
        assertion.append(node(ASSERTION, "AttributeStatement", None, *named))
    code = node(PROTOCOL, "StatusCode", {"Value": SUCCESS})
    root = _response(told.consumer, told.request, issuer, now, code)
    root.append(assertion)
    return render(root)


def failure(consumer: str, request: str, issuer: str, now: Instant, why: str) -> str:
    """Return a response that signs nobody in. `why`: a second-level status code (core 3.2.2.2)."""
    inner = node(PROTOCOL, "StatusCode", {"Value": why})
    code = node(PROTOCOL, "StatusCode", {"Value": RESPONDER}, inner)
    return render(_response(consumer, request, issuer, now, code))


def _response(consumer: str, request: str, issuer: str, now: Instant, code: ET.Element) -> ET.Element:
    head = {
        "ID": new_ident(),
        "Version": "2.0",
        "IssueInstant": render_instant(now),
        "Destination": consumer,
        "InResponseTo": request,
    }
    status = node(PROTOCOL, "Status", None, code)
    return node(PROTOCOL, "Response", head, node(ASSERTION, "Issuer", text=issuer), status)


def _statement(told: Told) -> ET.Element:
    context = node(ASSERTION, "AuthnContextClassRef", text=told.context)
    attributes = {
        "AuthnInstant": render_instant(told.auth_at),
        "SessionIndex": told.session_index,
        "SessionNotOnOrAfter": render_instant(told.ends_at),
    }
    return node(ASSERTION, "AuthnStatement", attributes, node(ASSERTION, "AuthnContext", None, context))


def _attribute(name: str, values: tuple[str, ...]) -> ET.Element:
    found = [node(ASSERTION, "AttributeValue", text=value) for value in values]
    uri = name.startswith(("urn:", "http:", "https:"))
    return node(ASSERTION, "Attribute", {"Name": name, "NameFormat": _URI if uri else _BASIC}, *found)

"""SAML messages of Limen's own: what it asks of providers, what it answers, who it says it is.

Plain values to XML text. What is signed inside is signed by `saml_assertions`; redirects are signed beside.

Source: SAML 2.0 core, sections 3.2 to 3.7; metadata, section 2.4.
"""

import secrets
import xml.etree.ElementTree as ET  # writes only
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from limen.core.ids import Instant
from limen.core.saml_xml import ASSERTION, METADATA, POST, PROTOCOL, REDIRECT, SIGNATURE

SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
PARTIAL_LOGOUT = "urn:oasis:names:tc:SAML:2.0:status:PartialLogout"
RESPONDER = "urn:oasis:names:tc:SAML:2.0:status:Responder"
NO_PASSIVE = "urn:oasis:names:tc:SAML:2.0:status:NoPassive"
NO_CONTEXT = "urn:oasis:names:tc:SAML:2.0:status:NoAuthnContext"
REQUEST_DENIED = "urn:oasis:names:tc:SAML:2.0:status:RequestDenied"

for _prefix, _namespace in (("saml", ASSERTION), ("samlp", PROTOCOL), ("md", METADATA), ("ds", SIGNATURE)):
    ET.register_namespace(_prefix, _namespace)


def new_ident() -> str:
    """Return an ID that nobody can guess (core 1.3.4: 128 bits and more)."""
    return f"_{secrets.token_hex(20)}"


def render_instant(at: Instant) -> str:
    """Return an instant as SAML writes it, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def node(
    namespace: str,
    name: str,
    attributes: Mapping[str, str] | None = None,
    *children: ET.Element,
    text: str = "",
) -> ET.Element:
    """Return an element."""
    made = ET.Element(f"{{{namespace}}}{name}", dict(attributes or {}))
    made.extend(children)
    if text:
        made.text = text
    return made


def render(element: ET.Element) -> str:
    """Return an element as a document."""
    return ET.tostring(element, encoding="unicode")


def authn_request(
    ident: str,
    now: Instant,
    *,
    issuer: str,
    destination: str,
    consumer: str,
    force: bool = False,
    contexts: Iterable[str] = (),
) -> str:
    """Return a request to sign somebody in.

    Args:
        ident: that the answer must name.
        issuer: Limen's name at the provider.
        destination, consumer: where it goes, and where the answer goes.
        force: even who is signed in there signs in anew.
        contexts: authentication context classes, one of which is wanted; empty for any.
    """
    root = node(
        PROTOCOL,
        "AuthnRequest",
        {
            **_head(ident, now, destination),
            "ProtocolBinding": POST,
            "AssertionConsumerServiceURL": consumer,
            **({"ForceAuthn": "true"} if force else {}),
        },
        _issuer(issuer),
        node(PROTOCOL, "NameIDPolicy", {"AllowCreate": "true"}),
    )
    wanted = [node(ASSERTION, "AuthnContextClassRef", text=one) for one in contexts]
    if wanted:
        root.append(node(PROTOCOL, "RequestedAuthnContext", {"Comparison": "exact"}, *wanted))
    return render(root)


def logout_response(
    ident: str, now: Instant, *, issuer: str, destination: str, request: str, status: str = SUCCESS
) -> ET.Element:
    """Return the answer to a request to sign somebody out. `request`: its ID."""
    codes = node(PROTOCOL, "StatusCode", {"Value": status})
    if status not in (SUCCESS, RESPONDER):
        outer = SUCCESS if status == PARTIAL_LOGOUT else RESPONDER
        codes = node(PROTOCOL, "StatusCode", {"Value": outer}, codes)
    head = {**_head(ident, now, destination), "InResponseTo": request}
    return node(PROTOCOL, "LogoutResponse", head, _issuer(issuer), node(PROTOCOL, "Status", None, codes))


def logout_request(
    ident: str, now: Instant, *, issuer: str, destination: str, name_id: ET.Element, session_index: str
) -> ET.Element:
    """Return a request to sign somebody out, of one session."""
    index = node(PROTOCOL, "SessionIndex", text=session_index)
    return node(
        PROTOCOL, "LogoutRequest", _head(ident, now, destination), _issuer(issuer), name_id,
        *([index] if session_index else []),
    )  # fmt: skip


def sp_metadata(entity_id: str, *, consumer: str, logout: str, certificates: Iterable[str]) -> str:
    """Return what a provider is told of Limen: it takes signed assertions, and signs its own requests."""
    role = node(
        METADATA,
        "SPSSODescriptor",
        {
            "protocolSupportEnumeration": PROTOCOL,
            "AuthnRequestsSigned": "true",
            "WantAssertionsSigned": "true",
        },
        *(_key(pem) for pem in certificates),
        node(METADATA, "SingleLogoutService", {"Binding": REDIRECT, "Location": logout}),
        node(METADATA, "SingleLogoutService", {"Binding": POST, "Location": logout}),
        node(
            METADATA,
            "AssertionConsumerService",
            {"Binding": POST, "Location": consumer, "index": "0", "isDefault": "true"},
        ),
    )
    return _document(node(METADATA, "EntityDescriptor", {"entityID": entity_id}, role))


def idp_metadata(
    entity_id: str, *, sso: str, logout: str, certificates: Iterable[str], formats: Iterable[str]
) -> str:
    """Return what apps are told of Limen as their identity provider."""
    role = node(
        METADATA,
        "IDPSSODescriptor",
        {"protocolSupportEnumeration": PROTOCOL, "WantAuthnRequestsSigned": "false"},
        *(_key(pem) for pem in certificates),
        node(METADATA, "SingleLogoutService", {"Binding": REDIRECT, "Location": logout}),
        node(METADATA, "SingleLogoutService", {"Binding": POST, "Location": logout}),
        *(node(METADATA, "NameIDFormat", text=one) for one in formats),
        node(METADATA, "SingleSignOnService", {"Binding": REDIRECT, "Location": sso}),
        node(METADATA, "SingleSignOnService", {"Binding": POST, "Location": sso}),
    )
    return _document(node(METADATA, "EntityDescriptor", {"entityID": entity_id}, role))


def _head(ident: str, now: Instant, destination: str) -> dict[str, str]:
    return {
        "ID": ident,
        "Version": "2.0",
        "IssueInstant": render_instant(now),
        "Destination": destination,
    }


def _issuer(name: str) -> ET.Element:
    return node(ASSERTION, "Issuer", text=name)


def _key(pem: str) -> ET.Element:
    body = "".join(pem.strip().splitlines()[1:-1])
    data = node(SIGNATURE, "X509Data", None, node(SIGNATURE, "X509Certificate", text=body))
    return node(METADATA, "KeyDescriptor", {"use": "signing"}, node(SIGNATURE, "KeyInfo", None, data))


def _document(element: ET.Element) -> str:
    ET.indent(element)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{render(element)}\n'

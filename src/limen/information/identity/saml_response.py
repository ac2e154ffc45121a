"""A SAML response, from bytes to an assertion that may be believed. The steps, in their order:

1. It is read by `saml_xml` (no entities, no comments, one element per ID) and is a Response of SAML 2.0.
2. It holds one assertion, in the one place where assertions stand, and nothing encrypted: Limen publishes no
   key to encrypt to, so whoever sends that wants something else (profiles 4.1.4.2).
3. It answers our request and no other (`InResponseTo`), and came to the address that it was meant for.
4. It says that it succeeded, and is from the provider that was asked.
5. Its signatures hold, and the assertion is under one of them (`saml_signature`).
6. The assertion is from that provider, and made a moment ago.
7. Its subject is confirmed to its bearer: here, now, for our request.
8. Its conditions are met, one of them that it is for us.
9. The person signed in there by now, recently enough, and that session is not over.

What remains is that an assertion counts once: who has the database spends its ID (`VerifiedAssertion.id`).

Source: SAML 2.0 core, sections 2.3 to 2.7 and 3.3; profiles, section 4.1.4.
"""

import xml.etree.ElementTree as ET  # values only: documents come parsed from `saml_xml`
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from limen.core.ids import Instant
from limen.core.saml_metadata import IdpMetadata
from limen.core.saml_xml import ASSERTION, PROTOCOL, XmlRefused, parse_xml, text_of
from limen.information.identity.saml_refusal import SamlRefused
from limen.information.identity.saml_signature import verify_signatures

SKEW_S = 60.0  # clocks of two organisations
MADE_AGO_MAX_S = 600.0  # of an assertion: as long as the sign-in that asked for it may take
SUBJECT_MAX = 255  # characters: SAML 2.0 core 8.3.7, and the directory's column
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
KNOWN_CONDITIONS = frozenset({"AudienceRestriction", "OneTimeUse", "ProxyRestriction"})
ENCRYPTED = ("EncryptedAssertion", "EncryptedID", "EncryptedAttribute", "NewEncryptedID")


class Asked(msgspec.Struct, frozen=True):
    """What was asked of a provider, and by whom.

    Attributes:
        provider: that was asked.
        entity_id: Limen's own name there.
        consumer: the address that the answer comes to.
        request: ID of the request.
        max_age_s: the person must have signed in there this recently; None is any time.
    """

    provider: IdpMetadata
    entity_id: str
    consumer: str
    request: str
    max_age_s: float | None = None


class VerifiedAssertion(msgspec.Struct, frozen=True):
    """Made by `verify_response` alone.

    Attributes:
        id: to be spent once, until `expires_at`.
        name_id: who it is, in the provider's words.
        context: authentication context class; empty for none.
        session_index: the provider's session; empty where it names none.
        attributes: by name, and by friendly name where no other attribute has it as its name.
    """

    id: str
    expires_at: Instant
    name_id: str
    name_id_format: str
    auth_at: Instant
    context: str
    session_index: str
    attributes: Mapping[str, tuple[str, ...]]


def verify_response(raw: bytes, asked: Asked, now: Instant) -> VerifiedAssertion:
    """Return the assertion of a response, in the steps that the module says.

    Raises:
        SamlRefused: one of them fails; `why` says which.
        Unavailable: xmlsec1 is not installed.
    """
    root = read_message(raw, "Response")
    assertion = _only_assertion(root)
    if root.get("InResponseTo") != asked.request:
        raise SamlRefused("it does not answer the request of this browser")
    if root.get("Destination") not in (None, asked.consumer):
        raise SamlRefused("it is meant for another address")
    _demand_issuer(root, asked, needed=False)
    demand_success(root)
    if assertion is None:
        raise SamlRefused("it holds no assertion")
    signed = verify_signatures(raw, root, asked.provider.certificates)
    if not signed:
        raise SamlRefused("neither it nor its assertion is signed")
    if root in signed and root.get("Destination") is None:
        raise SamlRefused("it is signed and does not say for which address")  # bindings 3.5.5.2
    _demand_issuer(assertion, asked, needed=True)
    made_at = _instant(assertion, "IssueInstant")
    if assertion.get("Version") != "2.0" or not now - MADE_AGO_MAX_S - SKEW_S <= made_at <= now + SKEW_S:
        raise SamlRefused("its assertion was not made within the last minutes")
    name_id, confirmed_until = _subject(assertion, asked, now)
    valid_until = _conditions(assertion, asked, now)
    statement = _statement(assertion, now)
    auth_at = _instant(statement, "AuthnInstant")
    if asked.max_age_s is not None and auth_at < now - asked.max_age_s - SKEW_S:
        raise SamlRefused("the sign-in there is too old")
    return VerifiedAssertion(
        id=assertion.get("ID", ""),
        expires_at=max(confirmed_until, valid_until) + SKEW_S,
        name_id=text_of(name_id),
        name_id_format=name_id.get("Format", ""),
        auth_at=min(auth_at, now),
        context=text_of(statement.find(f"{_sa('AuthnContext')}/{_sa('AuthnContextClassRef')}")),
        session_index=statement.get("SessionIndex", "")[:SUBJECT_MAX],
        attributes=_attributes(assertion),
    )


def read_message(raw: bytes, name: str) -> ET.Element:
    """Return a message of the protocol, of this name and of SAML 2.0, not yet believed.

    Raises:
        SamlRefused: it is not one.
    """
    try:
        root = parse_xml(raw)
    except XmlRefused as error:
        raise SamlRefused(str(error)) from None
    if root.tag != _sp(name) or root.get("Version") != "2.0":
        raise SamlRefused(f"it is no {name} of SAML 2.0")
    if not root.get("ID"):
        raise SamlRefused("it has no ID")
    return root


def demand_success(root: ET.Element) -> None:
    """Check that a response tells of success.

    Raises:
        SamlRefused: it tells of something else.
    """
    code = root.find(f"{_sp('Status')}/{_sp('StatusCode')}")
    if code is None or code.get("Value") != SUCCESS:
        inner = None if code is None else code.find(_sp("StatusCode"))
        value = (inner if inner is not None else code).get("Value", "") if code is not None else ""
        word = value.rpartition(":")[2]
        raise SamlRefused(f"the provider says {word if word.isalpha() and len(word) <= 40 else 'no'}")


def instant_of(text: str) -> Instant:
    """Return the instant of an xs:dateTime; without a zone it is UTC (core 1.3.3).

    Raises:
        SamlRefused: it is none.
    """
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise SamlRefused("one of its times is none") from None


def _only_assertion(root: ET.Element) -> ET.Element | None:
    if any(element.tag in [_sa(name) for name in ENCRYPTED] for element in root.iter()):
        raise SamlRefused("part of it is encrypted, to nobody here")
    everywhere = list(root.iter(_sa("Assertion")))
    if len(everywhere) > 1 or (everywhere and everywhere != root.findall(_sa("Assertion"))):
        raise SamlRefused("it holds more than one assertion, or one where none may stand")
    return everywhere[0] if everywhere else None


def _demand_issuer(element: ET.Element, asked: Asked, *, needed: bool) -> None:
    issuers = element.findall(_sa("Issuer"))
    if (issuers or needed) and [text_of(one) for one in issuers] != [asked.provider.entity_id]:
        raise SamlRefused("it is from another provider")


def _subject(assertion: ET.Element, asked: Asked, now: Instant) -> tuple[ET.Element, Instant]:
    """Return the NameID, and until when it is confirmed (profiles 4.1.4.2)."""
    subjects = assertion.findall(_sa("Subject"))
    names = subjects[0].findall(_sa("NameID")) if len(subjects) == 1 else []
    if len(names) != 1 or not 0 < len(text_of(names[0])) <= SUBJECT_MAX:
        raise SamlRefused("it names no subject, or one that is endless")
    why = "no bearer"
    for confirmation in subjects[0].findall(_sa("SubjectConfirmation")):
        data = confirmation.find(_sa("SubjectConfirmationData"))
        if confirmation.get("Method") != BEARER or data is None:
            continue
        why = _unconfirmed(data, asked, now)
        if not why:
            return names[0], _instant(data, "NotOnOrAfter")
    raise SamlRefused(f"its subject is not confirmed: {why}")


def _unconfirmed(data: ET.Element, asked: Asked, now: Instant) -> str:
    if data.get("Recipient") != asked.consumer:
        return "it is meant for another address"
    if data.get("InResponseTo") != asked.request:
        return "it does not answer the request of this browser"
    if data.get("NotOnOrAfter") is None or _instant(data, "NotOnOrAfter") + SKEW_S <= now:
        return "it is too late"
    if data.get("NotBefore") is not None and _instant(data, "NotBefore") - SKEW_S > now:
        return "it is too early"
    return ""


def _conditions(assertion: ET.Element, asked: Asked, now: Instant) -> Instant:
    """Check the conditions; return until when they are met (core 2.5.1)."""
    found = assertion.findall(_sa("Conditions"))
    if len(found) != 1:
        raise SamlRefused("it has no conditions")
    conditions = found[0]
    if any(child.tag not in [_sa(name) for name in KNOWN_CONDITIONS] for child in conditions):
        raise SamlRefused("it has a condition that is not known here")
    until = now
    if conditions.get("NotOnOrAfter") is not None:
        until = _instant(conditions, "NotOnOrAfter")
        if until + SKEW_S <= now:
            raise SamlRefused("it is too late: NotOnOrAfter")
    if conditions.get("NotBefore") is not None and _instant(conditions, "NotBefore") - SKEW_S > now:
        raise SamlRefused("it is too early: NotBefore")
    audiences = conditions.findall(_sa("AudienceRestriction"))
    for restriction in audiences:
        if asked.entity_id not in [text_of(one) for one in restriction.findall(_sa("Audience"))]:
            raise SamlRefused("it is for another audience")
    if not audiences:
        raise SamlRefused("it does not say for whom it is")
    return until


def _statement(assertion: ET.Element, now: Instant) -> ET.Element:
    """Return the authentication statement (core 2.7.2)."""
    found = assertion.findall(_sa("AuthnStatement"))
    if not found:
        raise SamlRefused("it does not say that anybody signed in")
    statement = found[0]
    if _instant(statement, "AuthnInstant") > now + SKEW_S:
        raise SamlRefused("the sign-in there is yet to come")
    ends = statement.get("SessionNotOnOrAfter")
    if ends is not None and instant_of(ends) + SKEW_S <= now:
        raise SamlRefused("the session there is over")
    return statement


def _attributes(assertion: ET.Element) -> dict[str, tuple[str, ...]]:
    named: dict[str, tuple[str, ...]] = {}
    friendly: dict[str, tuple[str, ...]] = {}
    for attribute in assertion.iterfind(f"{_sa('AttributeStatement')}/{_sa('Attribute')}"):
        values = tuple(filter(None, (text_of(value) for value in attribute.findall(_sa("AttributeValue")))))
        name, other = attribute.get("Name", ""), attribute.get("FriendlyName", "")
        named[name] = (*named.get(name, ()), *values)
        if other:
            friendly[other] = (*friendly.get(other, ()), *values)
    return {**friendly, **named}


def _instant(element: ET.Element, name: str) -> Instant:
    return instant_of(element.get(name, ""))


def _sa(name: str) -> str:
    return f"{{{ASSERTION}}}{name}"


def _sp(name: str) -> str:
    return f"{{{PROTOCOL}}}{name}"

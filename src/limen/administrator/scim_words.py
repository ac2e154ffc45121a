"""From a SCIM document to what the directory holds of a person or group: names, address, attributes. Pure.

Laws:
    W1 a name that had to be bent never takes a plain one: whatever `userName` holds that usernames cannot
       gets an ending that nobody chose, so that "ada!" is not `ada` even where there is no `ada` yet.
    W2 what a client writes for its own eyes stops nothing: no name of a person, however odd, makes a
       document unfit, since the same document must be able to say that they have left.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from scim2_models import InvalidValueException

from limen.administrator.scim_models import ENTERPRISE_URN
from limen.administrator.upstream_names import clean_email, clean_name, derive_username, is_reserved
from limen.core.identity_config import ScimConfig
from limen.information.identity.claim_rules import apply_rules, fit_types
from limen.journal.owners import NOT_PEOPLE

TEXT_LENGTH_MAX = 255  # characters of userName, externalId and displayName
ENDING_LENGTH = 6  # characters of what a bent name ends with
TRIES = 100

_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}(@[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?)?")

Document = Mapping[str, Any]


def demand_text(document: Document, name: str) -> str:
    """Return a text that is looked for, or shown: one line of bounded length; empty when it is not there.

    Raises:
        InvalidValueException: too long, or it does not print.
    """
    value = document.get(name)
    text = "" if value is None else str(value)
    if len(text) > TEXT_LENGTH_MAX or not text.isprintable():
        raise InvalidValueException(
            detail=f"{name}: write one line of at most {TEXT_LENGTH_MAX} characters.", attribute=name
        )
    return text


def demand_user_name(document: Document) -> str:
    """Return what the client calls somebody when they sign in.

    Raises:
        InvalidValueException: nothing, or as `demand_text`.
    """
    text = demand_text(document, "userName")
    if not text.strip():
        raise InvalidValueException(detail="userName: it is empty.", attribute="userName")
    return text


def fold(text: str) -> str:
    """Return text as SCIM compares what is not `caseExact` (RFC 7643 section 2.2)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def choose_username(user_name: str, ending: str, taken: Callable[[str], bool]) -> str:
    """Return the username of a new person (law W1). `ending` is random; `taken` is asked of each proposal."""
    wanted = fold(user_name)
    plain = _PLAIN.fullmatch(wanted) is not None and wanted not in NOT_PEOPLE
    if plain and not taken(wanted):
        return wanted
    local, at, domain = derive_username(user_name).partition("@")
    ending = ending[:ENDING_LENGTH]
    room = 63 - len(ending)
    local = re.sub(r"^[^a-z0-9]+", "", local)[:room] or "person"
    domain = re.sub(r"[^a-z0-9.-]", "-", domain).strip("-.")[:63].strip("-.")
    for number in range(TRIES):
        mark = ending if number == 0 else f"{ending[:-2]}{number:02d}"
        proposal = f"{local}-{mark}{at if domain else ''}{domain}"
        if not taken(proposal):
            return proposal
    raise AssertionError("an ending of six random characters was taken a hundred times")


def read_name(document: Document) -> str:
    """Return what people call somebody (law W2): as displayed, as formatted, in parts, or as they sign in."""
    name = document.get("name") or {}
    parts = " ".join(str(name[key]) for key in ("givenName", "familyName") if name.get(key))
    for text in (document.get("displayName"), name.get("formatted"), parts, document.get("userName")):
        cleaned = clean_name(" ".join(str(text or "").split()))
        if cleaned:
            return cleaned
    return ""


def read_email(document: Document) -> str:
    """Return the address that counts: the primary one, else that of work, else the first.

    Raises:
        InvalidValueException: it does not read the same to everybody.
    """
    listed = [one for one in document.get("emails") or () if one.get("value")]
    chosen = sorted(listed, key=lambda one: (one.get("primary") is not True, one.get("type") != "work"))
    if not chosen:
        return ""
    email = clean_email(str(chosen[0]["value"]))
    if not email:
        raise InvalidValueException(
            detail="emails: the address that counts is not one of plain letters with one @.",
            attribute="emails",
        )
    return email


def read_attributes(config: ScimConfig, document: Document, types: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes that the bundle's rules make of a document.

    Rules see the document as it is; what the enterprise extension says is below `enterprise` too.
    """
    claims = {**document, "enterprise": document.get(ENTERPRISE_URN) or {}}
    return fit_types(apply_rules(config.people.rules, claims)[1], types)


def ruled_attributes(config: ScimConfig) -> frozenset[str]:
    """Return the attributes that this client's rules answer for."""
    return frozenset(rule.attribute for rule in config.people.rules if rule.attribute)


def read_active(document: Document) -> bool:
    """Say whether the client lets somebody in; silence is yes (RFC 7643 section 4.1.1 leaves it open)."""
    return document.get("active") is not False


def group_name(config: ScimConfig, display: str) -> str:
    """Return the name of a group here.

    Raises:
        InvalidValueException: it is one of Limen's own, or no name.
    """
    name = unicodedata.normalize("NFC", f"{config.people.group_prefix}{display}").strip()
    if is_reserved(name):
        raise InvalidValueException(
            detail="displayName: groups named limen-… are Limen's own, and only administrators fill them.",
            attribute="displayName",
        )
    if not name or len(name) > 128 or not name.isprintable():
        raise InvalidValueException(
            detail="displayName: a group has a name of 1 to 128 printable characters, its prefix included.",
            attribute="displayName",
        )
    return name

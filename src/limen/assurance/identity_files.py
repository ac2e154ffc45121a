"""A directory's export as facts: a CSV, an LDIF, or what a SCIM service lists. Without a system; no I/O.

What an export does not say is not known, and the report says so.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from limen.assurance.identity_facts import IdentityFacts, PersonFacts
from limen.core.errors import Invalid
from limen.core.identity_config import LdapConfig
from limen.core.ids import Instant
from limen.information.identity.ldap_entries import Entry, resolve
from limen.information.identity.ldif import parse_ldif

PRIVILEGED_WORDS = ("admin", "root", "operator", "privileged")
"""What the name of a group with a privilege has in it, where no policies say who has one."""

CSV_NEEDED = "username"
LISTS = ("groups", "factors")
INSTANTS = {"expires": "expires_at", "created": "created_at", "last_sign_in": "signed_in_at"}
PLAIN = ("name", "email", "status", "kind", "source", "sponsor")
_FILETIME_EPOCH_S = 11_644_473_600.0
_GENERALIZED = ("%Y%m%d%H%M%SZ", "%Y%m%d%H%M%S.%fZ", "%Y%m%d%H%MZ")  # RFC 4517 3.3.13

LDAP_USES = ("lastlogontimestamp", "authtimestamp", "pwdlastsuccess")
LDAP_MADE = ("whencreated", "createtimestamp")


def facts_of(at: Instant, people: Iterable[PersonFacts], privileged: Iterable[str] = ()) -> IdentityFacts:
    """Return facts of people alone. `privileged`: groups that give a privilege; else their names say so."""
    found = tuple(people)
    named = {name for one in found for name in one.groups if _sounds_privileged(name)}
    return IdentityFacts(at=at, people=found, privileged=tuple(sorted({*privileged} or named)))


def read_csv(text: str) -> tuple[PersonFacts, ...]:
    """Return people of a CSV: `username`, and any of name, email, groups (a;b), status, kind, sponsor,
    source, expires, created, last_sign_in, factors (password;totp;passkey). Other columns are passed over.

    Raises:
        Invalid: no column username, a date that is none; the message names the line.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    columns = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    if CSV_NEEDED not in columns:
        raise Invalid("The CSV has no column username.", remedy="Its first line names the columns.")
    found: dict[str, PersonFacts] = {}
    for row in reader:
        cells = {name: (row.get(column) or "").strip() for name, column in columns.items()}
        if cells[CSV_NEEDED]:
            found[cells[CSV_NEEDED]] = _csv_person(cells, columns.keys(), reader.line_num)
    return tuple(found.values())


def read_ldif(text: str) -> tuple[PersonFacts, ...]:
    """Return people of an LDIF, of Active Directory or any other: entries with uid or sAMAccountName.

    Raises:
        Invalid: it is no LDIF, or nobody is in it.
    """
    entries: list[Entry] = list(parse_ldif(text))
    active_directory = any("samaccountname" in values for _, values in entries)
    username = "sAMAccountName" if active_directory else "uid"
    groups = [one for one in entries if _is_group(one)]
    people = [one for one in entries if username.lower() in one[1] and not _is_group(one)]
    if not people:
        raise Invalid(
            "Nobody is in the LDIF: no entry has uid or sAMAccountName.", remedy="Export people too."
        )
    config = LdapConfig("export", "", "", username=username, stable_id="dn")
    named = [(dn, {**values, "dn": [dn.encode()]}) for dn, values in people]
    raw = dict(named)
    read = resolve(config, named, groups)
    return tuple(
        PersonFacts(
            id=one.username.lower(),
            name=one.name,
            email=one.email,
            status="suspended" if one.disabled else "active",
            source="ldap:export",
            expires_at=one.ends_at,
            created_at=_first(raw[one.dn], LDAP_MADE),
            signed_in_at=_first(raw[one.dn], LDAP_USES),
            uses_known=any(name in raw[one.dn] for name in LDAP_USES),
            groups=one.groups,
        )
        for one in read.people
    )


def read_scim(text: str) -> tuple[PersonFacts, ...]:
    """Return people of a SCIM service: a ListResponse, a list of users, or a user a line (RFC 7643, 7644).

    Raises:
        Invalid: it is no JSON, or lists nobody.
    """
    found = [one for one in _resources(text) if isinstance(one.get("userName"), str)]
    if not found:
        raise Invalid("The file lists no user with a userName.", remedy="Save what GET /Users answers.")
    return tuple(_scim_person(one) for one in found)


READERS: Mapping[str, Callable[[str], tuple[PersonFacts, ...]]] = {
    "csv": read_csv,
    "ldif": read_ldif,
    "scim": read_scim,
}
"""Kinds of exports, and what reads each."""


def _csv_person(cells: Mapping[str, str], columns: Iterable[str], line: int) -> PersonFacts:
    known = set(columns)
    fields: dict[str, Any] = {name: cells[name] for name in PLAIN if cells.get(name)}
    for column, field in INSTANTS.items():
        if cells.get(column):
            fields[field] = _instant(cells[column], f"line {line}, {column}")
    groups, factors = (tuple(sorted(_split(cells.get(name, "")))) for name in LISTS)
    return PersonFacts(
        id=cells[CSV_NEEDED],
        **{**fields, "status": fields.get("status", "active").lower()},
        groups=groups,
        factors=factors if "factors" in known else None,
        uses_known="last_sign_in" in known,
    )


def _scim_person(user: Mapping[str, Any]) -> PersonFacts:
    emails = [one for one in user.get("emails") or () if isinstance(one, Mapping)]
    mail = next((one for one in emails if one.get("primary")), emails[0] if emails else {})
    groups = [one for one in user.get("groups") or () if isinstance(one, Mapping)]
    meta = user.get("meta") if isinstance(user.get("meta"), Mapping) else {}
    made = meta.get("created") if meta else None
    return PersonFacts(
        id=str(user["userName"]),
        name=str(user.get("displayName") or ""),
        email=str(mail.get("value") or ""),
        status="active" if user.get("active", True) in (True, "True", "true") else "suspended",
        source="scim:export",
        created_at=_instant(made, "meta.created") if isinstance(made, str) else None,
        uses_known=False,
        groups=tuple(sorted({str(one.get("display") or one.get("value") or "") for one in groups} - {""})),
    )


def _resources(text: str) -> list[Mapping[str, Any]]:
    try:
        whole = msgspec.json.decode(text)
    except msgspec.DecodeError:
        try:
            whole = [msgspec.json.decode(line) for line in text.splitlines() if line.strip()]
        except msgspec.DecodeError as error:
            raise Invalid(f"The file is not JSON: {error}.", remedy="Save what GET /Users answers.") from None
    if isinstance(whole, Mapping):
        whole = whole.get("Resources", [whole])
    return [one for one in whole if isinstance(one, Mapping)] if isinstance(whole, list) else []


def _is_group(entry: Entry) -> bool:
    kinds = {value.decode("utf-8", "replace").lower() for value in entry[1].get("objectclass", ())}
    return bool(kinds & {"group", "groupofnames", "groupofuniquenames", "posixgroup"})


def _first(values: Mapping[str, Any], names: Iterable[str]) -> Instant | None:
    """Return the instant of the first attribute that has one: as Windows or as LDAP writes it."""
    for name in names:
        for raw in values.get(name, ()):
            text = raw.decode("ascii", "replace")
            if text.isdigit() and len(text) >= 17:
                return int(text) / 1e7 - _FILETIME_EPOCH_S
            for form in _GENERALIZED:
                try:
                    return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
                except ValueError:
                    continue
    return None


def _instant(text: str, where: str) -> Instant:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        said = f"{where}: {text[:40]!r} is not a date."
        raise Invalid(said, remedy="Write 2027-01-31, or 2027-01-31T18:00:00Z.") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _split(cell: str) -> set[str]:
    return {part.strip() for part in cell.split(";") if part.strip()}


def _sounds_privileged(name: str) -> bool:
    return any(word in name.casefold() for word in PRIVILEGED_WORDS)

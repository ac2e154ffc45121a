"""All that is held about a person, for the person: what the directory holds, and every record of the journal.

Secrets are not part of it: of a password or a key, that there is one, and since when.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, or_, select

from limen.core.errors import Invalid
from limen.core.ids import EntityRef
from limen.journal import stored
from limen.journal.keys import Keys
from limen.journal.records import decode_payload
from limen.store import identity_tables, tables
from limen.store.complaints import list_complaints
from limen.store.database import Store
from limen.store.directory import get_person
from limen.store.scim import USER

RECORDS = f"{__name__}:collect_records"
"""For `run_apart`; its job is a `RecordsJob`."""

_HIDDEN = frozenset(
    {
        "token_hash",
        "old_token_hash",
        "code_hash",
        "hash",
        "seed_sealed",
        "sealed",
        "approval_hash",
        "mail_hash",
        "name_hash",
        "public_key",
        "handle",
        "last_step",
        "data",
    }
)
"""Columns that are secrets, or say nothing to anybody but Limen."""


class RecordsJob(msgspec.Struct, frozen=True):
    """Whose records, in which journals. `names` are further texts by which records may name the person."""

    journal: str
    person: str
    names: tuple[str, ...] = ()


def export_directory(store: Store, person: str) -> dict[str, Any]:
    """Return what the database holds of a person, JSON-ready.

    Raises:
        NotFound: nobody has this username.
    """
    with store.read() as connection:
        found = get_person(connection, person)
        owner = str(EntityRef("User", person))
        return {
            "person": msgspec.to_builtins(found),
            "memberships": _rows(connection, tables.membership, person=person),
            "authenticators": {
                "password": _rows(connection, tables.password, person=person),
                "totp": _rows(connection, tables.totp, person=person),
                "passkeys": _rows(connection, tables.passkey, person=person),
                "recovery_codes": _rows(connection, tables.recovery_code, person=person),
            },
            **_elsewhere(connection, person),
            "sessions": _sessions(connection, person),
            "sign_ins": _rows(connection, tables.sign_in, person=person),
            "sign_ins_at_clients": _sign_ins_at_clients(connection, person),
            "logouts_to_be_told": _rows(connection, identity_tables.logout_notice, person=person),
            "enrolment_links": _rows(connection, tables.enrolment_link, person=person),
            "recoveries": _rows(connection, identity_tables.recovery, person=person),
            "recovered": _rows(connection, identity_tables.recovered, person=person),
            "end_of_time": _rows(connection, identity_tables.person_care, person=person),
            "emergency_access": _rows(connection, identity_tables.break_glass, person=person),
            "notices": _rows(connection, identity_tables.notice, person=person),
            "grants": _grants(connection, person),
            "workloads": _rows(connection, tables.workload, owner=person),
            "complaints": [msgspec.to_builtins(one) for one in list_complaints(connection, person=person)],
            "legal_holds": _rows(connection, tables.legal_hold, subject=owner),
        }


def collect_records(job: Any, tell: Callable[[int, int], None]) -> Any:
    """Return every record that is a person's own or names them, in a process apart."""
    asked = msgspec.convert(job, RecordsJob)
    root = Path(asked.journal)
    keys = Keys.open(root)
    own = {key.id.encode() for key in keys.keys_of(str(EntityRef("User", asked.person)))}
    named = _named((asked.person, *asked.names))
    names = [name for node in stored.list_nodes(root) for name in stored.list_stored(root / node)]
    found = []
    for done, name in enumerate(names):
        tell(done, len(names))
        for frame in stored.frames(name):
            if frame.payload is None:
                continue
            try:
                record = decode_payload(frame.payload, frame.position, keys)
            except Invalid:
                continue  # damaged or forged: `limen audit verify` says which
            text = msgspec.json.encode(record)
            if any(key in frame.payload for key in own) or named.search(text):
                place = {"node": name.path.parent.name, "boot": name.boot, "position": frame.position}
                found.append({**place, "record": msgspec.json.decode(text)})
    return found


def _named(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """Return what finds a name as a word, as JSON writes it: `ada`, and not in `adam` or `ada.b`."""
    words = "|".join(re.escape(msgspec.json.encode(name)[1:-1].decode()) for name in names if name)
    return re.compile(rf"(?<![\w.@-])(?:{words})(?![\w@-]|\.\w)".encode())


def _elsewhere(connection: Connection, person: str) -> dict[str, Any]:
    """Return who the person is elsewhere, and what sources say of them."""
    provisioned = _rows(connection, identity_tables.scim_resource, target=person, kind=USER)
    return {
        "identities_elsewhere": _rows(connection, tables.external_identity, person=person),
        "directories": _rows(connection, identity_tables.source_account, person=person),
        "provisioned": [{**one, "document": msgspec.json.decode(one["document"])} for one in provisioned],
    }


def _sessions(connection: Connection, person: str) -> list[dict[str, Any]]:
    """Return the sessions, and what hangs on each: apps, sessions at providers, apps that speak SAML."""
    return [
        {
            **one,
            "apps": _rows(connection, tables.app_session, parent=one["id"]),
            "at_providers": _rows(connection, tables.upstream_session, session=one["id"]),
            "saml_apps": _rows(connection, identity_tables.saml_issued, session=one["id"]),
        }
        for one in _rows(connection, tables.session, person=person)
    ]


def _sign_ins_at_clients(connection: Connection, person: str) -> list[dict[str, Any]]:
    return [
        {**one, "tokens": _rows(connection, identity_tables.oauth_token, authorization=one["id"])}
        for one in _rows(connection, identity_tables.oauth_authorization, person=person)
    ]


def _rows(connection: Connection, table: Table, **where: str) -> list[dict[str, Any]]:
    query = select(table).where(*(table.c[name] == value for name, value in where.items()))
    return [_shown(row._mapping) for row in connection.execute(query)]


def _grants(connection: Connection, person: str) -> list[dict[str, Any]]:
    """Return the grants that a person has, and those that they gave."""
    grant = tables.grant
    theirs = (grant.c.principal_type == "User") & (grant.c.principal_id == person)
    query = select(grant).where(or_(theirs, grant.c.actor == person))
    return [_shown(row._mapping) for row in connection.execute(query)]


def _shown(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _HIDDEN}

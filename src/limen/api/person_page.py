"""All about one person, on a page: who keeps them, what they prove and can reach, what is wrong."""

from typing import Any

import msgspec
from sqlalchemy import Connection, select

from limen.api.deps import AdminDeps
from limen.api.grants import grants_of
from limen.api.identity import read_context
from limen.assurance.identity_read import find_neighbours, read_facts
from limen.assurance.identity_report import assess_identity
from limen.core.decision import SessionFacts
from limen.core.ids import EntityRef, Instant
from limen.core.resources import owners
from limen.information.identity.assurance import assess_methods
from limen.store import directory, sessions, sources, workloads
from limen.store import tables as t
from limen.store.credentials import load_credentials
from limen.store.identities import list_identities
from limen.store.oauth import list_authorizations
from limen.store.recoveries import list_recovered

SUPPOSED_S = 3_600.0


def show_page(deps: AdminDeps, person: str) -> dict[str, Any]:
    """Return all that is known of a person and what follows from it. No secret is part of it.

    Raises:
        NotFound: nobody has this username.
    """
    now = deps.clock.now()
    with deps.store.read() as connection:
        found = directory.get_person(connection, person)
        page = {**msgspec.to_builtins(found), **_rows(connection, person, now)}
        context = read_context(deps, connection)
        facts = read_facts(connection, now, context, only=find_neighbours(connection, person))
    proofs = next((one for one in facts.people if one.id == person), None)
    report = assess_identity(msgspec.structs.replace(facts, workloads=(), secrets=(), resources=()))
    catalogue = deps.authority.active().catalogue
    return {
        **page,
        "grants": grants_of(deps, person),
        "all_groups": _all_groups(deps, person),
        "has_role": deps.books.holds(EntityRef("User", person)),
        "owns": sorted(name for name, owner in owners(catalogue).items() if owner == person),
        "opens": _opens(deps, person, proofs.factors or () if proofs else (), now),
        "findings": [
            {"check": row.check, "severity": row.severity, "what": row.what, "cure": row.cure}
            for row in report.rows
            if row.about == person
        ],
    }


def _rows(connection: Connection, person: str, now: Instant) -> dict[str, Any]:
    held = load_credentials(connection, person)
    live = sessions.list_sessions(connection, person)
    given = select(t.membership.c.group, t.membership.c.source).where(t.membership.c.person == person)
    sponsored = select(t.person.c.id).where(t.person.c.sponsor == person).order_by(t.person.c.id)
    machines = workloads.list_workloads(connection)
    recovered = [one for one in list_recovered(connection) if one.person == person]
    return {
        "second_factors": sorted(held.second_factors) if held else [],
        "authenticators": _authenticators(connection, person),
        "recovery_codes_left": held.recovery_left if held else 0,
        "recovered_until": recovered[0].until if recovered else None,
        "identities": [
            {"source": one.source, "subject": one.subject, "linked_at": one.linked_at}
            for one in list_identities(connection, person)
        ],
        "listed_by": [
            {"source": one.source, "says": one.says, "since": one.since, "email": one.email}
            for one in sources.list_accounts(connection, person=person)
        ],
        "memberships": [
            dict(row._mapping) for row in connection.execute(given.order_by(t.membership.c.group))
        ],
        "sessions": [one.id for one in live],
        "signed_in": [_session(connection, one) for one in live],
        "clients": [
            {"client": one.client, "since": one.created_at, "until": one.expires_at}
            for one in list_authorizations(connection, person=person)
        ],
        "workloads": [one.id for one in machines if one.owner == person],
        "sponsors": list(connection.scalars(sponsored)),
    }


def _authenticators(connection: Connection, person: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind, table in (("password", t.password), ("totp", t.totp)):
        for row in connection.execute(select(table.c.set_at).where(table.c.person == person)):
            found.append({"kind": kind, "name": "", "since": row.set_at, "used_at": None})
    keys = select(t.passkey).where(t.passkey.c.person == person).order_by(t.passkey.c.created_at)
    for row in connection.execute(keys):
        kind = "hardware-key" if row.bound else "passkey"
        shown = {"kind": kind, "name": row.name, "since": row.created_at, "used_at": row.used_at}
        found.append({**shown, "aaguid": row.aaguid, "attested": row.attested, "backed_up": row.backed_up})
    return found


def _session(connection: Connection, one: sessions.Session) -> dict[str, Any]:
    apps = {app.app for app in sessions.list_app_sessions(connection, one.id)}
    return {
        "id": one.id,
        "aal": one.aal,
        "phishing_resistant": one.phishing_resistant,
        "methods": list(one.methods),
        "auth_at": one.auth_at,
        "seen_at": one.seen_at,
        "expires_at": one.expires_at,
        "ip": one.ip,
        "user_agent": one.user_agent,
        "apps": sorted(apps),
    }


def _all_groups(deps: AdminDeps, person: str) -> list[str]:
    closure = deps.authority.ask(lambda replica: replica.closure(EntityRef("User", person)))
    if closure is None:
        return []
    return sorted(ref.id for ref in closure.ancestors if ref.type == "Group")


def _opens(deps: AdminDeps, person: str, factors: tuple[str, ...], now: Instant) -> list[dict[str, Any]]:
    """Return what would open for them now, just signed in by the best that they have."""
    methods = (*factors, "passkey") if "hardware-key" in factors else factors
    worth = assess_methods(methods)
    best = SessionFacts(
        "supposed",
        max(1, worth.aal),
        worth.phishing_resistant,
        tuple(sorted(methods)),
        now,
        now,
        now + SUPPOSED_S,
    )
    found = deps.authority.may_open(person, best)
    return [{"name": name, "opens": opens, "why": why} for name, (opens, why) in sorted(found.items())]

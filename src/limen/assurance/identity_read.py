"""The facts of a report on identity, read from the database: each table once, however many people."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, func, select

from limen.assurance.identity_facts import (
    IdentityFacts,
    PersonFacts,
    ResourceFacts,
    Says,
    SecretFacts,
    WorkloadFacts,
)
from limen.assurance.identity_moves import Move, read_moves
from limen.core.ids import Instant
from limen.core.roles import BREAK_GLASS, EMERGENCY
from limen.store import identity_tables as it
from limen.store import tables as t

PROVIDERS = ("oidc:", "saml:")
NEIGHBOURS_MAX = 50


class Context(msgspec.Struct, frozen=True):
    """What the database does not say.

    Attributes:
        sources: those that the bundle in force names.
        privileged: groups that give a privilege.
        privileged_people: people who have one by themselves.
        resources: what there is, and who answers for it.
    """

    sources: tuple[str, ...] | None = None
    privileged: tuple[str, ...] = ()
    privileged_people: tuple[str, ...] = ()
    resources: tuple[ResourceFacts, ...] | None = None


Only = frozenset[str] | None
"""Of whom to read; None: of everybody."""


def read_facts(connection: Connection, at: Instant, context: Context, *, only: Only = None) -> IdentityFacts:
    """Return what the database holds about identity: all of it, or of these people alone."""
    moves, since = read_moves(connection, only)
    return IdentityFacts(
        at=at,
        people=tuple(_people(connection, at, moves, only)),
        sources=context.sources,
        parents=_listed(connection, t.nesting.c.child, t.nesting.c.parent),
        privileged=context.privileged,
        privileged_people=context.privileged_people,
        workloads=tuple(_workloads(connection)),
        secrets=tuple(_secrets(connection, at)),
        resources=context.resources,
        changes_since=since,
    )


def find_neighbours(connection: Connection, person: str) -> frozenset[str]:
    """Return those without whom a person cannot be judged: who answers for them, who has their address."""
    row = connection.execute(
        select(t.person.c.email, t.person.c.sponsor).where(t.person.c.id == person)
    ).first()
    found = {person}
    if row is not None and row.sponsor:
        found.add(row.sponsor)
    if row is not None and row.email:
        same = func.lower(t.person.c.email) == row.email.lower()
        found.update(connection.scalars(select(t.person.c.id).where(same).limit(NEIGHBOURS_MAX)))
    return frozenset(found)


# --- people ------------------------------------------------------------------------------------------


def _people(
    connection: Connection, at: Instant, moves: Mapping[str, Move], only: Only
) -> Iterable[PersonFacts]:
    given = _memberships(connection, only)
    factors = _factors(connection, only)
    providers = _providers(connection, only)
    proven = _proven(connection, only)
    says = _says(connection, only)
    grants = _grants(connection, at, only)
    nothing: dict[str, str] = {}
    columns = [
        t.person.c[name]
        for name in (
            *("id", "name", "email", "status", "kind", "source", "sponsor"),
            *("expires_at", "created_at", "signed_in_at", "groups_unknown"),
        )
    ]
    for row in connection.execute(_of(select(*columns), t.person.c.id, only)):
        groups, moved = given.get(row.id, nothing), moves.get(row.id)
        if row.id == EMERGENCY and set(groups) == {BREAK_GLASS} and not factors.get(row.id):
            continue  # nobody: who has the sealed credential, which no second factor may stand in the way of
        aal, resistant = proven.get(row.id, (None, None))
        yield PersonFacts(
            **row._mapping,
            groups=tuple(sorted(groups)),
            given=groups,
            factors=tuple(sorted(factors.get(row.id, ()))),
            providers=tuple(sorted(providers.get(row.id, ()))),
            proven_aal=aal,
            proven_phishing_resistant=resistant,
            says=tuple(says.get(row.id, ())),
            moved_at=moved.at if moved else None,
            moved=moved.what if moved else "",
            kept=_kept(moved, groups, grants.get(row.id, ())) if moved else (),
        )


def _kept(
    moved: Move, groups: Mapping[str, str], grants: Iterable[tuple[str, str, Instant]]
) -> tuple[str, ...]:
    """Return what somebody has from before they moved, and that no source gives."""
    old = [f"group {name}" for name, source in groups.items() if source == "local" and name in moved.groups]
    return (*sorted(old), *sorted(f"grant {one} on {on}" for one, on, made in grants if made < moved.at))


def _memberships(connection: Connection, only: Only) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    query = select(t.membership.c.person, t.membership.c.group, t.membership.c.source)
    for person, group, source in connection.execute(_of(query, t.membership.c.person, only)):
        found[person][group] = source
    return found


def _factors(connection: Connection, only: Only) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, table in (("password", t.password), ("totp", t.totp)):
        for person in connection.scalars(_of(select(table.c.person), table.c.person, only)):
            found[person].add(name)
    keys = _of(select(t.passkey.c.person, t.passkey.c.bound), t.passkey.c.person, only)
    for person, bound in connection.execute(keys):
        found[person].add("hardware-key" if bound else "passkey")
    left = select(t.recovery_code.c.person).where(t.recovery_code.c.used_at.is_(None)).distinct()
    for person in connection.scalars(_of(left, t.recovery_code.c.person, only)):
        found[person].add("recovery")
    return found


def _providers(connection: Connection, only: Only) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    links = select(t.external_identity.c.person, t.external_identity.c.source)
    for person, source in connection.execute(_of(links, t.external_identity.c.person, only)):
        if source.startswith(PROVIDERS):
            found[person].add(source)
    return found


def _proven(connection: Connection, only: Only) -> dict[str, tuple[int, bool]]:
    """Return the best that each person's sign-ins through a provider have proven."""
    found: dict[str, tuple[int, bool]] = {}
    through = select(t.upstream_session.c.session)
    query = select(t.session.c.person, t.session.c.aal, t.session.c.phishing_resistant)
    query = _of(query.where(t.session.c.id.in_(through)), t.session.c.person, only)
    for row in connection.execute(query):
        best, strong = found.get(row.person, (0, False))
        found[row.person] = (max(best, row.aal), strong or row.phishing_resistant)
    return found


def _says(connection: Connection, only: Only) -> dict[str, list[Says]]:
    found: dict[str, list[Says]] = defaultdict(list)
    for row in connection.execute(_of(select(it.source_account), it.source_account.c.person, only)):
        found[row.person].append(Says(row.source, row.says == "active", row.email))
    users = select(it.scim_resource.c.client, it.scim_resource.c.target, it.scim_resource.c.document)
    users = _of(users.where(it.scim_resource.c.kind == "User"), it.scim_resource.c.target, only)
    for row in connection.execute(users):
        found[row.target].append(_scim_says(f"scim:{row.client}", row.document))
    return found


def _scim_says(source: str, document: str) -> Says:
    try:
        user = msgspec.json.decode(document)
        emails = user.get("emails") or [{}]
        mail = next((one for one in emails if one.get("primary")), emails[0]).get("value", "")
        active = user.get("active", True)
    except (msgspec.DecodeError, AttributeError, IndexError, TypeError):
        return Says(source)
    return Says(source, active if isinstance(active, bool) else None, mail if isinstance(mail, str) else "")


def _grants(connection: Connection, at: Instant, only: Only) -> dict[str, list[tuple[str, str, Instant]]]:
    found: dict[str, list[tuple[str, str, Instant]]] = defaultdict(list)
    query = select(t.grant).where(t.grant.c.principal_type == "User", t.grant.c.expires_at > at)
    for row in connection.execute(_of(query, t.grant.c.principal_id, only)):
        on = f'{row.resource_type}::"{row.resource_id}"'
        found[row.principal_id].append((row.id, on, row.created_at))
    return found


def _of(query: Select[Any], column: ColumnElement[str], only: Only) -> Select[Any]:
    return query if only is None else query.where(column.in_(sorted(only)))


def _listed(connection: Connection, key: Any, value: Any) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for one, other in connection.execute(select(key, value)):
        found[one].append(other)
    return {one: tuple(sorted(others)) for one, others in found.items()}


# --- machines and secrets ----------------------------------------------------------------------------


def _workloads(connection: Connection) -> Iterable[WorkloadFacts]:
    used: dict[str, Instant] = {}
    token, session = t.workload_token, it.workload_session
    for column, table in ((token.c.used_at, token), (session.c.started_at, session)):
        for name, at in connection.execute(
            select(table.c.workload, func.max(column)).group_by(table.c.workload)
        ):
            used[name] = max(used.get(name, 0.0), at or 0.0)
    for row in connection.execute(select(t.workload).order_by(t.workload.c.id)):
        yield WorkloadFacts(
            id=row.id,
            owner=row.owner,
            purpose=row.description,
            status=row.status,
            created_at=row.created_at,
            expires_at=row.expires_at,
            review_at=row.review_at,
            used_at=max(used.get(row.id, 0.0), row.used_at or 0.0) or None,
        )


def _secrets(connection: Connection, at: Instant) -> Iterable[SecretFacts]:
    for row in connection.execute(select(t.app_secret.c.name, t.app_secret.c.set_at)):
        renew = f"Make a new one there, then: `limen secret set {row.name}`."
        yield SecretFacts("stored secret", row.name, "Limen", row.set_at, renew)
    for row in connection.execute(select(t.workload_token)):
        renew = f"Make another: `limen workload token {row.workload}`; then `limen workload revoke {row.id}`."
        yield SecretFacts("workload token", row.id, row.workload, row.created_at, renew, row.expires_at)
    for row in connection.execute(select(it.workload_credential)):
        renew = f"Give {row.workload} another, then take this one away: `limen workload show {row.workload}`."
        kind = f"workload {row.kind}"
        yield SecretFacts(kind, row.id, row.workload, row.created_at, renew, row.expires_at)
    for row in connection.execute(select(it.scim_token)):
        renew = f"Make another: `limen scim token {row.client}`; give it to the client; revoke this one."
        yield SecretFacts("SCIM token", row.id, row.client, row.created_at, renew, row.expires_at)
    signing = select(t.signing_key).where(
        t.signing_key.c.retired_at.is_(None), t.signing_key.c.active_at <= at
    )
    newest: dict[tuple[str, str], Any] = {}
    for row in connection.execute(signing.order_by(t.signing_key.c.active_at)):
        newest[row.use, row.alg] = row
    for row in newest.values():
        renew = "Rotate it; what it signed stays good until it is over."
        yield SecretFacts("signing key", row.kid, row.use, row.created_at, renew)

"""Projections: all there are, by kind and id; kept small, as a hundred thousand sessions are among them."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from limen.core.catalogue import CEDAR_TYPES
from limen.core.changes import (
    AppSessionFact,
    BundleFact,
    GrantFact,
    GroupFact,
    PersonFact,
    Projection,
    SecretFact,
    SessionFact,
    WorkloadFact,
    WorkloadSessionFact,
)
from limen.core.decision import Grant
from limen.core.entities import Entity
from limen.core.ids import EntityRef

Row = tuple[int, Projection]
"""A projection and its version: the position of its last change."""

KINDS: dict[type, str] = {
    PersonFact: "person",
    WorkloadFact: "workload",
    GroupFact: "group",
    SessionFact: "session",
    AppSessionFact: "app_session",
    WorkloadSessionFact: "workload_session",
    GrantFact: "grant",
    BundleFact: "bundle",
    SecretFact: "secret",
}
"""The feed's word for each kind of projection."""

ENTITY_TYPES = {"person": "User", "workload": "Workload", "group": "Group"}
"""Kinds of which policies see an entity, and its Cedar type."""

ROW_KINDS = {kind: name for name, kind in ENTITY_TYPES.items()}


class Projections:
    """Projections by kind and id, and grants by principal."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Row]] = {kind: {} for kind in KINDS.values()}
        self._methods: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._cookies: dict[str, tuple[str, ...]] = {}  # session -> its app sessions of kind `cookie`
        self.grants: dict[EntityRef, dict[str, Grant]] = {}

    def put(self, version: int, value: Projection) -> None:
        """Set a row."""
        kind = KINDS[type(value)]
        if isinstance(value, GrantFact):
            self._forget_grant(value.id)
            principal = EntityRef(*value.principal)
            grant = Grant(value.id, principal, value.actions, EntityRef(*value.resource), value.expires_at)
            self.grants.setdefault(principal, {})[value.id] = grant
        value = self._compact(value)
        if isinstance(value, AppSessionFact):
            self._forget_cookie(value.id)
            if value.kind == "cookie":
                self._cookies[value.parent] = (*self.cookies(value.parent), value.id)
        self._rows[kind][value.id] = (version, value)

    def drop(self, kind: str, row_id: str) -> None:
        """Remove a row, if it is there. Kinds of a later release have none."""
        if kind == "grant":
            self._forget_grant(row_id)
        if kind == "app_session":
            self._forget_cookie(row_id)
        self._rows.get(kind, {}).pop(row_id, None)

    def get(self, kind: str, row_id: str) -> Row | None:
        """Return a row."""
        return self._rows[kind].get(row_id)

    def value(self, kind: str, row_id: str) -> Any:
        """Return a row's projection, or None. Its type is the kind's."""
        row = self._rows[kind].get(row_id)
        return None if row is None else row[1]

    def of(self, kind: str) -> Iterator[tuple[str, Row]]:
        """Yield the rows of a kind with their ids."""
        yield from self._rows[kind].items()

    def cookies(self, session_id: str) -> tuple[str, ...]:
        """Return the ids of the app sessions of kind `cookie` below a session."""
        return self._cookies.get(session_id, ())

    def ordered(self) -> tuple[Row, ...]:
        """Return all rows, ordered by kind and id."""
        return tuple(row for kind in sorted(self._rows) for _, row in sorted(self._rows[kind].items()))

    def _forget_grant(self, grant_id: str) -> None:
        known = self.value("grant", grant_id)
        if known is not None:
            principal = EntityRef(*known.principal)
            held = self.grants[principal]
            del held[grant_id]
            if not held:
                del self.grants[principal]

    def _forget_cookie(self, token_hash: str) -> None:
        known = self.value("app_session", token_hash)
        if known is not None and known.kind == "cookie":
            rest = tuple(other for other in self._cookies[known.parent] if other != token_hash)
            if rest:
                self._cookies[known.parent] = rest
            else:
                del self._cookies[known.parent]

    def _compact(self, value: Projection) -> Projection:
        """Return an equal value that shares what many rows repeat."""
        if isinstance(value, AppSessionFact):
            parent = self._rows["session"].get(value.parent)
            parent_id = parent[1].id if parent else value.parent
            app, kind = sys.intern(value.app), sys.intern(value.kind)
            return AppSessionFact(value.id, parent_id, app, value.expires_at, kind)
        if isinstance(value, SessionFact):
            return SessionFact(
                id=value.id,
                person=sys.intern(value.person),
                aal=value.aal,
                phishing_resistant=value.phishing_resistant,
                methods=self._methods.setdefault(value.methods, value.methods),
                started_at=value.started_at,
                auth_at=value.started_at if value.auth_at == value.started_at else value.auth_at,
                expires_at=value.expires_at,
            )
        return value


def entity_of(version: int, value: Projection, declared: Mapping[str, str]) -> Entity:
    """Return the Cedar entity of a person, workload or group, as `design/decision.md` types it.

    Attributes that the bundle does not declare so are left out: they would not fit its schema, and
    Cedar decides nothing about an entity that does not.
    """
    if isinstance(value, PersonFact):
        attrs: dict[str, Any] = {
            "status": str(value.status),
            "kind": str(value.kind),
            "quarantined": value.quarantined,
            "attributes": {
                name: held for name, held in value.attributes.items() if _fits(held, declared.get(name))
            },
        }
        return Entity(EntityRef("User", value.id), attrs, _groups(value.groups), version)
    if isinstance(value, WorkloadFact):
        owner = {"__entity": {"type": "User", "id": value.owner}}
        attrs = {"status": str(value.status), "owner": owner, "quarantined": value.quarantined}
        return Entity(EntityRef("Workload", value.id), attrs, _groups(value.groups), version)
    assert isinstance(value, GroupFact), "policies see no entity of any other kind"
    return Entity(EntityRef("Group", value.id), {}, _groups(value.parents), version)


def _fits(value: object, cedar_type: str | None) -> bool:
    return cedar_type is not None and type(value) is CEDAR_TYPES[cedar_type]


def _groups(names: tuple[str, ...]) -> tuple[EntityRef, ...]:
    return tuple(EntityRef("Group", name) for name in names)

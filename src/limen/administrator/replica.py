"""The replica: every gateway projection at one position of the change feed, ready for decisions.

Pure: it is told of changes and instants, and reads no clock, file or socket. Used by one thread at a
time: by the gateway's loop, and in control under control's own lock.

Laws:
    F2 ordered: having applied `seq = N`, it equals the snapshot at `N`, in whatever batches.
    F3 bounded staleness: its age runs from the *sending* of the last ping that control answered with
        a head which this replica has reached, on the boot clock.
    F4 read your login: what it has not seen it does not know; an answer older than what was already
        applied changes nothing, because the replica's own rows decide.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from limen.administrator.active import ActiveBundle
from limen.core.changes import (
    AppSessionFact,
    BundleFact,
    Change,
    GrantFact,
    GroupFact,
    PersonFact,
    Projection,
    SecretFact,
    SessionFact,
    Snapshot,
    WorkloadFact,
)
from limen.core.decision import Facts, Grant, Network, SessionFacts
from limen.core.entities import Closure, Entity, Status, close_entity
from limen.core.errors import Invalid, LimenError
from limen.core.ids import EntityRef, Instant

Row = tuple[int, Projection]
"""A projection and its version: the position of its last change."""

KINDS: dict[type, str] = {
    PersonFact: "person",
    WorkloadFact: "workload",
    GroupFact: "group",
    SessionFact: "session",
    AppSessionFact: "app_session",
    GrantFact: "grant",
    BundleFact: "bundle",
    SecretFact: "secret",
}
"""The feed's word for each kind of projection."""

ENTITY_TYPES = {"person": "User", "workload": "Workload", "group": "Group"}
"""Kinds of which policies see an entity, and its Cedar type."""

ROW_KINDS = {kind: name for name, kind in ENTITY_TYPES.items()}


class Replica:
    """All projections at `seq` of `epoch`, with the closures that decisions read.

    Attributes:
        epoch: which database the positions belong to; empty before the first snapshot.
        seq: the last change applied; -1 before the first snapshot.
        stamp: goes up with everything applied, so that callers can keep what they derived.
        active: the bundle in force, or None when there is none or it could not be loaded.
        bundle_error: why the bundle in the feed is not in force; then nothing is decided.
    """

    def __init__(self, load: Callable[[BundleFact], ActiveBundle]) -> None:
        self._load = load
        self._watchers: list[Callable[[frozenset[str]], None]] = []
        self._confirmed_at: float | None = None
        self.epoch = ""
        self.seq = -1
        self.stamp = 0
        self._reset()

    def _reset(self) -> None:
        self._rows: dict[str, dict[str, Row]] = {kind: {} for kind in KINDS.values()}
        self._grants: dict[EntityRef, dict[str, Grant]] = {}
        self._closures: dict[EntityRef, Closure] = {}
        self._readers: dict[EntityRef, set[EntityRef]] = {}
        self._words: dict[Any, Any] = {}
        self.active: ActiveBundle | None = None
        self.bundle_error: LimenError | None = None

    # --- the feed --------------------------------------------------------------------------------

    def apply_snapshot(self, snapshot: Snapshot) -> None:
        """Forget everything and hold exactly `snapshot`. The age is unknown until confirmed."""
        self._reset()
        self._confirmed_at = None
        for version, value in snapshot.values:
            self._put(version, value)
        self.epoch, self.seq = snapshot.epoch, snapshot.seq
        self._announce(frozenset(KINDS.values()))

    def apply(self, changes: Iterable[Change]) -> None:
        """Apply whole transactions, in order. Those applied before are skipped.

        Raises:
            Invalid: a gap, a change out of order, or part of a transaction; nothing was applied then.
        """
        fresh = [change for change in changes if change.tx > self.seq]
        self._require_whole(fresh)
        for change in fresh:
            if change.value is None:
                self._drop(change.kind, change.id)
            else:
                self._put(change.seq, change.value)
        if fresh:
            self.seq = fresh[-1].tx
            self._announce(frozenset(change.kind for change in fresh))

    def _require_whole(self, changes: list[Change]) -> None:
        expected, tx = self.seq + 1, None
        for change in changes:
            if change.seq != expected or (tx is not None and change.tx != tx) or change.tx < change.seq:
                raise Invalid(
                    f"The change feed has a gap: expected seq {expected}, got {change.seq}.",
                    remedy="Load a snapshot.",
                    code="FEED_GAP",
                )
            tx = None if change.seq == change.tx else change.tx
            expected += 1
        if tx is not None:
            raise Invalid(
                f"The change feed was cut inside transaction {tx}.",
                remedy="Load a snapshot.",
                code="FEED_GAP",
            )

    def snapshot(self) -> Snapshot:
        """Return all rows, ordered by kind and id."""
        rows = tuple(row for kind in sorted(self._rows) for _, row in sorted(self._rows[kind].items()))
        return Snapshot(self.epoch, self.seq, rows)

    def subscribe(self, watcher: Callable[[frozenset[str]], None]) -> None:
        """Call `watcher` with the kinds touched, after everything applied."""
        self._watchers.append(watcher)

    def _announce(self, kinds: frozenset[str]) -> None:
        self.stamp += 1
        for watcher in self._watchers:
            watcher(kinds)

    # --- age (F3) --------------------------------------------------------------------------------

    @property
    def confirmed_at(self) -> float | None:
        """Boot instant as of which control said that nothing newer existed; None for never."""
        return self._confirmed_at

    def confirm(self, sent_at: float, head: int) -> bool:
        """Note that a ping sent at boot instant `sent_at` was answered with `head`.

        Returns whether it counts: only when this replica has reached that head.
        """
        if head > self.seq:
            return False
        if self._confirmed_at is None or sent_at > self._confirmed_at:
            self._confirmed_at = sent_at
        return True

    def age_s(self, boot_s: float) -> float:
        """Return how old what is known here may be; infinite when nobody ever confirmed it."""
        return math.inf if self._confirmed_at is None else max(0.0, boot_s - self._confirmed_at)

    # --- rows ------------------------------------------------------------------------------------

    def _put(self, version: int, value: Projection) -> None:
        kind = KINDS[type(value)]
        if kind == "grant":
            self._forget_grant(value.id)
        self._rows[kind][value.id] = (version, self._compact(value))
        if isinstance(value, GrantFact):
            principal = EntityRef(*value.principal)
            grant = Grant(value.id, principal, value.actions, EntityRef(*value.resource), value.expires_at)
            self._grants.setdefault(principal, {})[value.id] = grant
        elif isinstance(value, BundleFact):
            self._activate(value)
        else:
            self._touch(kind, value.id)

    def _drop(self, kind: str, row_id: str) -> None:
        if kind == "grant":
            self._forget_grant(row_id)
        self._rows[kind].pop(row_id, None)
        if kind == "bundle":
            self._activate(None)
        self._touch(kind, row_id)

    def _forget_grant(self, grant_id: str) -> None:
        known = cast("GrantFact | None", self._value("grant", grant_id))
        if known is not None:
            principal = EntityRef(*known.principal)
            held = self._grants[principal]
            del held[grant_id]
            if not held:
                del self._grants[principal]

    def _activate(self, fact: BundleFact | None) -> None:
        """Put the bundle in force. One that cannot be loaded leaves none: its predecessor is history."""
        self._closures.clear()
        self._readers.clear()
        self.active, self.bundle_error = None, None
        if fact is not None:
            try:
                self.active = self._load(fact)
            except LimenError as error:
                self.bundle_error = error

    def _compact(self, value: Projection) -> Projection:
        """Share what many sessions repeat: a hundred thousand of them live here."""
        if isinstance(value, AppSessionFact):
            parent = self._rows["session"].get(value.parent)
            parent_id = parent[1].id if parent else value.parent
            return AppSessionFact(
                value.id, parent_id, sys.intern(value.app), value.expires_at, sys.intern(value.kind)
            )
        if isinstance(value, SessionFact):
            return SessionFact(
                id=value.id,
                person=sys.intern(value.person),
                aal=value.aal,
                phishing_resistant=value.phishing_resistant,
                methods=self._words.setdefault(value.methods, value.methods),
                started_at=value.started_at,
                auth_at=value.started_at if value.auth_at == value.started_at else value.auth_at,
                expires_at=value.expires_at,
            )
        return value

    def _value(self, kind: str, row_id: str) -> Projection | None:
        row = self._rows[kind].get(row_id)
        return None if row is None else row[1]

    def app_session(self, token_hash: str) -> AppSessionFact | None:
        """Return the app session of a token's hash. Its parent may have ended: ask `session` too."""
        return cast("AppSessionFact | None", self._value("app_session", token_hash))

    def session(self, session_id: str) -> SessionFact | None:
        """Return a single sign-on session that has not been ended."""
        return cast("SessionFact | None", self._value("session", session_id))

    def person(self, username: str) -> PersonFact | None:
        """Return a person of the directory."""
        return cast("PersonFact | None", self._value("person", username))

    def secret(self, name: str) -> SecretFact | None:
        """Return a sealed secret."""
        return cast("SecretFact | None", self._value("secret", name))

    def bundle(self) -> BundleFact | None:
        """Return the active bundle's files."""
        return cast("BundleFact | None", self._value("bundle", "active"))

    def people(self) -> Iterator[PersonFact]:
        """Yield everybody in the directory."""
        for _, value in self._rows["person"].values():
            yield cast("PersonFact", value)

    def groups(self) -> frozenset[str]:
        """Return the names of all groups."""
        return frozenset(self._rows["group"])

    # --- entities and closures -------------------------------------------------------------------

    def _touch(self, kind: str, row_id: str) -> None:
        entity_type = ENTITY_TYPES.get(kind)
        if entity_type is not None:
            for root in self._readers.pop(EntityRef(entity_type, row_id), ()):
                self._closures.pop(root, None)

    def entity(self, ref: EntityRef) -> Entity | None:
        """Return an entity as policies see it, at its version."""
        kind = ROW_KINDS.get(ref.type)
        if kind is None:
            return self.active.entities.get(ref) if self.active else None
        row = self._rows[kind].get(ref.id)
        return None if row is None else entity_of(*row)

    def closure(self, ref: EntityRef) -> Closure | None:
        """Return the closure of a subject or resource, or None when it is not known."""
        found = self._closures.get(ref)
        if found is None and self.entity(ref) is not None:
            found = self._close(ref)
            self._closures[ref] = found
            for entity in found.entities:
                self._readers.setdefault(entity.ref, set()).add(ref)
        return found

    def _close(self, ref: EntityRef) -> Closure:
        kind = ROW_KINDS.get(ref.type, "")
        fact = self._value(kind, ref.id) if kind else None
        if isinstance(fact, PersonFact):
            return close_entity(
                ref,
                self.entity,
                status=fact.status,
                quarantined=fact.quarantined,
                expires_at=fact.expires_at,
            )
        if isinstance(fact, WorkloadFact):
            return close_entity(ref, self.entity, status=fact.status, quarantined=fact.quarantined)
        return close_entity(ref, self.entity)

    def grants(self, subject: Closure, resource: Closure, at: Instant) -> tuple[Grant, ...]:
        """Return the grants that stand at `at` for this subject and resource, ordered by id."""
        if not self._grants:
            return ()
        found = [
            grant
            for principal in subject.ancestors
            if principal in self._grants
            for grant in self._grants[principal].values()
            if grant.expires_at > at and grant.resource in resource.ancestors
        ]
        return tuple(sorted(found, key=lambda grant: grant.id))

    def facts(
        self,
        subject: EntityRef | None,
        resource: EntityRef,
        *,
        at: Instant,
        session: SessionFacts | None = None,
        network: Network | None = None,
        age_s: float = 0.0,
        staleness_max_s: float = 300.0,
    ) -> Facts | None:
        """Return what a decision at `at` may read, or None when the resource is not known.

        A subject that is not in the directory has no closure: the engine answers SUBJECT_UNKNOWN.
        """
        about = self.closure(resource)
        if about is None:
            return None
        who = None if subject is None else self.closure(subject)
        return Facts(
            subject=who,
            resource=about,
            session=session,
            network=network or Network(),
            grants=() if who is None else self.grants(who, about, at),
            age_s=age_s,
            staleness_max_s=staleness_max_s,
            seq=self.seq,
        )


def entity_of(version: int, value: Projection) -> Entity:
    """Return the Cedar entity of a person, workload or group, as `design/decision.md` types it."""
    if isinstance(value, PersonFact):
        attrs: dict[str, Any] = {
            "status": str(value.status),
            "kind": str(value.kind),
            "quarantined": value.quarantined,
            "attributes": dict(value.attributes),
        }
        return Entity(EntityRef("User", value.id), attrs, _groups(value.groups), version)
    if isinstance(value, WorkloadFact):
        owner = {"__entity": {"type": "User", "id": value.owner}}
        attrs = {"status": str(value.status), "owner": owner, "quarantined": value.quarantined}
        return Entity(EntityRef("Workload", value.id), attrs, _groups(value.groups), version)
    assert isinstance(value, GroupFact), "policies see no entity of any other kind"
    return Entity(EntityRef("Group", value.id), {}, _groups(value.parents), version)


def session_facts(session: SessionFact) -> SessionFacts:
    """Return what a session proves, in the engine's form."""
    return SessionFacts(
        id=session.id,
        aal=session.aal,
        phishing_resistant=session.phishing_resistant,
        methods=tuple(sorted(session.methods)),
        started_at=session.started_at,
        auth_at=session.auth_at,
        expires_at=session.expires_at,
    )


def _groups(names: tuple[str, ...]) -> tuple[EntityRef, ...]:
    return tuple(EntityRef("Group", name) for name in names)


__all__ = ["ActiveBundle", "Replica", "Status", "entity_of", "session_facts"]

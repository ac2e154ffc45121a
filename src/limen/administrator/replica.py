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
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from limen.administrator.active import ActiveBundle
from limen.administrator.projections import ENTITY_TYPES, KINDS, ROW_KINDS, Projections, entity_of
from limen.core.catalogue import BUILT_IN_ATTRIBUTES
from limen.core.changes import (
    AppSessionFact,
    BundleFact,
    Change,
    PersonFact,
    Projection,
    SecretFact,
    SessionFact,
    Snapshot,
    WorkloadFact,
    WorkloadSessionFact,
)
from limen.core.decision import Facts, Grant, Network, SessionFacts
from limen.core.entities import Closure, Entity, close_entity
from limen.core.errors import Invalid, LimenError
from limen.core.ids import EntityRef, Instant


class Touched(NamedTuple):
    """What was applied: the kinds, and the rows as (kind, id). A snapshot touches everything."""

    kinds: frozenset[str]
    rows: frozenset[tuple[str, str]] = frozenset()
    everything: bool = False


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
        self._watchers: list[Callable[[Touched], None]] = []
        self._confirmed_at: float | None = None
        self.epoch = ""
        self.seq = -1
        self.stamp = 0
        self._reset(Projections())

    def _reset(self, rows: Projections) -> None:
        self._rows = rows
        self._closures: dict[EntityRef, Closure] = {}
        self._readers: dict[EntityRef, set[EntityRef]] = {}
        self.active: ActiveBundle | None = None
        self.bundle_error: LimenError | None = None
        self._activate()

    # --- the feed --------------------------------------------------------------------------------

    def apply_snapshot(self, snapshot: Snapshot) -> None:
        """Forget everything and hold exactly `snapshot`: see `adopt`."""
        rows = Projections()
        for version, value in snapshot.values:
            rows.put(version, value)
        self.adopt(rows, snapshot.epoch, snapshot.seq)

    def adopt(self, rows: Projections, epoch: str, seq: int) -> None:
        """Forget everything and hold exactly `rows`, which are all there is at `seq` of `epoch`.

        Of the same epoch and no older, they hold everything that the rows before them held, so the age
        stays what it was: a gateway that catches up by a snapshot closes nothing. Else it is unknown.
        """
        if epoch != self.epoch or seq < self.seq:
            self._confirmed_at = None
        self.epoch, self.seq = epoch, seq
        self._reset(rows)
        self._announce(Touched(frozenset(KINDS.values()), everything=True))

    def apply(self, changes: Iterable[Change]) -> None:
        """Apply whole transactions, in order. Those applied before are skipped.

        Raises:
            Invalid: a gap, a change out of order, or part of a transaction; nothing was applied then.
        """
        fresh = [change for change in changes if change.tx > self.seq]
        self._require_whole(fresh)
        for change in fresh:
            if change.value is None:
                self._rows.drop(change.kind, change.id)
            else:
                self._rows.put(change.seq, change.value)
            self._touch(change.kind, change.id)
        if fresh:
            kinds = frozenset(change.kind for change in fresh)
            if "bundle" in kinds:
                self._activate()
            self.seq = fresh[-1].tx
            self._announce(Touched(kinds, frozenset((change.kind, change.id) for change in fresh)))

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
        return Snapshot(self.epoch, self.seq, self._rows.ordered())

    def subscribe(self, watcher: Callable[[Touched], None]) -> None:
        """Call `watcher` with what was touched, after everything applied."""
        self._watchers.append(watcher)

    def _announce(self, touched: Touched) -> None:
        self.stamp += 1
        for watcher in self._watchers:
            watcher(touched)

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

    def app_session(self, token_hash: str) -> AppSessionFact | None:
        """Return the app session of a token's hash. Its parent may have ended: ask `session` too."""
        found: AppSessionFact | None = self._rows.value("app_session", token_hash)
        return found

    def cookie_sessions(self, session_id: str) -> Iterator[AppSessionFact]:
        """Yield the app sessions of a browser below a single sign-on session."""
        for token_hash in self._rows.cookies(session_id):
            yield self._rows.value("app_session", token_hash)

    def session(self, session_id: str) -> SessionFact | None:
        """Return a single sign-on session that has not been ended."""
        found: SessionFact | None = self._rows.value("session", session_id)
        return found

    def person(self, username: str) -> PersonFact | None:
        """Return a person of the directory."""
        found: PersonFact | None = self._rows.value("person", username)
        return found

    def workload(self, name: str) -> WorkloadFact | None:
        """Return a workload."""
        found: WorkloadFact | None = self._rows.value("workload", name)
        return found

    def workload_session(self, token_hash: str) -> WorkloadSessionFact | None:
        """Return the session of a workload's access token that has not been ended."""
        found: WorkloadSessionFact | None = self._rows.value("workload_session", token_hash)
        return found

    def secret(self, name: str) -> SecretFact | None:
        """Return a sealed secret."""
        found: SecretFact | None = self._rows.value("secret", name)
        return found

    def bundle(self) -> BundleFact | None:
        """Return the active bundle's files."""
        found: BundleFact | None = self._rows.value("bundle", "active")
        return found

    def value(self, kind: str, row_id: str) -> Projection | None:
        """Return a projection by the feed's word for its kind, and its id."""
        found: Projection | None = self._rows.value(kind, row_id)
        return found

    def people(self) -> Iterator[PersonFact]:
        """Yield everybody in the directory."""
        for _, (_, value) in self._rows.of("person"):
            assert isinstance(value, PersonFact)
            yield value

    def groups(self) -> frozenset[str]:
        """Return the names of all groups."""
        return frozenset(name for name, _ in self._rows.of("group"))

    def projections(self, *kinds: str) -> tuple[Projection, ...]:
        """Return all projections of some kinds."""
        return tuple(value for kind in kinds for _, (_, value) in self._rows.of(kind))

    def _activate(self) -> None:
        """Put the bundle in force. One that cannot be loaded leaves none: its predecessor is history."""
        self._closures.clear()
        self._readers.clear()
        self.active, self.bundle_error = None, None
        fact = self.bundle()
        if fact is not None:
            try:
                self.active = self._load(fact)
            except LimenError as error:
                self.bundle_error = error

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
        row = self._rows.get(kind, ref.id)
        declared = self.active.catalogue.attribute_types if self.active else BUILT_IN_ATTRIBUTES
        return None if row is None else entity_of(*row, declared)

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
        fact = self._rows.value(kind, ref.id) if kind else None
        if isinstance(fact, PersonFact):
            return close_entity(
                ref,
                self.entity,
                status=fact.status,
                quarantined=fact.quarantined,
                expires_at=fact.expires_at,
                groups_unknown=bool(fact.groups_unknown),
            )
        if isinstance(fact, WorkloadFact):
            return close_entity(
                ref,
                self.entity,
                status=fact.status,
                quarantined=fact.quarantined,
                expires_at=fact.expires_at,
            )
        return close_entity(ref, self.entity)

    def _signals(self, subject: EntityRef | None) -> tuple[str, ...]:
        person = self.person(subject.id) if subject is not None and subject.type == "User" else None
        return person.signals if person is not None else ()

    def grants(self, subject: Closure, resource: Closure, at: Instant) -> tuple[Grant, ...]:
        """Return the grants that stand at `at` for this subject and resource, ordered by id."""
        standing = self._rows.grants
        if not standing:
            return ()
        found = [
            grant
            for principal in subject.ancestors
            if principal in standing
            for grant in standing[principal].values()
            if grant.expires_at > at and grant.resource in resource.ancestors
        ]
        return tuple(sorted(found, key=lambda grant: grant.id))

    def grants_by_principal(self) -> dict[EntityRef, tuple[Grant, ...]]:
        """Return every grant there is, expired ones too, under whom it was given to."""
        return {
            principal: tuple(sorted(held.values(), key=lambda grant: grant.id))
            for principal, held in self._rows.grants.items()
        }

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
            signals=self._signals(subject),
            grants=() if who is None else self.grants(who, about, at),
            age_s=age_s,
            staleness_max_s=staleness_max_s,
            seq=self.seq,
        )


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


MACHINE_AAL = 1
"""Assurance levels are for people (SP 800-63B): policies about machines ask for `session.methods`."""


def machine_facts(session: WorkloadSessionFact) -> SessionFacts:
    """Return what a workload's session proves, in the engine's form."""
    return SessionFacts(
        id=session.session_id,
        aal=MACHINE_AAL,
        phishing_resistant=False,
        methods=tuple(sorted(session.methods)),
        started_at=session.started_at,
        auth_at=session.started_at,
        expires_at=session.expires_at,
    )

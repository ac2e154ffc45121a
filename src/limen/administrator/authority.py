"""Control's own use of the engine: decide and record admin calls, suppose, list who can.

Control holds a replica like any gateway's, fed by its own commits, so what it explains is what gateways
decide. One lock guards replica and memo: callers come from a pool of threads.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from limen.administrator.active import ActiveBundle
from limen.administrator.recording import JournalPort, Recorder
from limen.administrator.replica import Replica
from limen.core.catalogue import AppConfig, ServiceConfig
from limen.core.changes import BundleFact, Projection
from limen.core.client_config import ClientConfig
from limen.core.clock import Clock
from limen.core.decision import AccessRequest, Code, Decision, Explanation, Facts, Network, SessionFacts
from limen.core.entities import Closure, close_entity
from limen.core.errors import NotFound, Unavailable
from limen.core.ids import EntityRef, Instant, new_decision_id
from limen.core.record import EventRecord
from limen.core.rollout import Mode, Stage, softened
from limen.engine.explain import explain
from limen.engine.memo import Memo
from limen.engine.replay import stable_inputs
from limen.engine.who_can import AccessClass, SubjectClasses, classify, who_can

POINT = "admin-api"
ISSUE_POINT = "issue"  # signing in to a client, and tokens for it
LOOPBACK = "127.0.0.1"
RESOURCE_TYPES = ("App", "Route", "Service", "Client")
SESSION_S = 43_200  # life of a session that is only supposed

T = TypeVar("T")


class Supposed(msgspec.Struct, frozen=True):
    """A sign-in to suppose. `aal` 0 is no sign-in at all."""

    aal: int = 2
    passkey: bool = False
    auth_age_s: float = 300.0
    ip: str = LOOPBACK

    def session(self, at: Instant) -> SessionFacts | None:
        """Return the session that this sign-in would have given."""
        if self.aal == 0:
            return None
        signed_in_at = at - self.auth_age_s
        methods = ("passkey",) if self.passkey else ("password", "totp") if self.aal > 1 else ("password",)
        return SessionFacts(
            id="supposed",
            aal=self.aal,
            phishing_resistant=self.passkey,
            methods=methods,
            started_at=signed_in_at,
            auth_at=signed_in_at,
            expires_at=max(signed_in_at + SESSION_S, at + 1),
        )


class Answer(msgspec.Struct, frozen=True):
    """A decision with what it was made from."""

    request: AccessRequest
    facts: Facts
    decision: Decision


class Authority:
    """The engine at control, on control's replica."""

    def __init__(self, replica: Replica, journal: JournalPort, clock: Clock, node: str) -> None:
        self.node = node
        self._replica = replica
        self._journal = journal
        self._recorders = {
            POINT: Recorder(journal, node, stable_inputs, point=POINT, urgent=True),
            ISSUE_POINT: Recorder(journal, node, stable_inputs, point=ISSUE_POINT),
        }
        self._clock = clock
        self._memo = Memo(1024)
        self._lock = threading.Lock()
        self._classes: tuple[tuple[int, str], SubjectClasses] | None = None

    def note(self, event: EventRecord) -> None:
        """Record an event, in the reserve of a full disk too: administration goes on."""
        self._journal.append(event, urgent=True)

    def facts(self, *kinds: str) -> tuple[Projection, ...]:
        """Return all projections of some kinds, as they are now. Holds the lock for some milliseconds."""
        with self._lock:
            return self._replica.projections(*kinds)

    def update(self, apply: Callable[[Replica], None]) -> None:
        """Let the feed change the replica."""
        with self._lock:
            apply(self._replica)

    def ask(self, question: Callable[[Replica], T]) -> T:
        """Return what a question to the replica gives. It is asked under the lock: milliseconds at most."""
        with self._lock:
            return question(self._replica)

    def active(self) -> ActiveBundle:
        """Return the bundle in force.

        Raises:
            Unavailable: none was applied yet, or it cannot be used by this release.
        """
        found = self._replica.active
        if found is None:
            error = self._replica.bundle_error
            raise Unavailable(
                f"No bundle is in force{f': {error.message}' if error else '.'}",
                remedy="Apply one with `limen policy apply`.",
                code="NO_BUNDLE",
            )
        return found

    def bundle(self) -> BundleFact:
        """Return the files of the bundle in force."""
        self.active()
        found = self._replica.bundle()
        assert found is not None
        return found

    def resource(self, name: str) -> EntityRef:
        """Return the app, route, service or client of this name.

        Raises:
            NotFound: the catalogue has none.
        """
        entities = self.active().entities
        for kind in ("Route",) if "/" in name else ("App", "Service", "Client"):
            if EntityRef(kind, name) in entities:
                return EntityRef(kind, name)
        raise NotFound(f"There is no resource '{name}'.", remedy="See `limen policy show`, or name an app.")

    def members(self, group: str) -> frozenset[str]:
        """Return everybody who is in a group, directly or through groups in it."""
        wanted = EntityRef("Group", group)
        with self._lock:
            return frozenset(c.root.id for c in self._people() if wanted in c.ancestors)

    def decide(
        self,
        subject: EntityRef,
        action: str,
        resource: EntityRef,
        *,
        session: SessionFacts | None = None,
        point: str = POINT,
        method: str = "",
        path: str = "",
        ip: str = LOOPBACK,
        narrower: Sequence[EntityRef] = (),
    ) -> Answer:
        """Decide what control itself gives, and record it before it is answered.

        Args:
            subject, action, resource: what is asked.
            session: what a person has proven; a workload needs none.
            point: `POINT`, a call of the admin API: its record may use the reserve of a full disk, so that
                revocation goes on. Or `ISSUE_POINT`.
            method, path, ip: of the request.
            narrower: parts of that resource that would do for this request: each is asked about if nothing
                permits the whole. What is forbidden on the whole is forbidden.

        Raises:
            Unavailable: it could not be recorded, or no bundle is in force.
        """
        began = self._clock.boot_s()
        known = self.active().entities
        with self._lock:
            for one in (resource, *(part for part in narrower if part in known)):
                answer = self._answer(subject, action, one, session, ip=ip, method=method, path=path)
                if answer.decision.code is not Code.NO_PERMIT:
                    break
        took_us = int((self._clock.boot_s() - began) * 1e6)
        self._record(answer, took_us, self._recorders[point])
        return answer

    def stands(
        self, subject: EntityRef, action: str, resource: EntityRef, session: SessionFacts, ip: str = LOOPBACK
    ) -> Answer:
        """Return what would be decided now of something that was given before. Nothing is recorded.

        Raises:
            NotFound: the bundle in force has no such resource.
        """
        with self._lock:
            return self._answer(subject, action, resource, session, ip=ip)

    def record(self, answer: Answer, point: str) -> None:
        """Record an answer that something is about to come of."""
        self._record(answer, 0, self._recorders[point])

    def explain(self, answer: Answer) -> Explanation:
        """Return why a denial, and what would cure it."""
        return explain(answer.request, answer.facts, self.active().policies)

    def suppose(
        self, subject: EntityRef, action: str, resource: EntityRef, supposed: Supposed
    ) -> tuple[Answer, Explanation]:
        """Decide what is only supposed, and explain it. Nothing is recorded."""
        policies = self.active().policies
        at = self._clock.now()
        with self._lock:
            if self._replica.closure(subject) is None:
                raise NotFound(f"There is no {subject}.", remedy="See `limen user list`.")
            answer = self._answer(subject, action, resource, supposed.session(at), ip=supposed.ip)
        if answer.decision.allowed:
            return answer, Explanation((), ())
        return answer, explain(answer.request, answer.facts, policies, below_aal2_hides=False)

    def may_open(self, person: str, session: SessionFacts) -> dict[str, tuple[bool, str]]:
        """Return for each app, service and client whether it would open now, and in a few words why not.

        No name is of two of them.
        """
        active = self.active()
        found: dict[str, tuple[bool, str]] = {}
        with self._lock:
            catalogue = active.catalogue
            doors: list[tuple[AppConfig | ServiceConfig | ClientConfig, str]] = [
                *((app, "read") for app in catalogue.apps.values()),
                *((service, "connect") for service in catalogue.services.values()),
                *((client, "sign_in") for client in catalogue.clients.values()),
            ]
            for door, action in doors:
                answer = self._answer(EntityRef("User", person), action, door.ref, session)
                sentences = (active.policies.policy(policy) for policy in answer.decision.policies)
                why = next((policy.reason for policy in sentences if policy and policy.reason), "")
                stage = _let_through(door, answer)
                shown = not answer.decision.allowed and (stage is None or stage.mode is Mode.WARN)
                opens = answer.decision.allowed or stage is not None
                found[door.name] = (opens, why if shown else "")
        return found

    def who_can(
        self, action: str, resource: EntityRef, active: ActiveBundle | None = None
    ) -> tuple[int, tuple[AccessClass, ...]]:
        """Return how many people there are, and the classes of equal ones with what each may.

        People are sorted into classes once for all resources, and again when something has changed.
        """
        bundle = active or self.active()
        about = self.resource_in(bundle, resource)
        with self._lock:
            grants = self._replica.grants_by_principal()
            people = self._sorted(bundle)
        count = sum(len(members) for _, members in people.classes)
        at = self._clock.now()
        return count, who_can(action, resource, bundle.policies, people, about, at=at, grants=grants)

    def _sorted(self, bundle: ActiveBundle) -> SubjectClasses:
        key = (self._replica.stamp, bundle.id)
        if self._classes is None or self._classes[0] != key:
            resources = [self._close(bundle, ref) for ref in bundle.entities if ref.type in RESOURCE_TYPES]
            grants = self._replica.grants_by_principal()
            self._classes = (key, classify(self._people(), bundle.policies, resources, grants))
        return self._classes[1]

    def workload(self, ref: EntityRef) -> Closure | None:
        """Return a workload's closure."""
        with self._lock:
            return self._replica.closure(ref)

    def knows(self, ref: EntityRef) -> bool:
        """Whether a person, workload or group is in the directory."""
        with self._lock:
            return self._replica.entity(ref) is not None

    def now(self) -> Instant:
        """Return this instant."""
        return self._clock.now()

    def resource_in(self, bundle: ActiveBundle, resource: EntityRef) -> Closure:
        """Return a resource's closure as a bundle that is not in force would have it."""
        with self._lock:
            return self._close(bundle, resource)

    def people(self) -> tuple[Closure, ...]:
        """Return the closure of everybody in the directory."""
        with self._lock:
            return tuple(self._people())

    def groups(self) -> frozenset[str]:
        """Return the names of all groups."""
        with self._lock:
            return self._replica.groups()

    def _close(self, bundle: ActiveBundle, resource: EntityRef) -> Closure:
        return close_entity(resource, lambda ref: bundle.entities.get(ref) or self._replica.entity(ref))

    def _people(self) -> list[Closure]:
        refs = (EntityRef("User", person.id) for person in self._replica.people())
        return [closure for ref in refs if (closure := self._replica.closure(ref)) is not None]

    def _answer(
        self,
        subject: EntityRef,
        action: str,
        resource: EntityRef,
        session: SessionFacts | None,
        *,
        ip: str = LOOPBACK,
        method: str = "",
        path: str = "",
    ) -> Answer:
        at = self._clock.now()
        network = Network(ip=ip)
        facts = self._replica.facts(subject, resource, at=at, session=session, network=network)
        if facts is None:
            raise NotFound(f"There is no {resource}.", remedy="See `limen policy show`.")
        request = AccessRequest(
            id=new_decision_id(at),
            at=at,
            subject=subject,
            action=action,
            resource=resource,
            session_id=session.id if session else None,
            method=method,
            path=path,
            ip=network.ip,
        )
        return Answer(request, facts, self._memo.decide(request, facts, self.active().policies))

    def _record(self, answer: Answer, took_us: int, recorder: Recorder) -> None:
        policies = self.active().policies
        inputs_id = recorder.inputs_id(answer.request, answer.facts, policies)
        recorder.write(
            recorder.entry(
                answer.request,
                answer.decision,
                bundle=self.bundle(),
                took_us=took_us,
                age_s=answer.facts.age_s,
                inputs_id=inputs_id,
                inputs=recorder.inputs(inputs_id, answer.request, answer.facts, policies),
            )
        )


def _let_through(door: AppConfig | ServiceConfig | ClientConfig, answer: Answer) -> Stage | None:
    """Return the rollout stage by which a door opens though policies deny it; None where none does.

    Clients have no stages: they are where Limen alone says who somebody is.
    """
    if isinstance(door, ClientConfig):
        return None
    subject = answer.facts.subject
    groups = None if subject is None else subject.ancestors
    return softened(door.rollout_of(door.ref), answer.decision.code, groups)

"""Cases: recorded decisions that share inputs, resource and action, answered once until time changes it.

Law:
    D6 replay agrees. What a case answers is what `decide` gives for the same request and facts.

How it holds: the first answer of a case is the engine's own (memoised: law D4). It is given again for the
same bits of the address, from its own instant until its deadline, the first at which time could change it.
Age of the facts and a subject that is gone are looked at each time.
"""

from collections.abc import Hashable, Mapping
from itertools import combinations
from typing import NamedTuple

import msgspec

from limen.core.catalogue import Catalogue
from limen.core.decision import AccessRequest, Code, Decision, Facts, Verdict
from limen.core.entities import Entity
from limen.core.ids import DecisionId, EntityRef, Instant
from limen.core.needs import NEEDS
from limen.core.record import DecisionRecord
from limen.engine.cedar import GRANT_PREFIX, EngineFault
from limen.engine.context import Lens
from limen.engine.memo import Memo
from limen.engine.policies import Policies
from limen.engine.remedies import apply, candidates
from limen.engine.replay_inputs import Rebase
from limen.engine.replay_places import ReplayPlaces, Standing
from limen.engine.replay_report import Side

MEMO_CAPACITY = 262_144  # judgements: a replay meets many people, and each of them often

_BY_POLICY = frozenset({Code.NO_PERMIT, Code.FORBIDDEN, Code.POLICY_ERROR})


class Answer(NamedTuple):
    """What is said of a case: the decision, and the side of a difference that it is.

    `from_at` to `until_at` it is said again without asking.
    """

    decision: Decision
    side: Side
    from_at: Instant = 0.0
    until_at: Instant = 0.0


class World:
    """One bundle, as recorded decisions are derived under it."""

    def __init__(
        self, catalogue: Catalogue, policies: Policies, entities: Mapping[EntityRef, Entity]
    ) -> None:
        self.bundle = policies.bundle
        self.policies = policies
        self.places = ReplayPlaces(catalogue, entities)
        self.rebase = Rebase(entities, catalogue.attribute_types)
        self.memo = Memo(MEMO_CAPACITY)

    def decide(self, request: AccessRequest, facts: Facts) -> Decision:
        """Decide, with the memo of this world."""
        return self.memo.decide(request, facts, self.policies)


class Case:
    """Decisions from the same facts about the same resource and action."""

    __slots__ = ("_ancestors", "_answers", "_groups", "_lens", "_stale", "_world", "facts", "standing")

    def __init__(self, world: World, standing: Standing, facts: Facts) -> None:
        self._world = world
        self.standing = standing
        self.facts = facts
        self._ancestors = None if facts.subject is None else facts.subject.ancestors
        self._lens = self._find_lens()
        self._answers: dict[Hashable, Answer] = {}
        self._stale: Answer | None = None
        self._groups: tuple[str, ...] | None = None

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups that the subject is in."""
        if self._groups is None:
            self._groups = groups_of(self.facts)
        return self._groups

    def answer(self, record: DecisionRecord) -> Answer:
        """Answer one recorded request."""
        at = record.at
        if not record.age_s <= self.facts.staleness_max_s:  # law F3, as the engine has it
            if self._stale is None:
                self._stale = self._ask(record)
            return self._stale
        lens = self._lens
        try:
            key = None if lens is None else lens.address_key(record.ip)
        except EngineFault:
            key = record.ip
        found = self._answers.get(key)
        if found is not None and found.from_at <= at < found.until_at:
            return found
        found = self._answers[key] = self._ask(record)
        return found

    def asked(self, record: DecisionRecord) -> tuple[AccessRequest, Facts]:
        """Return the request and the facts of one record."""
        facts = self.facts
        network = msgspec.structs.replace(facts.network, ip=record.ip)
        request = AccessRequest(
            id=DecisionId(record.id),
            at=record.at,
            subject=self._subject(record),
            action=self.standing.action,
            resource=self.standing.resource,
            session_id=record.session,
            method=record.method,
            host=record.host,
            path=record.path,
            ip=record.ip,
        )
        return request, msgspec.structs.replace(facts, network=network, age_s=record.age_s)

    def cures(self, record: DecisionRecord) -> tuple[str, ...]:
        """Return the ids of what must be proven by signing in to be allowed; empty: no sign-in would do."""
        request, facts = self.asked(record)
        part = self._world.policies.plan(request.action, facts)
        offered = [one for one in candidates(request, facts, part) if one.remedy.id in NEEDS]
        for size in (1, 2):
            for some in combinations(offered, size):
                families = {one.family for one in some}
                if len(families) == size and self._world.decide(*apply(some, request, facts)).allowed:
                    return tuple(one.remedy.id for one in some)
        return ()

    def _ask(self, record: DecisionRecord) -> Answer:
        decision = self._world.decide(*self.asked(record))
        until_at = decision.deadline_at
        return Answer(
            decision,
            side_of(self.standing, decision, self._ancestors),
            record.at,
            float("inf") if until_at is None else until_at,
        )

    def _find_lens(self) -> Lens | None:
        """Return what the policies of this case read; None where no policy is asked."""
        if self.facts.subject is None:
            return None
        try:
            return self._world.policies.plan(self.standing.action, self.facts).lens
        except EngineFault:
            return None  # every answer is a failed engine's

    def _subject(self, record: DecisionRecord) -> EntityRef | None:
        if self.facts.subject is not None:
            return self.facts.subject.root
        return None if record.subject is None else EntityRef("User", record.subject)


def groups_of(facts: Facts) -> tuple[str, ...]:
    """Return the names of the groups that a subject is in, through other groups too."""
    if facts.subject is None:
        return ()
    return tuple(sorted(ref.id for ref in facts.subject.ancestors if ref.type == "Group"))


def is_by_policy(decision: Decision) -> bool:
    """Say whether policies denied, and no built-in refusal did."""
    return decision.code in _BY_POLICY


def side_of(standing: Standing, decision: Decision, groups: frozenset[EntityRef] | None) -> Side:
    """Return what a decision about somebody in these groups is, as one side of a difference."""
    return _side(standing, decision, standing.enforced(decision.verdict, decision.code, groups), groups)


def nobodys_side(standing: Standing, *, let_in: bool) -> Side:
    """Return the side of a request without a session."""
    if standing.public:
        return _side(standing, Decision(Verdict.ALLOW, Code.PUBLIC), Verdict.ALLOW, None)
    denied = Decision(Verdict.DENY, Code.NO_SESSION)
    return _side(standing, denied, standing.enforced_on_nobody(let_in=let_in), None)


def _side(
    standing: Standing, decision: Decision, enforced: Verdict, groups: frozenset[EntityRef] | None
) -> Side:
    key = (decision.code, decision.policies, enforced, standing.stage(groups).mode)
    found = standing.sides.get(key)
    if found is None:
        found = standing.sides[key] = Side(
            resource=str(standing.resource),
            action=standing.action,
            verdict=decision.verdict.value,
            enforced=enforced.value,
            code=decision.code.value,
            policies=plain_policies(decision.policies),
            mode=key[-1].value,
        )
    return found


def refused_side(record: DecisionRecord, code: Code) -> Side:
    """Return the side of a request that is for nothing under a bundle."""
    deny = Verdict.DENY.value
    return Side(record.resource, record.action, deny, deny, code.value)


def plain_policies(policies: tuple[str, ...]) -> tuple[str, ...]:
    """Return policies as groups of differences name them: all grants are one."""
    if not any(policy.startswith(GRANT_PREFIX) for policy in policies):
        return policies
    return tuple(sorted({"grant" if policy.startswith(GRANT_PREFIX) else policy for policy in policies}))

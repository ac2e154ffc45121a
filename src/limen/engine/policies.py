"""Compiled policies: a bundle indexed, cut into slices, with what Cedar has parsed kept for reuse.

A slice is the policies whose scope matches one action, subject and resource. Equal slices are one
object, with one parsed policy set, one set of reads, one lens: so the memo can key on it.
"""

from collections.abc import Iterable
from functools import cached_property

from limen.core.decision import Facts, Grant
from limen.core.entities import Closure, Entity
from limen.core.errors import Invalid
from limen.core.ids import BundleId, EntityRef, Instant
from limen.core.resources import ACTIONS_ON
from limen.engine import cedar
from limen.engine.bounded import Bounded
from limen.engine.bundle_values import Bundle, Policy
from limen.engine.context import Lens
from limen.engine.edges import Calendar
from limen.engine.index import Anchor, Index
from limen.engine.reads import Reads, policy_reads, union

PLANS_MAX = 32_768  # subject, resource, action and device, at about 0.3 kB each
PARSED_MAX = 1_024  # entity sets, at about 6 kB each (measured on cedarpy 4.12)
SLICE_POLICIES_MAX = 4_096  # policies in all parsed slices together, at about 6 kB each


class Slice:
    """Policies that can match together. Compared by identity: equal slices are one object."""

    def __init__(self, policies: tuple[Policy, ...], reads: Reads, calendar: Calendar) -> None:
        self.policies = policies
        self.effects = {policy.id: policy.effect for policy in policies}
        self.reads = reads
        self.lens = Lens(reads, calendar)
        self.calendar = calendar

    @cached_property
    def parsed(self) -> cedar.PolicySet:
        """The slice as Cedar holds it."""
        return cedar.parse_policies({policy.id: policy.est for policy in self.policies})

    def linked(self, grants: tuple[Grant, ...]) -> cedar.PolicySet:
        """Return the slice with these grants in force."""
        return cedar.link_grants(self.parsed, grants) if grants else self.parsed


class Policies:
    """A bundle, ready to decide. Its caches are bounded and never change an answer."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle: BundleId = bundle.id
        self.calendar = Calendar(bundle.catalogue.timezone)
        self._schema = cedar.parse_schema(bundle.cedar_schema)
        self._actions = cedar.action_ancestors(self._schema)
        self._all = tuple(policy for policy in bundle.policies if policy.layer != "template")
        self._by_id = {policy.id: policy for policy in bundle.policies}
        self._reads = tuple(policy_reads(policy.est) for policy in self._all)
        self._index = Index(self._all, self._actions)
        self._slices: Bounded[tuple[int, ...], Slice] = Bounded(SLICE_POLICIES_MAX)
        self._plans: Bounded[tuple[str, str, str, str], Slice] = Bounded(PLANS_MAX)
        self._parsed: Bounded[tuple[str, str, str], cedar.Entities] = Bounded(PARSED_MAX)
        self._fitting: Bounded[str, bool] = Bounded(PLANS_MAX)

    def policy(self, policy_id: str) -> Policy | None:
        """Return the policy with this id; a grant has none."""
        return self._by_id.get(policy_id)

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all policies, templates too."""
        return frozenset(self._by_id)

    @cached_property
    def reads(self) -> Reads:
        """What all the policies together read."""
        return union(self._reads)

    @cached_property
    def principals(self) -> frozenset[EntityRef]:
        """Every entity that tells principals apart: named by a scope or by a condition."""
        return self._index.principals() | self.reads.named

    def plan(self, action: str, facts: Facts) -> Slice:
        """Return the slice for these facts. It exists only where the facts fit the schema.

        Raises:
            EngineFault: an entity does not fit the schema.
        """
        assert facts.subject is not None
        device = facts.device.closure.digest if facts.device is not None else ""
        key = (action, facts.subject.digest, facts.resource.digest, device)
        found = self._plans.get(key)
        if found is None:
            fits = _applies(action, facts.resource)
            found = self.slice_at(self._index.match(action, facts.subject, facts.resource) if fits else ())
            self._demand_fit(found, facts)
            self._plans.put(key, found)
        return found

    def scopes(self, action: str, resource: Closure) -> tuple[tuple[int, Anchor], ...]:
        """Return the policies whose action and resource match, each with what it asks of a principal."""
        return self._index.of_resource(action, resource) if _applies(action, resource) else ()

    def slice_at(self, positions: tuple[int, ...]) -> Slice:
        """Return the one slice of the policies at these positions."""
        found = self._slices.get(positions)
        if found is None:
            reads = union(self._reads[position] for position in positions)
            found = Slice(tuple(self._all[position] for position in positions), reads, self.calendar)
            self._slices.put(positions, found, weight=1 + len(positions))
        return found

    def _demand_fit(self, part: Slice, facts: Facts) -> None:
        """Refuse facts that do not fit the schema: each closure by itself, so that many pairs need few looks.

        Raises:
            EngineFault: an entity does not fit.
        """
        for closure in _closures(part, facts):
            if self._fitting.get(closure.digest) is None:
                cedar.parse_entities(closure.entities, self._schema)
                self._fitting.put(closure.digest, True)

    def entities(self, part: Slice, facts: Facts) -> cedar.Entities:
        """Return what Cedar may look at: subject and resource, and the device where it is read.

        Raises:
            EngineFault: an entity does not fit the schema.
        """
        closures = _closures(part, facts)
        key = (closures[0].digest, closures[1].digest, closures[2].digest if len(closures) > 2 else "")
        found = self._parsed.get(key)
        if found is None:
            found = cedar.parse_entities(_merge(closures), self._schema)
            self._parsed.put(key, found)
        return found

    def grants_in_force(self, action: str, facts: Facts, at: Instant) -> tuple[Grant, ...]:
        """Return the subject's grants that cover this action and resource now."""
        if not facts.grants or facts.subject is None or not _applies(action, facts.resource):
            return ()
        actions = self._actions.get(action, frozenset())
        return tuple(
            grant
            for grant in facts.grants
            if at < grant.expires_at
            and not actions.isdisjoint(grant.actions)
            and grant.principal in facts.subject.ancestors
            and grant.resource in facts.resource.ancestors
        )

    def whole(self) -> Slice:
        """Return all policies as one slice: what every slice must agree with."""
        return self.slice_at(tuple(range(len(self._all))))


def compile_policies(bundle: Bundle) -> Policies:
    """Compile a bundle that `parse_bundle` has accepted.

    Raises:
        Invalid: a policy's id begins with `grant:`, which is how grants are named in decisions.
        EngineFault: the schema or a policy is not Cedar.
    """
    for policy in bundle.policies:
        if policy.id.startswith(cedar.GRANT_PREFIX):
            raise Invalid(
                f"The policy id {policy.id!r} begins with {cedar.GRANT_PREFIX!r}, which names grants.",
                remedy="Give the policy another @id.",
            )
    return Policies(bundle)


def _applies(action: str, resource: Closure) -> bool:
    """Return whether the schema has this action for this kind of resource; what it has not, no one may."""
    return action in ACTIONS_ON.get(resource.root.type, ())


def _closures(part: Slice, facts: Facts) -> list[Closure]:
    """Return what a slice looks at: subject and resource, and the device where it is read."""
    assert facts.subject is not None
    found = [facts.subject, facts.resource]
    if facts.device is not None and "device" in part.reads.fields:
        found.append(facts.device.closure)
    return found


def _merge(closures: Iterable[Closure]) -> Iterable[Entity]:
    """Return each entity once. Where two closures differ, the earlier one speaks: the subject's own."""
    found: dict[EntityRef, Entity] = {}
    for closure in closures:
        for entity in closure.entities:
            found.setdefault(entity.ref, entity)
    return found.values()

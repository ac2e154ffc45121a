"""Worlds: what a policy's scope can meet in this catalogue, so that lint can reason about cases, not names.

A world is one kind of principal, one action, and one class of resources that the policies at hand can
not tell apart. The catalogue is finite, so what is said about resources is exact. Groups are not:
of a principal only what the scope says is known.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from limen.core.entities import close_entity
from limen.core.ids import EntityRef
from limen.core.resources import ACTIONS_ON, catalogue_entities
from limen.engine.bundle_values import Bundle, Policy
from limen.engine.expressions import (
    ACTION,
    CONTEXT,
    PRINCIPAL,
    RESOURCE,
    Expr,
    condition,
    mentioned,
    scope_entities,
)
from limen.engine.satisfy import UNKNOWN, fold

ACTIONS = tuple(dict.fromkeys(action for actions in ACTIONS_ON.values() for action in actions))
SUBJECTS = ("User", "Workload")
ACTION_PARENT = "access"


class Rule(msgspec.Struct, frozen=True, eq=False):
    """A policy made ready for reasoning: its condition, and its scope in parts.

    Attributes:
        subjects, actions: the kinds of principal and the actions that its scope lets in.
        within: what the scope says of the principal, as atoms that hold.
        bound: the entity that the scope binds the resource to, if any; `exactly` when by `==`.
        resource_type: the type that the scope demands, if any.
    """

    policy: Policy
    condition: Expr
    mentioned: frozenset[EntityRef]
    subjects: tuple[str, ...]
    actions: tuple[str, ...]
    within: frozenset[Expr]
    bound: EntityRef | None
    exactly: bool
    resource_type: str | None


def rule_of(policy: Policy) -> Rule:
    """Return a policy made ready for reasoning."""
    est = policy.est
    bound = scope_entities(est["resource"])
    return Rule(
        policy=policy,
        condition=condition(est),
        mentioned=mentioned(est),
        subjects=subjects(est["principal"]),
        actions=actions(est["action"]),
        within=principal_atoms(est["principal"]),
        bound=bound[0] if bound else None,
        exactly=est["resource"]["op"] == "==",
        resource_type=est["resource"].get("entity_type"),
    )


class World(msgspec.Struct, frozen=True):
    """One case. `within` is what the principal is known to equal or be in; `given` are assumed values."""

    subject: str
    action: str
    resource: EntityRef
    ancestors: frozenset[EntityRef]
    within: frozenset[Expr] = frozenset()
    given: Mapping[Expr, Any] = {}

    def know(self, expr: Expr) -> Any:
        """Return the value of an atom in this world, or UNKNOWN."""
        if expr in self.given:
            return self.given[expr]
        if expr in self.within:
            return True
        if expr == ("has", CONTEXT, "session") and self.subject == "User":
            return True  # no user comes to the policies without a session
        if expr[0] not in ("in", "==", "!=", "is") or expr[1][0] != "var":
            return UNKNOWN
        if expr[0] == "!=":
            equal = self.know(("==", *expr[1:]))
            return UNKNOWN if equal is UNKNOWN else not equal
        return self._relation(expr)

    def _relation(self, expr: Expr) -> Any:
        if expr[0] == "is":
            kinds = {PRINCIPAL: self.subject, RESOURCE: self.resource.type, ACTION: "Action"}
            return kinds[expr[1]] == expr[2] if expr[1] in kinds else UNKNOWN
        targets = _targets(expr[2])
        if targets is None:
            return UNKNOWN
        if expr[1] == RESOURCE:
            return any(t == self.resource if expr[0] == "==" else t in self.ancestors for t in targets)
        if expr[1] == ACTION:
            return any(t.id == self.action or (expr[0] == "in" and t.id == ACTION_PARENT) for t in targets)
        return self._principal(expr[0], targets) if expr[1] == PRINCIPAL else UNKNOWN

    def _principal(self, relation: str, targets: tuple[EntityRef, ...]) -> Any:
        if all(not self._may_be(relation, target) for target in targets):
            return False
        if any((relation, PRINCIPAL, ("lit", target)) in self.within for target in targets):
            return True
        return UNKNOWN

    def _may_be(self, relation: str, target: EntityRef) -> bool:
        return target.type == self.subject or (relation == "in" and target.type == "Group")


class Scene:
    """A bundle laid out: its rules, its resources, and which rule meets which resource."""

    def __init__(self, bundle: Bundle) -> None:
        entities = catalogue_entities(bundle.catalogue)
        self.bundle = bundle
        self.rules = tuple(rule_of(policy) for policy in bundle.policies)
        self.ancestors = {
            ref: close_entity(ref, entities.get).ancestors for ref in entities if ref.type in ACTIONS_ON
        }
        self.members: dict[EntityRef, list[EntityRef]] = {}
        for ref, above in self.ancestors.items():
            for ancestor in above:
                self.members.setdefault(ancestor, []).append(ref)
        self.entities = frozenset(entities)
        self.permits = tuple(rule for rule in self.rules if rule.policy.effect == "permit")
        self.forbids = tuple(rule for rule in self.rules if rule.policy.effect == "forbid")
        self.forbid_marks = frozenset[EntityRef]().union(*(rule.mentioned for rule in self.forbids))

    def resources(self, rule: Rule) -> list[EntityRef]:
        """Return the resources of the catalogue that the rule's scope can meet."""
        found: Iterable[EntityRef]
        if rule.bound is None:
            found = self.ancestors
        elif rule.exactly:
            found = (rule.bound,) if rule.bound in self.ancestors else ()
        else:
            found = self.members.get(rule.bound, ())
        return [
            ref
            for ref in found
            if rule.resource_type in (None, ref.type) and not _actions_at(ref).isdisjoint(rule.actions)
        ]

    def worlds(self, rule: Rule, told_apart: frozenset[EntityRef] | None = None) -> Iterator[World]:
        """Yield the cases that a rule's scope meets; `told_apart` names what divides resources."""
        marks = rule.mentioned if told_apart is None else told_apart
        classes = {(ref.type, self.ancestors[ref] & marks): ref for ref in reversed(self.resources(rule))}
        for subject in rule.subjects:
            for ref in classes.values():
                for action in sorted(_actions_at(ref) & {*rule.actions}):
                    yield World(subject, action, ref, self.ancestors[ref], rule.within)

    def worlds_at(self, rule: Rule, resource: EntityRef, given: Mapping[Expr, Any]) -> Iterator[World]:
        """Yield the cases that a rule's scope meets at one resource, with some values given."""
        for subject in rule.subjects:
            for action in sorted(_actions_at(resource) & {*rule.actions}):
                yield World(subject, action, resource, self.ancestors[resource], rule.within, given)


def _actions_at(resource: EntityRef) -> frozenset[str]:
    return frozenset(ACTIONS_ON[resource.type])


def subjects(scope: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the kinds of principal that a scope lets in."""
    kinds: tuple[str, ...] = (scope["entity_type"],) if scope["op"] == "is" else SUBJECTS
    bound = scope_entities(scope)
    if bound and not (bound[0].type == "Group" and scope["op"] != "=="):
        kinds = tuple(kind for kind in kinds if kind == bound[0].type)
    return tuple(kind for kind in kinds if kind in SUBJECTS)


def actions(scope: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the actions that a scope lets in."""
    if scope["op"] == "All":
        return ACTIONS
    named = {entity.id for entity in scope_entities(scope)}
    if scope["op"] == "in" and ACTION_PARENT in named:
        return ACTIONS
    return tuple(action for action in ACTIONS if action in named)


def principal_atoms(scope: Mapping[str, Any]) -> frozenset[Expr]:
    """Return what a principal scope says, as atoms that hold."""
    bound = scope_entities(scope)
    if not bound:
        return frozenset()
    target: Expr = ("lit", bound[0])
    atoms: set[Expr] = {("in", PRINCIPAL, target)}
    if scope["op"] == "==":
        atoms.add(("==", PRINCIPAL, target))
    return frozenset(atoms)


def covers(rule: Rule, world: World) -> bool:
    """Return whether a rule's scope takes in the whole of a world, as far as can be told."""
    if world.action not in rule.actions or world.subject not in rule.subjects:
        return False
    if rule.resource_type not in (None, world.resource.type) or not rule.within <= world.within:
        return False
    if rule.bound is None:
        return True
    return rule.bound == world.resource if rule.exactly else rule.bound in world.ancestors


def in_world(rule: Rule, world: World) -> Expr:
    """Return the rule's condition with everything that the world knows worked out."""
    return fold(rule.condition, world.know)


def _targets(expr: Expr) -> tuple[EntityRef, ...] | None:
    items = expr[1:] if expr[0] == "set" else (expr,)
    if all(item[0] == "lit" and isinstance(item[1], EntityRef) for item in items):
        return tuple(item[1] for item in items)
    return None

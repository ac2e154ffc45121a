"""Which policies can match: an index by the scope of action, resource and principal.

The index is exact, and Cedar evaluates the scopes again: a policy that stood in a slice wrongly would
still not match.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from limen.core.entities import Closure
from limen.core.ids import EntityRef
from limen.engine import est
from limen.engine.bundle_values import Policy


class Anchor(NamedTuple):
    """What one side of a scope asks of an entity. Empty strings ask nothing."""

    op: str  # any, ==, in, is, is-in
    is_type: str = ""
    type: str = ""
    id: str = ""


ANY = Anchor("any")


class Index:
    """Policies by action, then resource anchor, then principal anchor."""

    def __init__(self, policies: Iterable[Policy], actions: Mapping[str, frozenset[str]]) -> None:
        self._actions: dict[str, dict[Anchor, dict[Anchor, list[int]]]] = {name: {} for name in actions}
        for position, policy in enumerate(policies):
            principal = scope_anchor(policy.est["principal"])
            resource = scope_anchor(policy.est["resource"])
            for name, ancestors in actions.items():
                if _action_matches(policy.est["action"], name, ancestors):
                    by_principal = self._actions[name].setdefault(resource, {})
                    by_principal.setdefault(principal, []).append(position)

    def principals(self) -> frozenset[EntityRef]:
        """Return every entity that the principal side of a scope names."""
        return frozenset(
            EntityRef(anchor.type, anchor.id)
            for by_resource in self._actions.values()
            for by_principal in by_resource.values()
            for anchor in by_principal
            if anchor.type
        )

    def match(self, action: str, subject: Closure, resource: Closure) -> tuple[int, ...]:
        """Return the positions of the policies whose scope matches, in order."""
        by_resource = self._actions.get(action)
        if not by_resource:
            return ()
        subject_anchors = anchors(subject)
        found: list[int] = []
        for resource_anchor in by_resource.keys() & anchors(resource):
            by_principal = by_resource[resource_anchor]
            for principal_anchor in by_principal.keys() & subject_anchors:
                found.extend(by_principal[principal_anchor])
        return tuple(sorted(found))

    def of_resource(self, action: str, resource: Closure) -> tuple[tuple[int, Anchor], ...]:
        """Return the policies whose action and resource match, in order, each with its principal's anchor."""
        by_resource = self._actions.get(action, {})
        found = [
            (position, principal)
            for anchor in by_resource.keys() & anchors(resource)
            for principal, positions in by_resource[anchor].items()
            for position in positions
        ]
        return tuple(sorted(found))


def scope_anchor(scope: Mapping[str, Any]) -> Anchor:
    """Return the anchor of `principal` or `resource` in a policy's scope."""
    op = scope["op"]
    if op == "All":
        return ANY
    if op == "is":
        within = scope.get("in")
        if within is None:
            return Anchor("is", scope["entity_type"])
        return Anchor("is-in", scope["entity_type"], *_entity(within))
    return Anchor(op, "", *_entity(scope))


def anchors(closure: Closure) -> frozenset[Anchor]:
    """Return every anchor that an entity satisfies."""
    root = closure.root
    found = {ANY, Anchor("==", "", root.type, root.id), Anchor("is", root.type)}
    for ancestor in closure.ancestors:
        found.add(Anchor("in", "", ancestor.type, ancestor.id))
        found.add(Anchor("is-in", root.type, ancestor.type, ancestor.id))
    return frozenset(found)


def _entity(scope: Mapping[str, Any]) -> tuple[str, str]:
    ref = est.entity(scope["entity"])
    assert ref is not None, "a scope names an entity"  # Cedar's own parser made it
    return ref


def _action_matches(scope: Mapping[str, Any], action: str, ancestors: frozenset[str]) -> bool:
    if scope["op"] == "All":
        return True
    if scope["op"] == "==":
        return bool(scope["entity"]["id"] == action)
    wanted = scope["entities"] if "entities" in scope else [scope["entity"]]
    return any(one["id"] in ancestors for one in wanted)

"""Cedar as Limen calls it: every trap of cedarpy 4.12 is met here, and nowhere else.

1. References go in as `{"type", "id"}`: the string form fails on unusual ids.
2. The schema is given when entities are parsed, so one that does not conform is refused, and the
   action hierarchy is there. It is not given again per call.
3. `NoDecision` raises `EngineFault`: its caller denies.
4. Policy sets are built from the JSON form keyed by `@id`; positional ids would differ per slice.
5. Error texts can hold every entity: `erring_ids` takes the ids from them and the texts go no further.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import cedarpy
import msgspec

from limen.core.decision import Grant
from limen.core.entities import Entity
from limen.core.errors import LimenError
from limen.core.ids import EntityRef

PolicySet = cedarpy.PolicySet
Entities = cedarpy.Entities
Schema = cedarpy.Schema

GRANT_TEMPLATE_ID = "grant"
GRANT_PREFIX = "grant:"
"""Grants stand in decisions as `grant:<id>`; no policy of a bundle may have such an id."""

_GRANT_TEMPLATE = {
    "effect": "permit",
    "principal": {"op": "in", "slot": "?principal"},
    "action": {"op": "All"},  # the actions of a grant are matched by the caller
    "resource": {"op": "in", "slot": "?resource"},
    "conditions": [],
}

_ERROR_START = "error while evaluating policy `"


class EngineFault(LimenError):
    """Cedar gave no decision, or a value does not fit the schema. Never carries Cedar's own text."""

    code = "ENGINE_FAILED"


class Answer(msgspec.Struct, frozen=True):
    """What Cedar said: its decision, the ids of the determining policies, the texts of its errors."""

    allow: bool
    reasons: tuple[str, ...]
    errors: tuple[str, ...]


def parse_schema(text: str) -> Schema:
    """Parse a Cedar schema.

    Raises:
        EngineFault: it is not one.
    """
    try:
        return Schema.from_str(text)
    except ValueError:
        raise EngineFault("The Cedar schema of the bundle can not be parsed.") from None


def parse_policies(policies: Mapping[str, Mapping[str, Any]]) -> PolicySet:
    """Build a policy set from JSON forms keyed by id, with the grant template in it."""
    document = {
        "staticPolicies": policies,
        "templates": {GRANT_TEMPLATE_ID: _GRANT_TEMPLATE},
        "templateLinks": [],
    }
    try:
        return PolicySet.from_json_str(msgspec.json.encode(document).decode())
    except ValueError:
        raise EngineFault("Cedar can not read a policy of the bundle.") from None


def link_grants(policies: PolicySet, grants: Iterable[Grant]) -> PolicySet:
    """Return the set with one link of the grant template for each grant."""
    return policies.with_linked_batch(
        [
            {
                "template_id": GRANT_TEMPLATE_ID,
                "new_id": GRANT_PREFIX + grant.id,
                "values": {"?principal": reference(grant.principal), "?resource": reference(grant.resource)},
            }
            for grant in grants
        ]
    )


def parse_entities(entities: Iterable[Entity], schema: Schema) -> Entities:
    """Parse entities, checked against the schema; the actions of the schema come with them.

    Bare entities are left out: to Cedar an absent entity and one without attributes and parents
    answer alike, and the schema would refuse a bare user (an owner whom the directory does not know).

    Raises:
        EngineFault: an entity does not conform.
    """
    rows = [
        {
            "uid": reference(entity.ref),
            "attrs": entity.attrs,
            "parents": [reference(parent) for parent in entity.parents],
        }
        for entity in entities
        if entity.attrs or entity.parents
    ]
    try:
        return Entities.from_json_str(msgspec.json.encode(rows).decode(), schema)
    except ValueError:
        raise EngineFault("An entity does not fit the schema of the bundle.") from None


def action_ancestors(schema: Schema) -> Mapping[str, frozenset[str]]:
    """Return for each action of the schema itself and the action groups that it is in."""
    rows = json.loads(str(Entities.from_json_str("[]", schema)))
    parents = {row["uid"]["id"]: [parent["id"] for parent in row["parents"]] for row in rows}

    def reach(action: str) -> frozenset[str]:
        # Cedar refuses a schema whose actions form a cycle, so this ends.
        return frozenset({action}).union(*(reach(parent) for parent in parents[action]))

    return {action: reach(action) for action in parents}


def ask(
    principal: EntityRef,
    action: str,
    resource: EntityRef,
    *,
    context: str,
    policies: PolicySet,
    entities: Entities,
) -> Answer:
    """Evaluate one request. `context` is JSON text.

    Raises:
        EngineFault: Cedar gave no decision.
    """
    request = {
        "principal": reference(principal),
        "action": {"type": "Action", "id": action},
        "resource": reference(resource),
        "context": context,
    }
    result = cedarpy.is_authorized(request, policies, entities)
    if result.decision is cedarpy.Decision.NoDecision:
        raise EngineFault("Cedar gave no decision.")
    diagnostics = result.diagnostics
    return Answer(result.allowed, tuple(sorted(diagnostics.reasons)), tuple(diagnostics.errors))


def reference(ref: EntityRef) -> dict[str, str]:
    """Return the one form of a reference that holds for every id."""
    return {"type": ref.type, "id": ref.id}


def erring_ids(error: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the ids whose error this may be. Usually one; none or several mean that nothing is proven.

    An id may hold a backquote, so one id and a colon can look like the start of another.
    """
    if not error.startswith(_ERROR_START):
        return ()
    rest = error[len(_ERROR_START) :]
    return tuple(sorted(policy for policy in known if rest.startswith(f"{policy}`: ")))

"""Stored inputs as facts: parsed once, sharing what many of them repeat, and rebased on another bundle.

Rebased: what a gateway under the candidate would have known. The resource and all above it come from the
candidate's catalogue; people keep of their attributes those that the candidate declares, as its schema
demands; subject, session, device, grants and network stay as they were.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from limen.core.catalogue import CEDAR_TYPES
from limen.core.decision import DeviceFacts, Facts, Grant, Network, SessionFacts
from limen.core.entities import Closure, Entity, close_again, close_entity
from limen.core.ids import EntityRef
from limen.core.record import ERASED

CLOSURES_MAX = 262_144  # subjects and resources at their versions that are kept parsed

ERASED_INPUTS = "erased"
UNREADABLE_INPUTS = "inputs_unreadable"
CHANGED_INPUTS = "inputs_changed"


class Inputs:
    """Parses stored inputs. Closures that repeat are one object.

    Args:
        verify: compare each closure with its digest each time; needed where nothing else would notice a
            change. Else once: so that nobody's facts stand for somebody else's by their digest.
    """

    def __init__(self, *, verify: bool) -> None:
        self._verify = verify
        self._closures: dict[str, Closure] = {}
        self._lacking = False  # the inputs that are parsed now are erased in part
        self.attributes: set[str] = set()  # names that any stored person has

    def parse(self, stored: Mapping[str, Any]) -> Facts | str:
        """Return the facts, with the network's address left open; or why there are none."""
        if "resource" not in stored:
            return ERASED_INPUTS
        self._lacking = ERASED in stored
        try:
            return self._parse(stored)
        except (msgspec.ValidationError, KeyError, TypeError, AttributeError, RecursionError):
            return UNREADABLE_INPUTS
        except ValueError:
            return CHANGED_INPUTS

    def _parse(self, stored: Mapping[str, Any]) -> Facts:
        subject, device = stored.get("subject"), stored.get("device")
        session, grants = stored.get("session"), stored.get("grants")
        return Facts(
            subject=None if subject is None else self._closure(subject),
            resource=self._closure(stored["resource"]),
            session=None if session is None else msgspec.convert(session, SessionFacts),
            device=None if device is None else DeviceFacts(self._closure(device["closure"])),
            network=msgspec.convert(stored.get("network", {}), Network),
            risk=stored.get("risk", 0),
            signals=tuple(stored.get("signals", ())),
            grants=msgspec.convert(grants, tuple[Grant, ...]) if grants else (),
            staleness_max_s=float(stored.get("staleness_max_s", 300.0)),
        )

    def _closure(self, stored: Mapping[str, Any]) -> Closure:
        found = self._closures.get(stored["digest"])
        if found is None or self._verify:
            parsed = msgspec.convert(stored, Closure)
            if digest_of(parsed) != parsed.digest:
                if self._lacking and not self._verify:
                    return parsed  # what is erased of others is not in it, nor is it kept
                raise ValueError("the closure is not what its digest says")
            if found is None or found != parsed:
                found = self._keep(parsed)
        return found

    def _keep(self, closure: Closure) -> Closure:
        if len(self._closures) >= CLOSURES_MAX:
            self._closures.clear()
        self._closures[closure.digest] = closure
        for entity in closure.entities:
            if entity.ref.type == "User":
                self.attributes.update(entity.attrs.get("attributes", ()))
        return closure


def digest_of(closure: Closure) -> str:
    """Return the digest that a closure's content has."""
    known = {entity.ref: entity for entity in closure.entities}
    again = close_again(closure, known.get)
    return again.digest if again.ancestors == closure.ancestors else ""


class Rebase:
    """Facts as a gateway under one bundle would have had them."""

    def __init__(self, entities: Mapping[EntityRef, Entity], declared: Mapping[str, str]) -> None:
        self._entities = entities
        self._declared = declared
        self._people: dict[str, Closure] = {}
        self._owners: dict[EntityRef, frozenset[EntityRef]] = {}
        self._resources: dict[tuple[EntityRef, str, str], Closure] = {}

    def facts(self, recorded: Facts, resource: EntityRef, staleness_max_s: float | None) -> Facts:
        """Return the facts, about `resource`."""
        subject, device = recorded.subject, recorded.device
        return msgspec.structs.replace(
            recorded,
            subject=None if subject is None else self._person(subject),
            resource=self._resource(resource, recorded),
            device=None if device is None else DeviceFacts(self._person(device.closure)),
            staleness_max_s=recorded.staleness_max_s if staleness_max_s is None else staleness_max_s,
        )

    def _person(self, closure: Closure) -> Closure:
        """Return a closure in which people have the attributes that are declared, and no others."""
        found = self._people.get(closure.digest)
        if found is None:
            entities = {entity.ref: self._declared_only(entity) for entity in closure.entities}
            found = closure
            if any(entities[entity.ref] is not entity for entity in closure.entities):
                found = close_again(closure, entities.get)
            if len(self._people) >= CLOSURES_MAX:
                self._people.clear()
            self._people[closure.digest] = found
        return found

    def _declared_only(self, entity: Entity) -> Entity:
        held = entity.attrs.get("attributes") if entity.ref.type == "User" else None
        if not held or all(self._fits(name, value) for name, value in held.items()):
            return entity
        kept = {name: value for name, value in held.items() if self._fits(name, value)}
        return msgspec.structs.replace(entity, attrs={**entity.attrs, "attributes": kept})

    def _fits(self, name: str, value: object) -> bool:
        kind = self._declared.get(name)
        return kind is not None and type(value) is CEDAR_TYPES[kind]

    def _resource(self, ref: EntityRef, recorded: Facts) -> Closure:
        """Return the candidate's closure. Its owner stands in it as the recorded facts know that person."""
        subject = recorded.subject
        if subject is not None and subject.root not in self._owners_of(ref):
            subject = None
        key = (ref, recorded.resource.digest, "" if subject is None else subject.digest)
        found = self._resources.get(key)
        if found is None:
            known = {
                entity.ref: self._declared_only(entity)
                for closure in (recorded.resource, subject)
                if closure is not None
                for entity in closure.entities
                if entity.ref.type in ("User", "Group")
            }
            found = close_entity(ref, lambda one: self._entities.get(one) or known.get(one))
            if len(self._resources) >= CLOSURES_MAX:
                self._resources.clear()
            self._resources[key] = found
        return found

    def _owners_of(self, ref: EntityRef) -> frozenset[EntityRef]:
        """Return who owns a resource, or the app that it is a part of."""
        found = self._owners.get(ref)
        if found is None:
            entity = self._entities.get(ref)
            owner = None if entity is None else entity.attrs.get("owner")
            own = () if owner is None else (EntityRef("User", owner["__entity"]["id"]),)
            above = () if entity is None else entity.parents
            found = frozenset(own).union(*(self._owners_of(one) for one in above if one.type == "App"))
            self._owners[ref] = found
        return found

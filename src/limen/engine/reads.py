"""What the conditions of a policy read, found from its syntax tree.

The engine hands Cedar only what is read, and keys its memo on just that. So a read that were missed
here could not make a stale answer: the policy would err for want of the attribute, and law D3 denies.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any

import msgspec

from limen.core.ids import EntityRef
from limen.engine import est
from limen.engine.edges import CLOCK_READINGS, LINEAR_TERMS, TimeForm, time_form

SESSION_FIELDS = ("aal", "age", "auth_age", "methods", "phishing_resistant")
NETWORK_FIELDS = ("anonymizer", "asn", "country", "ip")

FIELDS = frozenset(
    {"now", "hour", "weekday", "risk", "signals", "device", "session", "network"}
    | {f"session.{name}" for name in SESSION_FIELDS}
    | {f"network.{name}" for name in NETWORK_FIELDS}
)
"""Everything of `context` that can be read. A record's own name stands for its presence."""

TIME_FIELDS = frozenset(CLOCK_READINGS) | frozenset(LINEAR_TERMS)


class Reads(msgspec.Struct, frozen=True):
    """What is read.

    Attributes:
        fields: of `FIELDS`; `network.ip` only where it is read other than by `ranges`.
        ranges: address ranges that the address is looked for in.
        entities: whether a condition looks at an entity (the principal, the resource, the device).
        forms: memoisable uses of time.
        unmemoisable: time terms that are read in any other way.
        principal: attribute paths of the principal (`attributes.department`); empty string: anything of it
            but its ancestors.
        named: entities that conditions name.
    """

    fields: frozenset[str] = frozenset()
    ranges: frozenset[str] = frozenset()
    entities: bool = False
    forms: frozenset[TimeForm] = frozenset()
    unmemoisable: frozenset[str] = frozenset()
    principal: frozenset[str] = frozenset()
    named: frozenset[EntityRef] = frozenset()


EVERYTHING = Reads(FIELDS, frozenset(), True, frozenset(), TIME_FIELDS, frozenset({""}))
"""For a set of policies that is not looked into."""


def union(many: Iterable[Reads]) -> Reads:
    """Return what any of them reads."""
    all_of = tuple(many)
    return Reads(
        frozenset().union(*(reads.fields for reads in all_of)),
        frozenset().union(*(reads.ranges for reads in all_of)),
        any(reads.entities for reads in all_of),
        frozenset[TimeForm]().union(*(reads.forms for reads in all_of)),
        frozenset().union(*(reads.unmemoisable for reads in all_of)),
        frozenset().union(*(reads.principal for reads in all_of)),
        frozenset[EntityRef]().union(*(reads.named for reads in all_of)),
    )


def policy_reads(policy_est: est.Expression) -> Reads:
    """Return what the conditions of one policy (its JSON form) read."""
    walk = _Walk()
    for condition in policy_est["conditions"]:
        walk.visit(condition["body"])
    return Reads(
        frozenset(walk.fields),
        frozenset(walk.ranges),
        walk.entities,
        frozenset(walk.forms),
        frozenset(walk.unmemoisable),
        frozenset(walk.principal),
        frozenset(_named(policy_est["conditions"])),
    )


class _Walk:
    """One pass over expressions. What it does not know it takes for a read of everything below it."""

    def __init__(self) -> None:
        self.fields: set[str] = set()
        self.ranges: set[str] = set()
        self.entities = False
        self.forms: set[TimeForm] = set()
        self.unmemoisable: set[str] = set()
        self.principal: set[str] = set()

    def visit(self, node: Any) -> None:
        if isinstance(node, list):
            for part in node:
                self.visit(part)
        elif isinstance(node, dict):
            whole = est.path(node)
            if whole is not None:
                self._value(whole)
            elif len(node) == 1:
                [(op, body)] = node.items()
                self._operation(op, body)
            else:
                for part in node.values():
                    self.visit(part)

    def _operation(self, op: str, body: Any) -> None:
        if op == "Record":
            for part in body.values():  # its keys are names, not operators
                self.visit(part)
        elif op == "Value":
            # An entity literal that is looked into, or may be: `User::"x".status`.
            self.entities = self.entities or est.entity(body) is not None
        elif op == "has":
            self._presence(body)
        elif op == "isInRange":
            self._range(body)
        elif op in ("in", "is"):
            self._descendant(body["left"])
            self._ancestor(body.get("right", body.get("in")))
        elif isinstance(body, dict) and "left" in body and "right" in body:
            self._binary(op, body["left"], body["right"])
        else:
            self.visit(body)

    def _binary(self, op: str, left: Any, right: Any) -> None:
        form = time_form(op, left, right)
        if form is not None:
            self.forms.add(form)
            self.fields.update(_with_records(form.term))
            return
        for side in (left, right):
            if op in ("==", "!=") and est.entity(side.get("Value")) is not None:
                continue  # equality of references looks into neither
            self.visit(side)

    def _descendant(self, node: Any) -> None:
        """`principal in x` looks at the principal's ancestors, and at nothing else of it."""
        if node == {"Var": "principal"}:
            self.entities = True
        else:
            self.visit(node)

    def _ancestor(self, node: Any) -> None:
        """`x in Group::"a"` walks up from x; the group itself is not looked into."""
        if node is None:
            return
        for one in node["Set"] if isinstance(node, dict) and "Set" in node else [node]:
            if est.entity(one.get("Value")) is None:
                self.visit(one)

    def _presence(self, body: Any) -> None:
        above = est.path(body["left"])
        if above is None or above[0] != "context":
            if above is None:
                self.visit(body["left"])
            else:
                self._value((*above, body["attr"]))
            return
        name = ".".join((*above[1:], body["attr"])[:2])
        if name == "device" or name.startswith("device."):
            self._field(("device",))
        elif name in FIELDS:
            self.fields.update(_with_records(name))

    def _range(self, arguments: Any) -> None:
        network = est.call_text(arguments[1], "ip") if len(arguments) == 2 else None
        if (
            network is None
            or est.path(arguments[0]) != ("context", "network", "ip")
            or not _range_ok(network)
        ):
            self.visit(arguments)
            return
        self.fields.add("network")
        self.ranges.add(network)

    def _value(self, whole: tuple[str, ...]) -> None:
        if whole[0] in ("principal", "resource"):
            self.entities = True
            if whole[0] == "principal":
                self.principal.add(".".join(whole[1:3]))
        elif whole[0] == "context":
            below = self._field(whole[1:])
            self.unmemoisable.update(below & TIME_FIELDS)

    def _field(self, parts: tuple[str, ...]) -> frozenset[str]:
        """Note the field at this path with all below it, and return those."""
        if not parts or parts[0] == "device":
            self.entities = True
            parts = parts[:1]
        name = ".".join(parts[:2])
        below = frozenset(f for f in FIELDS if not parts or f == name or f.startswith(f"{name}."))
        for field in below:
            self.fields.update(_with_records(field))
        return below


def _named(node: Any) -> Iterator[EntityRef]:
    """Yield every entity literal."""
    ref = est.entity(node.get("Value")) if isinstance(node, dict) else None
    if ref is not None:
        yield ref
    elif isinstance(node, dict | list):
        for part in node.values() if isinstance(node, dict) else node:
            yield from _named(part)


def _with_records(field: str) -> tuple[str, ...]:
    record, dot, _ = field.partition(".")
    return (field, record) if dot else (field,)


def _range_ok(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True

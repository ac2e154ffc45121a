"""Cedar conditions as hashable tuples, and what can be said about them without running them.

Shape of an expression: `("lit", value)`, `("var", name)`, `(".", of, attribute)`, `("has", of, attribute)`,
`("is", of, type)`, `("!", x)`, `("neg", x)`, `("if", c, then, else)`, `("set", items…)`,
`("like", x, pattern)`, `(operator, left, right)`, `("call", name, arguments…)`, `("record", (key, x)…)`.
Literals: int, str, `EntityRef`, and `Extension` for durations, instants, addresses and decimals. Truth
values are `("bool", …)`, apart from them, because Python thinks that True is 1.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from limen.core.ids import EntityRef
from limen.engine import est

Expr = tuple[Any, ...]

TRUE: Expr = ("bool", True)
FALSE: Expr = ("bool", False)
BINARY = frozenset(
    {
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "&&",
        "||",
        "+",
        "-",
        "*",
        "in",
        "contains",
        "containsAll",
        "containsAny",
        "getTag",
        "hasTag",
    }
)
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
CONSTRUCTORS = frozenset({"duration", "datetime", "ip", "decimal"})

CONTEXT: Expr = ("var", "context")
PRINCIPAL: Expr = ("var", "principal")
ACTION: Expr = ("var", "action")
RESOURCE: Expr = ("var", "resource")


class Extension(NamedTuple):
    """A literal of an extension type. `number` is set where order is known: milliseconds."""

    name: str
    text: str
    number: int | None


def dotted(path: str) -> Expr:
    """Return the expression of `context.session.aal`."""
    name, *attributes = path.split(".")
    expr: Expr = ("var", name)
    for attribute in attributes:
        expr = (".", expr, attribute)
    return expr


def literal(value: Any) -> Expr:
    """Return a value as a literal."""
    return ("bool", value) if isinstance(value, bool) else ("lit", value)


def path_of(expr: Expr) -> tuple[str, ...] | None:
    """Return `("context", "session")` for `context.session`; None for anything else."""
    names: list[str] = []
    while expr[0] == ".":
        names.append(expr[2])
        expr = expr[1]
    return (expr[1], *reversed(names)) if expr[0] == "var" else None


def condition(policy: est.Expression) -> Expr:
    """Return the condition of a policy: every `when` and no `unless`."""
    whole = TRUE
    for clause in policy.get("conditions", ()):
        body = expression(clause["body"])
        part: Expr = body if clause["kind"] == "when" else ("!", body)
        whole = part if whole == TRUE else ("&&", whole, part)
    return whole


def expression(node: Mapping[str, Any]) -> Expr:  # noqa: PLR0911 (a case per kind)
    """Return an EST node as a tuple."""
    ((kind, inner),) = node.items()
    if kind == "Value":
        return _value(inner)
    if kind in ("Var", "Slot"):
        return (kind.lower(), inner)
    if kind in (".", "has"):
        return (kind, expression(inner["left"]), inner["attr"])
    if kind == "is":
        left = expression(inner["left"])
        typed: Expr = ("is", left, inner["entity_type"])
        return ("&&", typed, ("in", left, expression(inner["in"]))) if "in" in inner else typed
    if kind in ("!", "neg"):
        return (kind, expression(inner["arg"]))
    if kind == "if-then-else":
        return ("if", expression(inner["if"]), expression(inner["then"]), expression(inner["else"]))
    if kind == "Set":
        return ("set", *(expression(item) for item in inner))
    if kind == "Record":
        return ("record", *((key, expression(inner[key])) for key in sorted(inner)))
    if kind == "like":
        return ("like", expression(inner["left"]), json.dumps(inner["pattern"]))
    if kind in BINARY:
        return (kind, expression(inner["left"]), expression(inner["right"]))
    arguments = inner if isinstance(inner, list) else [inner["arg"]]
    return _call(kind, tuple(expression(argument) for argument in arguments))


def parts(expr: Expr) -> Iterator[Expr]:
    """Yield the direct parts of an expression."""
    kind = expr[0]
    if kind == "call":
        yield from expr[2:]
    elif kind == "record":
        yield from (value for _, value in expr[1:])
    elif kind in (".", "has", "is", "like"):
        yield expr[1]
    elif kind not in ("lit", "bool", "var", "slot"):
        yield from expr[1:]


def walk(expr: Expr) -> Iterator[Expr]:
    """Yield an expression and everything in it."""
    todo = [expr]
    while todo:
        found = todo.pop()
        yield found
        todo.extend(parts(found))


def mentioned(policy: est.Expression) -> frozenset[EntityRef]:
    """Return every entity that a policy names, in its scope or conditions."""
    found = {
        entity for part in ("principal", "action", "resource") for entity in scope_entities(policy[part])
    }
    for expr in walk(condition(policy)):
        if expr[0] == "lit" and isinstance(expr[1], EntityRef):
            found.add(expr[1])
    return frozenset(found)


def scope_entities(scope: Mapping[str, Any]) -> tuple[EntityRef, ...]:
    """Return the entities that a scope is bound to; empty when it is bound to none."""
    within = scope.get("in", scope)
    entities = within.get("entities") or ([within["entity"]] if "entity" in within else [])
    return tuple(EntityRef(entity["type"], entity["id"]) for entity in entities)


def _value(value: Any) -> Expr:
    if isinstance(value, Mapping):
        if "__entity" in value:
            return ("lit", EntityRef(value["__entity"]["type"], value["__entity"]["id"]))
        if "__extn" in value:
            return _call(value["__extn"]["fn"], (("lit", value["__extn"]["arg"]),))
        return ("record", *((key, _value(value[key])) for key in sorted(value)))
    if isinstance(value, list):
        return ("set", *(_value(item) for item in value))
    return literal(value)


def _call(name: str, arguments: tuple[Expr, ...]) -> Expr:
    if name in CONSTRUCTORS and len(arguments) == 1 and arguments[0][0] == "lit":
        text = str(arguments[0][1])
        order = {"duration": est.duration_ms, "datetime": est.datetime_ms}.get(name)
        return ("lit", Extension(name, text, order(text) if order else None))
    return ("call", name, *arguments)

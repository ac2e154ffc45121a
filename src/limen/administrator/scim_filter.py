"""Filters of SCIM (RFC 7644 section 3.4.2.2) over stored documents: compiled once, asked of each.

Reading a document into a model costs more than asking it: with 20,000 people a filter that no index answers
would take seconds. So a filter becomes a function of the JSON itself, by the library's own binding of names,
and what the database can look up narrows the documents first.

Laws:
    J1 the same answer: a compiled filter holds for a document exactly when the library's own evaluation
       holds for the resource that it is read into.
    J2 narrowing leaves out nothing: whatever a filter holds for has all the values that it is narrowed to.
    J3 bounded: a filter has `TERMS_MAX` terms at most, each a comparison of one attribute.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, cast

from scim2_models import InvalidFilterException, ScimFilter
from scim2_models.path import (
    AttributeBinding,
    AttrPath,
    CompareOperator,
    Comparison,
    FilterNode,
    LogicalExpr,
    LogicalOperator,
    Not,
    Present,
    ValuePath,
    coerce_value,
)
from scim2_server.utils import parametrize

from limen.administrator.scim_models import model_of
from limen.administrator.scim_values import Read, bind, dated, decoded, reader
from limen.store.scim import GROUP, USER, Narrow, is_looked_up

FILTER_LENGTH_MAX = 4_096  # characters
TERMS_MAX = 64

Holds = Callable[[Mapping[str, Any]], bool]
"""Whether a filter holds for a resource, as JSON with `meta` and memberships."""

_COMPARE: Mapping[CompareOperator, Callable[[Any, Any], bool]] = {
    CompareOperator.eq: operator.eq,
    CompareOperator.ne: operator.ne,
    CompareOperator.gt: operator.gt,
    CompareOperator.ge: operator.ge,
    CompareOperator.lt: operator.lt,
    CompareOperator.le: operator.le,
    CompareOperator.co: lambda left, right: right in left,
    CompareOperator.sw: lambda left, right: left.startswith(right),
    CompareOperator.ew: lambda left, right: left.endswith(right),
}
_OF_TEXT = (CompareOperator.co, CompareOperator.sw, CompareOperator.ew)

_NARROW: Mapping[tuple[str, str], str] = {
    (USER, "id"): "id",
    (USER, "externalid"): "external",
    (USER, "username"): "user",
    (USER, "displayname"): "display",
    (USER, "emails.value"): "email",
    (USER, "groups.value"): "group",
    (GROUP, "id"): "id",
    (GROUP, "externalid"): "external",
    (GROUP, "displayname"): "display",
    (GROUP, "members.value"): "member",
}
"""What the database can look up, by kind and attribute in lower case."""


class Compiled:
    """A filter for one kind of resource.

    Attributes:
        holds: whether it holds for a document.
        narrow: what the database can look up first (law J2).
        exact: whether that is all that it asks.
        links: the attribute of members or groups that it asks for; empty for none.
        needs_meta: whether it asks for `meta`.
    """

    def __init__(self, kind: str, text: str) -> None:
        model = model_of(kind)
        bound = parametrize(ScimFilter, model)(text)
        self.holds = _compile(model, bound.ast)
        self.narrow = tuple(_narrow(kind, model, bound.ast))
        heads = {path.attr.lower() for path in _paths(bound.ast)}
        self.exact = isinstance(bound.ast, Comparison) and bool(self.narrow)
        self.links = next((name for name in ("members", "groups") if name in heads), "")
        self.needs_meta = "meta" in heads


def demand_bounded(text: str) -> None:
    """Refuse a filter that is longer than anybody needs (law J3).

    Raises:
        InvalidFilterException: it is.
    """
    if len(text) > FILTER_LENGTH_MAX:
        raise InvalidFilterException(detail=f"filter: write at most {FILTER_LENGTH_MAX} characters.")
    if sum(1 for _ in _paths(ScimFilter(text).ast)) > TERMS_MAX:
        raise InvalidFilterException(detail=f"filter: write at most {TERMS_MAX} comparisons.")


# --- from a tree to a function -------------------------------------------------------------------------


def _compile(model: type[Any], node: FilterNode) -> Holds:
    match node:
        case Comparison():
            return _comparison(model, node)
        case Present(attr_path=path):
            return _present(model, path)
        case Not(expr=inner):
            holds = _compile(model, inner)
            return lambda document: not holds(document)
        case LogicalExpr(op=op, terms=terms):
            parts = tuple(_compile(model, term) for term in terms)
            joined = all if op == LogicalOperator.and_ else any
            return lambda document: joined(part(document) for part in parts)
        case ValuePath(attr_path=path, val_filter=inner):
            return _selection(model, path, inner)
    raise InvalidFilterException(detail="filter: it holds an expression that is not known here.")


def _comparison(model: type[Any], node: Comparison) -> Holds:
    binding = bind(model, node.attr_path, for_comparison=True)
    if binding is None:
        return lambda _document: False
    read, test = reader(binding), _test(binding, node)
    if binding.target_type is bytes:
        return _each(decoded(read), test, node.op)
    return _each(dated(read) if binding.target_type is datetime else read, test, node.op)


def _each(read: Read, test: Callable[[Any], bool], op: CompareOperator) -> Holds:
    """Of several values any must fit; none may be equal to what it is to differ from."""

    def holds(document: Mapping[str, Any]) -> bool:
        value = read(document)
        if not isinstance(value, list):
            return test(value)
        return all(map(test, value)) if op == CompareOperator.ne else any(map(test, value))

    return holds


def _test(binding: AttributeBinding, node: Comparison) -> Callable[[Any], bool]:
    expected = coerce_value(binding, node.value, node.op)
    if isinstance(expected, Enum):
        expected = expected.value
    op = node.op
    if expected is None:
        present = op == CompareOperator.ne
        return lambda value: op in (CompareOperator.eq, CompareOperator.ne) and (value is not None) == present
    right, compare = binding.comparable(expected), _COMPARE[op]

    def test(value: Any) -> bool:
        if value is None:
            return op == CompareOperator.ne
        left = binding.comparable(value) if isinstance(value, str) else value
        if op in _OF_TEXT and not (isinstance(left, str) and isinstance(right, str)):
            return False
        try:
            return compare(left, right)
        except TypeError:
            return False

    return test


def _present(model: type[Any], path: AttrPath) -> Holds:
    binding = bind(model, path)
    if binding is None:
        return lambda _document: False
    read = reader(binding)
    return lambda document: _is_there(read(document))


def _is_there(value: Any) -> bool:
    if isinstance(value, str | list | Mapping) and not value:
        return False
    if isinstance(value, list):
        return any(map(_is_there, value))
    if isinstance(value, Mapping):
        return any(map(_is_there, value.values()))
    return value is not None


def _selection(model: type[Any], path: AttrPath, inner: FilterNode) -> Holds:
    binding = bind(model, path)
    if binding is None:
        return lambda _document: False
    read, entry = reader(binding), binding.field_type
    if not hasattr(entry, "model_fields"):
        return _scalars(read, inner, binding)
    holds = _compile(cast(type[Any], entry), inner)

    def any_of(document: Mapping[str, Any]) -> bool:
        values = read(document)
        return isinstance(values, list) and any(map(holds, values))

    return any_of


def _scalars(read: Read, inner: FilterNode, binding: AttributeBinding) -> Holds:
    """`schemas[value eq "urn:…"]`: the entries are plain values, and `value` is such an entry."""

    def holds(node: FilterNode, value: Any) -> bool:
        match node:
            case Comparison(attr_path=path):
                return path.attr.lower() == "value" and not path.sub_attr and _test(binding, node)(value)
            case Present(attr_path=path):
                return path.attr.lower() == "value" and not path.sub_attr and _is_there(value)
            case Not(expr=under):
                return not holds(under, value)
            case LogicalExpr(op=op, terms=terms):
                found = (holds(term, value) for term in terms)
                return all(found) if op == LogicalOperator.and_ else any(found)
        return False

    return lambda document: any(holds(inner, value) for value in read(document) or ())


# --- what the database can look up ---------------------------------------------------------------------


def _narrow(kind: str, model: type[Any], node: FilterNode) -> Iterator[Narrow]:
    for term, within in _demanded(node, ""):
        name = f"{within}.{term.attr_path}" if within else str(term.attr_path)
        urn = f"{getattr(model, '__schema__', '')}:".lower()
        name = name.lower().removeprefix(urn)
        key = _NARROW.get((kind, name)) or _NARROW.get((kind, f"{name}.value"))
        if key is None or term.op != CompareOperator.eq or not isinstance(term.value, str):
            continue
        path = AttrPath("emails", "value") if key == "email" else AttrPath(name.partition(".")[0], None)
        binding = bind(model, path, for_comparison=True)
        value = binding.comparable(term.value) if binding else term.value
        if is_looked_up(value):
            yield key, value


def _demanded(node: FilterNode, within: str) -> Iterator[tuple[Comparison, str]]:
    """Return the comparisons that must all hold."""
    if isinstance(node, Comparison):
        yield node, within
    elif isinstance(node, LogicalExpr) and node.op == LogicalOperator.and_:
        for term in node.terms:
            yield from _demanded(term, within)
    elif isinstance(node, ValuePath) and not within:
        yield from _demanded(node.val_filter, str(node.attr_path))


def _paths(node: FilterNode) -> Iterator[AttrPath]:
    match node:
        case Comparison(attr_path=path) | Present(attr_path=path):
            yield path
        case Not(expr=inner):
            yield from _paths(inner)
        case LogicalExpr(terms=terms):
            for term in terms:
                yield from _paths(term)
        case ValuePath(attr_path=path, val_filter=inner):
            yield path
            yield from _paths(inner)

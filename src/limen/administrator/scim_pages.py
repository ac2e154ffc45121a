"""One page of a client's resources: found, ordered and cut (RFC 7644 section 3.4.2.4, RFC 9865).

Without filter and order the database pages. Otherwise what the filter holds for is ordered here, so that
SQLite and PostgreSQL, which order text differently, answer alike. Ties are ordered by id: pages are stable.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from scim2_models import InvalidCursorException, SearchRequest
from sqlalchemy import Connection

from limen.administrator.scim_filter import Compiled
from limen.administrator.scim_models import model_of
from limen.administrator.scim_values import read_value
from limen.administrator.scim_wire import render_links, render_meta
from limen.store import scim as rows
from limen.store import scim_members
from limen.store.scim import USER, ScimResource
from limen.store.scim_members import Link

Key = tuple[bool, Any, str]
"""What orders a resource: whether it lacks the value, the value, its id."""

SortValue = Callable[[Mapping[str, Any]], Any]


class Order(msgspec.Struct, frozen=True):
    """Which page of what order.

    Attributes:
        values: of each kind, what it is ordered by; empty for no order but that of ids.
        position: of a cursor: `{d: next|previous, k: value, i: id}`; None is the first page.
    """

    values: Mapping[str, SortValue]
    descending: bool
    start: int
    count: int
    by_cursor: bool
    position: Any

    @classmethod
    def read(cls, search: SearchRequest[Any], kinds: Sequence[str], position: Any) -> "Order":
        """Return the order of a validated request."""
        values: dict[str, SortValue] = {}
        if search.sort_by:
            values = {kind: _sort_value(search, kind) for kind in kinds}
        return cls(
            values=values,
            descending=bool(search.sort_by) and search.sort_order == SearchRequest.SortOrder.descending,
            start=search.start_index_0 or 0,
            count=search.count or 0,
            by_cursor=search.cursor is not None,
            position=position,
        )


class Page(NamedTuple):
    """A page: how many there are in all, its rows with their links, and where its neighbours begin."""

    total: int
    found: list[tuple[ScimResource, Sequence[Link] | None]]
    next: Any = None
    previous: Any = None


def find_page(
    connection: Connection, client: str, kinds: Sequence[str], filters: Mapping[str, Compiled], order: Order
) -> Page:
    """Return a page. `filters` are by kind; without any, everything is sought."""
    if not filters and not order.values and not order.by_cursor:
        total = rows.count_resources(connection, client, kinds)
        found = rows.page_resources(connection, client, kinds, offset=order.start, limit=order.count)
        return Page(total, [(row, None) for row in found] if order.count else [])
    keys: list[Key] = []
    for kind in kinds:
        keys += _keys(connection, client, kind, filters.get(kind), order)
    keys.sort(reverse=order.descending)
    return _cut(connection, client, kinds, keys, order)


def _keys(
    connection: Connection, client: str, kind: str, wanted: Compiled | None, order: Order
) -> Iterator[Key]:
    """Yield the key of each resource that a filter holds for."""
    value_of = order.values.get(kind)
    if wanted is None and value_of is None:
        yield from ((False, "", id_) for id_ in rows.list_ids(connection, client, kind))
        return
    links: Mapping[str, list[Link]] = {}
    if wanted is not None and wanted.links and not wanted.exact:
        links = scim_members.all_links(connection, client, upwards=kind == USER)
    needs_meta = wanted is None or wanted.needs_meta or value_of is not None
    for row in rows.scan_documents(connection, client, kind, wanted.narrow if wanted else ()):
        document = msgspec.json.decode(row.document)
        document["id"] = row.id
        if needs_meta:
            document["meta"] = render_meta(kind, row.version, row.created_at, row.modified_at)
        if row.id in links:
            document["groups" if kind == USER else "members"] = render_links(links[row.id], kind)
        if wanted is None or wanted.exact or wanted.holds(document):
            value = value_of(document) if value_of else ""
            yield value is None, "" if value is None else value, row.id


def _cut(
    connection: Connection, client: str, kinds: Sequence[str], keys: Sequence[Key], order: Order
) -> Page:
    start, stop = order.start, order.start + order.count
    if order.by_cursor:
        start, stop = _bounds(keys, order)
    chosen = keys[start:stop]
    loaded = {
        row.id: row for row in rows.load_resources(connection, client, kinds, [key[2] for key in chosen])
    }
    page = Page(len(keys), [(loaded[key[2]], None) for key in chosen])
    if not order.by_cursor or not chosen:
        return page
    return page._replace(
        next=_position("next", chosen[-1]) if stop < len(keys) else None,
        previous=_position("previous", chosen[0]) if start > 0 else None,
    )


def _bounds(keys: Sequence[Key], order: Order) -> tuple[int, int]:
    if order.position is None:
        return 0, min(order.count, len(keys))
    way, anchor = _read_position(order.position)

    def comes_before(key: Key) -> bool:
        return key > anchor if order.descending else key < anchor

    try:
        before = sum(1 for key in keys if comes_before(key))
    except TypeError:  # of another order: text against a number
        raise InvalidCursorException from None
    if way == "previous":
        return max(before - order.count, 0), before
    start = before + (1 if before < len(keys) and keys[before] == anchor else 0)
    return start, min(start + order.count, len(keys))


def _position(way: str, key: Key) -> dict[str, Any]:
    missing, value, id_ = key
    return {"d": way, "k": None if missing else value, "i": id_}


def _read_position(position: Any) -> tuple[str, Key]:
    try:
        way, value, id_ = position["d"], position["k"], position["i"]
    except (TypeError, KeyError):
        raise InvalidCursorException from None
    return way, (value is None, "" if value is None else value, id_)


def _sort_value(search: SearchRequest[Any], kind: str) -> SortValue:
    binding = search.sort_binding(model_of(kind))
    if binding is None:
        return lambda _document: None

    def value_of(document: Mapping[str, Any]) -> Any:
        value = read_value(binding, document)
        return binding.comparable(value) if isinstance(value, str) else value

    return value_of

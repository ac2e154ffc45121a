"""Bundles as they were applied: a history that only grows. The newest one is active.

A rollback applies an older bundle again, so the history also says who rolled back, when and why.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select

from limen.core.changes import BundleFact
from limen.core.errors import Invalid, NotFound
from limen.core.ids import BundleId, Instant
from limen.store.ports import Writing
from limen.store.tables import bundle

ACTIVE = "active"
"""Id of the one bundle projection."""

PREFIX_MIN = 6
"""Fewest hex digits by which a bundle may be named."""

_AnyRow = Row[*tuple[Any, ...]]

_INFO = (bundle.c.serial, bundle.c.id, bundle.c.applied_at, bundle.c.actor, bundle.c.reason)


class BundleInfo(msgspec.Struct, frozen=True):
    """One application of a bundle, without its files. `serial` counts applications, from 1."""

    serial: int
    id: BundleId
    applied_at: Instant
    actor: str
    reason: str


class StoredBundle(msgspec.Struct, frozen=True):
    """One application of a bundle with its files, by path."""

    info: BundleInfo
    files: Mapping[str, str]


def apply(tx: Writing, bundle_id: BundleId, files: Mapping[str, str]) -> int:
    """Make a bundle the active one; return its serial. Who checks it does so before."""
    ordered = dict(sorted(files.items()))
    values = {
        "id": bundle_id,
        "files": ordered,
        "applied_at": tx.now,
        "actor": tx.actor,
        "reason": tx.reason,
    }
    key = tx.connection.execute(insert(bundle).values(values)).inserted_primary_key
    assert key is not None
    tx.change("bundle", ACTIVE, BundleFact(ACTIVE, bundle_id, ordered))
    return int(key[0])


def active(connection: Connection) -> StoredBundle | None:
    """Return the active bundle; None before the first one was applied."""
    row = connection.execute(select(bundle).order_by(bundle.c.serial.desc()).limit(1)).first()
    return None if row is None else StoredBundle(_info(row), row.files)


def history(connection: Connection, *, before: int | None = None, limit: int = 100) -> tuple[BundleInfo, ...]:
    """Return applications, newest first; `before` is the last serial of the page before."""
    wanted = select(*_INFO).order_by(bundle.c.serial.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(bundle.c.serial < before)
    return tuple(_info(row) for row in connection.execute(wanted))


def get(connection: Connection, name: str) -> StoredBundle:
    """Return the bundle that `name` names: a serial (`7`), or at least six digits of an id.

    Raises:
        NotFound: there is none.
        Invalid: the digits begin several ids.
    """
    if name.isdecimal() and len(name) < PREFIX_MIN:
        found = connection.execute(select(bundle).where(bundle.c.serial == int(name))).first()
    else:
        found = _newest_of_prefix(connection, name.lower())
    if found is None:
        raise NotFound(f"There is no bundle {name[:64]!r}.", remedy="See `limen policy history`.")
    return StoredBundle(_info(found), found.files)


def _newest_of_prefix(connection: Connection, prefix: str) -> _AnyRow | None:
    if len(prefix) < PREFIX_MIN:
        raise Invalid(
            f"{prefix!r} is neither a serial nor long enough for an id.",
            remedy=f"Give at least {PREFIX_MIN} digits of the id.",
        )
    begins = bundle.c.id.startswith(prefix, autoescape=True)
    ids = list(connection.scalars(select(bundle.c.id).where(begins).distinct().limit(2)))
    if len(ids) > 1:
        raise Invalid(f"Several bundles begin with {prefix!r}.", remedy="Give more digits.")
    return connection.execute(select(bundle).where(begins).order_by(bundle.c.serial.desc()).limit(1)).first()


def _info(row: _AnyRow) -> BundleInfo:
    return BundleInfo(row.serial, BundleId(row.id), row.applied_at, row.actor, row.reason)

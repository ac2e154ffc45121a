"""The candidate that is decided beside the active bundle: at most one."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select

from limen.core.errors import Conflict, NotFound
from limen.core.ids import BundleId, Instant
from limen.store.ports import Writing
from limen.store.tables import shadow


class ShadowRow(msgspec.Struct, frozen=True):
    """The candidate with its files, and who set it up, when and why."""

    bundle: BundleId
    files: Mapping[str, str]
    started_at: Instant
    actor: str
    reason: str


def start_shadow(tx: Writing, bundle: BundleId, files: Mapping[str, str]) -> ShadowRow:
    """Set the candidate.

    Raises:
        Conflict: there is one already.
    """
    present = load_shadow(tx.connection)
    if present is not None:
        raise Conflict(
            f"The bundle {present.bundle[:12]} is in shadow already.",
            remedy="End it with `limen shadow stop`, or take it with `limen shadow promote`.",
            code="SHADOW_RUNS",
        )
    row = ShadowRow(bundle, dict(sorted(files.items())), tx.now, tx.actor, tx.reason)
    tx.connection.execute(insert(shadow).values(msgspec.structs.asdict(row)))
    return row


def stop_shadow(tx: Writing) -> ShadowRow:
    """Remove the candidate; return what it was.

    Raises:
        NotFound: there is none.
    """
    present = demand_shadow(tx.connection)
    tx.connection.execute(delete(shadow))
    return present


def load_shadow(connection: Connection) -> ShadowRow | None:
    """Return the candidate, or None."""
    row = connection.execute(select(shadow)).first()
    return None if row is None else _row(row)


def demand_shadow(connection: Connection) -> ShadowRow:
    """Return the candidate.

    Raises:
        NotFound: there is none.
    """
    found = load_shadow(connection)
    if found is None:
        raise NotFound(
            "No bundle is in shadow.", remedy="Start one with `limen shadow start DIR`.", code="NO_SHADOW"
        )
    return found


def _row(row: Row[Any]) -> ShadowRow:
    return ShadowRow(**row._mapping)

"""Bundles that wait for a second administrator. One row a content: proposing it again replaces the row."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from limen.core.errors import NotFound
from limen.core.ids import BundleId, Instant
from limen.store.ports import Writing
from limen.store.tables import bundle_proposal


class Proposal(msgspec.Struct, frozen=True):
    """A bundle that was proposed. `base` is the active bundle with which it was compared."""

    bundle: BundleId
    base: BundleId
    proposed_at: Instant
    actor: str
    reason: str
    files: Mapping[str, str]


def add_proposal(tx: Writing, bundle: BundleId, files: Mapping[str, str], base: BundleId) -> Proposal:
    """Store a proposal, in place of an earlier one of the same content."""
    row = Proposal(bundle, base, tx.now, tx.actor, tx.reason, dict(sorted(files.items())))
    tx.connection.execute(delete(bundle_proposal).where(bundle_proposal.c.bundle == bundle))
    tx.connection.execute(insert(bundle_proposal).values(msgspec.structs.asdict(row)))
    return row


def list_proposals(connection: Connection) -> tuple[Proposal, ...]:
    """Return the proposals that wait, oldest first."""
    waiting = select(bundle_proposal).where(bundle_proposal.c.approved_at.is_(None))
    rows = connection.execute(waiting.order_by(bundle_proposal.c.proposed_at))
    return tuple(_proposal(row) for row in rows)


def get_proposal(connection: Connection, bundle: str) -> Proposal:
    """Return the waiting proposal of exactly this content.

    Raises:
        NotFound: there is none.
    """
    waiting = select(bundle_proposal).where(bundle_proposal.c.approved_at.is_(None))
    row = connection.execute(waiting.where(bundle_proposal.c.bundle == bundle)).first()
    if row is None:
        raise NotFound(f"No bundle {bundle[:64]!r} is proposed.", remedy="See `limen policy proposals`.")
    return _proposal(row)


def close_proposal(tx: Writing, bundle: str) -> None:
    """Note that a proposal was approved, and by whom."""
    done = {"approved_at": tx.now, "approver": tx.actor}
    tx.connection.execute(update(bundle_proposal).where(bundle_proposal.c.bundle == bundle).values(done))


def drop_proposal(tx: Writing, bundle: str) -> None:
    """Forget a proposal."""
    tx.connection.execute(delete(bundle_proposal).where(bundle_proposal.c.bundle == bundle))


def _proposal(row: Row[Any]) -> Proposal:
    return Proposal(**{name: getattr(row, name) for name in Proposal.__struct_fields__})

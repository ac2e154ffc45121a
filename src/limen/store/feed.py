"""The change feed on its tables: append, read whole transactions, load a snapshot.

Laws:
    F1 atomic. No row changes without its change record, no record without its row.
    F2 ordered. A replica that has applied `seq = N` equals the snapshot at `N`.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, Text, bindparam, cast, delete, func, insert, select, update

from limen.core.changes import Change, Projection, Snapshot
from limen.core.errors import Conflict
from limen.store.tables import change, projection, state

_decode = msgspec.json.Decoder(Projection).decode

_DELETE_PROJECTION = delete(projection).where(
    projection.c.kind == bindparam("b_kind"), projection.c.id == bindparam("b_id")
)


def read_state(connection: Connection, name: str) -> str | None:
    """Return one row of the `state` table."""
    return connection.scalar(select(state.c.value).where(state.c.name == name))


def write_state(connection: Connection, name: str, value: str) -> None:
    """Set one row of the `state` table."""
    found = connection.execute(update(state).where(state.c.name == name).values(value=value))
    if found.rowcount == 0:
        connection.execute(insert(state).values(name=name, value=value))


def take_counter(connection: Connection) -> int:
    """Lock the counter row until commit and return the head, so that no other writer can number."""
    row = connection.scalar(select(state.c.value).where(state.c.name == "seq").with_for_update())
    return int(row or 0)


def append_changes(connection: Connection, changes: Sequence[Change]) -> None:
    """Write `changes`, which follow the head without a gap, and what they do to the projections."""
    if not changes:
        return
    connection.execute(insert(change), [msgspec.structs.asdict(c) for c in changes])
    connection.execute(_DELETE_PROJECTION, [{"b_kind": c.kind, "b_id": c.id} for c in changes])
    live = [
        {"kind": c.kind, "id": c.id, "version": c.seq, "value": c.value}
        for c in changes
        if c.value is not None
    ]
    if live:
        connection.execute(insert(projection), live)
    write_state(connection, "seq", str(changes[-1].seq))


def load_head(connection: Connection) -> int:
    """Return the seq of the last committed change; 0 when there is none."""
    return int(read_state(connection, "seq") or 0)


def load_snapshot(connection: Connection) -> Snapshot:
    """Return every live projection, in the order of their versions."""
    rows = connection.execute(
        select(projection.c.version, cast(projection.c.value, Text)).order_by(projection.c.version)
    )
    values = tuple((version, _decode(text)) for version, text in rows)
    return Snapshot(read_state(connection, "epoch") or "", load_head(connection), values)


def load_changes(connection: Connection, after: int, limit: int) -> tuple[Change, ...]:
    """Return the changes that follow `after`, in whole transactions.

    At least `limit` changes when there are as many: the last transaction is never cut.

    Raises:
        Conflict: `FEED_TRUNCATED` when changes after `after` are no longer kept, `FEED_AHEAD` when
            `after` was never reached here; either way the reader takes a snapshot.
    """
    _check_position(connection, after)
    window = (
        select(change.c.tx).where(change.c.seq > after).order_by(change.c.seq).limit(limit).subquery("window")
    )
    until = connection.scalar(select(func.max(window.c.tx)))
    if until is None:
        return ()
    rows = connection.execute(
        select(
            change.c.seq,
            change.c.tx,
            change.c.kind,
            change.c.id,
            cast(change.c.value, Text),
            change.c.actor,
            change.c.reason,
            change.c.at,
        )
        .where(change.c.seq > after, change.c.seq <= until)
        .order_by(change.c.seq)
    )
    return tuple(
        Change(seq, tx, kind, name, None if text is None else _decode(text), actor, reason, at)
        for seq, tx, kind, name, text, actor, reason, at in rows
    )


def prune_changes(connection: Connection, *, keep: int) -> int:
    """Forget all but about the last `keep` changes, at a transaction's edge; return how many went.

    Readers that are further behind take a snapshot. The projections stay.
    """
    last = load_head(connection) - keep
    edge = connection.scalar(select(func.max(change.c.tx)).where(change.c.tx <= last))
    if edge is None:
        return 0
    gone = connection.execute(delete(change).where(change.c.seq <= edge)).rowcount
    write_state(connection, "floor", str(edge))
    return gone


def _check_position(connection: Connection, after: int) -> None:
    floor, head = int(read_state(connection, "floor") or 0), load_head(connection)
    if after < floor:
        raise Conflict(
            f"Changes up to {floor} are no longer kept, and {after} was asked for.",
            remedy="Load a snapshot.",
            code="FEED_TRUNCATED",
        )
    if after > head:
        raise Conflict(
            f"The feed is at {head}, and what follows {after} was asked for.",
            remedy="Load a snapshot: the database may have been restored.",
            code="FEED_AHEAD",
        )

"""The change feed on its tables: append, read whole transactions, load a snapshot.

Laws:
    F1 atomic. No row changes without its change record, no record without its row.
    F2 ordered. A replica that has applied `seq = N` equals the snapshot at `N`. Within an epoch no
       number is left out; a new epoch counts on from a number beyond all that went before.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Text, cast, delete, func, insert, select, update

from limen.core.changes import Change, Projection, Snapshot
from limen.core.errors import Conflict
from limen.store.life import Found, prove
from limen.store.tables import change, projection, state

_decode = msgspec.json.Decoder(Projection).decode

_IDS_PER_DELETE = 500
"""One statement for many rows: a round trip for each row is what a server that is elsewhere makes slow."""

_CHANGES = select(
    change.c.seq,
    change.c.tx,
    change.c.kind,
    change.c.id,
    cast(change.c.value, Text),
    change.c.actor,
    change.c.reason,
    change.c.at,
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
    _delete_projections(connection, changes)
    live = [
        {"kind": c.kind, "id": c.id, "version": c.seq, "value": c.value}
        for c in changes
        if c.value is not None
    ]
    if live:
        connection.execute(insert(projection), live)
    write_state(connection, "seq", str(changes[-1].seq))


def _delete_projections(connection: Connection, changes: Sequence[Change]) -> None:
    ids: dict[str, list[str]] = {}
    for one in changes:
        ids.setdefault(one.kind, []).append(one.id)
    for kind, names in ids.items():
        for first in range(0, len(names), _IDS_PER_DELETE):
            some = projection.c.id.in_(names[first : first + _IDS_PER_DELETE])
            connection.execute(delete(projection).where(projection.c.kind == kind, some))


def skip_to(connection: Connection, seq: int) -> None:
    """Count on from `seq`. Whoever is at an earlier position takes a snapshot."""
    write_state(connection, "seq", str(seq))
    write_state(connection, "floor", str(seq))


def load_found(connection: Connection, at: int | None = None) -> Found:
    """Return where the feed is; with `at`, also a proof of which change stands there."""
    names = ("epoch", "seq", "home")
    rows = connection.execute(select(state.c.name, state.c.value).where(state.c.name.in_(names)))
    found = {row.name: row.value for row in rows}
    proof = None
    if at:
        row = connection.execute(_CHANGES.where(change.c.seq == at)).first()
        proof = None if row is None else prove(_change(row))
    return Found(found.get("epoch", ""), int(found.get("seq", 0)), proof, found.get("home"))


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
    wanted = _CHANGES.where(change.c.seq > after, change.c.seq <= until).order_by(change.c.seq)
    return tuple(_change(row) for row in connection.execute(wanted))


def prune_changes(connection: Connection, *, keep: int) -> int:
    """Forget all but about the last `keep` changes, at a transaction's edge; return how many went.

    Readers that are further behind take a snapshot. The projections stay.
    """
    last = load_head(connection) - keep
    edge = connection.scalar(select(func.max(change.c.tx)).where(change.c.tx <= last))
    if edge is None:
        return 0
    gone = connection.execute(delete(change).where(change.c.seq <= edge)).rowcount
    floor = int(read_state(connection, "floor") or 0)
    write_state(connection, "floor", str(max(edge, floor)))  # never back to before a new epoch
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


def _change(row: Row[Any]) -> Change:
    seq, tx, kind, name, text, actor, reason, at = tuple(row)
    return Change(seq, tx, kind, name, None if text is None else _decode(text), actor, reason, at)

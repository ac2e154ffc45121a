"""Whether the columns by which compacted segments are searched say what the payloads say."""

from collections.abc import Iterator
from pathlib import Path

from limen.journal import parquet
from limen.journal.compaction import row_of
from limen.journal.frame import Frame, Kind
from limen.journal.parquet import Row

Joined = tuple[str | None, int | None, int | None]


def misfits(path: Path) -> Iterator[int]:
    """Yield the positions of rows whose columns are not those of their payload; -1 for an unreadable file."""
    pointed: dict[int, Joined] = {}
    outcomes: dict[int, Joined] = {}
    try:
        with parquet.opened_paths([path]) as database:
            for row in parquet.rows(database):
                if not _fits(row, pointed, outcomes):
                    yield row.position
    except FileNotFoundError:  # retention
        return
    except parquet.failures():
        yield -1
    yield from (place for place, what in pointed.items() if outcomes.get(place, what) != what)


def _fits(row: Row, pointed: dict[int, Joined], outcomes: dict[int, Joined]) -> bool:
    """Whether one row fits; what joins it to another is noted, to be compared in the end."""
    if row.payload is None:
        return row == Row(row.kind, row.position, leaf=row.leaf, raw=row.raw)
    made = row_of(Frame(row.kind, row.position, row.payload.encode(), 0, 0))
    joined = (made.id, row.bytes_in, row.bytes_out)
    if row.kind == Kind.DECISION and row.outcome is not None and row.id is None:
        pointed[row.outcome] = joined
    elif row.kind == Kind.OUTCOME and row.id is None:
        outcomes[row.position] = (made.id, made.bytes_in, made.bytes_out)
        if (row.bytes_in, row.bytes_out) != (None, None):
            return False
    elif joined[1:] != (made.bytes_in, made.bytes_out) or row.id != made.id:
        return False
    return _plain(row) == _plain(made)


def _plain(row: Row) -> Row:
    policies = None if row.policies is None else tuple(row.policies)
    return row._replace(policies=policies, outcome=None, bytes_in=None, bytes_out=None, id=None)

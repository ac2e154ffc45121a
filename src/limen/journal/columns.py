"""Whether the columns by which compacted segments are searched say what the payloads say.

DuckDB compares them all; what it finds strange is looked at again as compaction would have written it.
"""

from collections.abc import Iterator
from pathlib import Path

from limen.journal import parquet
from limen.journal.compaction import row_of
from limen.journal.frame import Damage, Frame, Kind, scan
from limen.journal.parquet import Row
from limen.journal.stored import StoredFrame

UNREADABLE = -1
"""In place of a position: the file cannot be read."""

_TEXTS = ("key", "actor_key", "subject", "actor", "target", "point", "resource", "verdict", "code", "ip")
_FIELDS = (*_TEXTS, "id", "kind", "at", "bytes_in", "bytes_out")
_PATHS = ", ".join(f"'$.{name}'" for name in _FIELDS)
_NOTHING = ("at", "policies", "event", "outcome", "bytes_in", "bytes_out", "id", *_TEXTS)
_FRAMES = "SELECT kind, position, payload, leaf, raw FROM part ORDER BY file_row_number"
_STRANGE = f"""
WITH text AS (
  SELECT position, kind, CASE WHEN kind < {Kind.HEADER:d} AND payload IS NOT NULL
    THEN json_extract_string(payload, [{_PATHS}]) END AS f, COLUMNS(* EXCLUDE (position, kind, payload)),
    CASE WHEN kind = {Kind.DECISION:d} THEN json_extract_string(payload, '$.policies[*]') END AS p
  FROM part WHERE raw IS NULL)
SELECT position FROM text WHERE f IS NULL AND ({" OR ".join(f'"{name}" IS NOT NULL' for name in _NOTHING)})
OR f IS NOT NULL AND (
  {" OR ".join(f'"{name}" IS DISTINCT FROM f[{place}]' for place, name in enumerate(_TEXTS, start=1))}
  OR event IS DISTINCT FROM CASE WHEN kind = {Kind.EVENT:d} THEN f[12] END
  OR "at" IS DISTINCT FROM f[13]::DOUBLE
  OR coalesce(policies, []) IS DISTINCT FROM coalesce(p, [])
  OR id IS DISTINCT FROM f[11] AND kind IN ({Kind.DECISION:d}, {Kind.OUTCOME:d})
     AND (id IS NOT NULL OR kind = {Kind.DECISION:d} AND outcome IS NULL)
  OR kind NOT IN ({Kind.DECISION:d}, {Kind.OUTCOME:d}) AND (id IS NOT NULL OR outcome IS NOT NULL)
  OR kind = {Kind.OUTCOME:d} AND (bytes_in IS DISTINCT FROM CASE WHEN id IS NOT NULL
     THEN coalesce(f[14], '0')::UBIGINT END OR bytes_out IS DISTINCT FROM CASE WHEN id IS NOT NULL
     THEN coalesce(f[15], '0')::UBIGINT END))
"""  # noqa: S608 – names of our own
_JOINED = f"""
SELECT d.position FROM part d LEFT JOIN part o ON d.outcome = o.position AND o.raw IS NULL
WHERE d.kind = {Kind.DECISION:d} AND d.outcome IS NOT NULL AND (o.position IS NULL
  OR o.payload IS NOT NULL AND (
  o.kind <> {Kind.OUTCOME:d} OR o.id IS NOT NULL OR d.payload IS NULL
  OR json_extract_string(o.payload, '$.id') IS DISTINCT FROM json_extract_string(d.payload, '$.id')
  OR d.bytes_in IS DISTINCT FROM coalesce(o.payload->>'$.bytes_in', '0')::UBIGINT
  OR d.bytes_out IS DISTINCT FROM coalesce(o.payload->>'$.bytes_out', '0')::UBIGINT))
"""  # noqa: S608 – names of our own


def read_frames(path: Path) -> Iterator[StoredFrame | Damage]:
    """Yield the frames of a file in its order, its other columns left aside. Unreadable: damage."""
    try:
        with parquet.opened_paths([path]) as database:
            found = database.execute(_FRAMES)
            while batch := found.fetchmany(parquet.ROWS_AT_ONCE):
                for kind, position, payload, leaf, raw in batch:
                    if raw is None:
                        yield StoredFrame(kind, position, payload and payload.encode(), leaf or b"")
                    else:
                        yield from map(_stored, scan(raw))
    except FileNotFoundError:  # retention
        return
    except parquet.failures():
        yield Damage(0, path.stat().st_size)


def _stored(part: Frame | Damage) -> StoredFrame | Damage:
    return part if isinstance(part, Damage) else StoredFrame(part.kind, part.position, part.payload)


def misfits(path: Path) -> Iterator[int]:
    """Yield the positions of rows whose columns are not those of their payload, or `UNREADABLE`."""
    try:
        with parquet.opened_paths([path]) as database:
            strange = [position for (position,) in database.execute(_STRANGE).fetchall()]
            apart = {position for (position,) in database.execute(_JOINED).fetchall()}
            values = {"strange": strange}
            rows = parquet.rows(database, "position IN (SELECT unnest($strange))", values) if strange else ()
            yield from sorted(apart | {row.position for row in rows if not _fits(row)})
    except FileNotFoundError:  # retention
        return
    except parquet.failures():
        yield UNREADABLE


def _fits(row: Row) -> bool:
    """Whether a row is as compaction writes it, what joins it to another left aside."""
    if row.raw is not None or row.kind >= Kind.HEADER:
        return True
    if row.payload is None:
        return row == Row(row.kind, row.position, leaf=row.leaf)
    made = row_of(Frame(row.kind, row.position, row.payload.encode(), 0, 0))
    loose = row.kind == Kind.OUTCOME and row.id is not None
    joined = row.kind == Kind.OUTCOME or (row.kind == Kind.DECISION and row.outcome is not None)
    if loose and (row.bytes_in, row.bytes_out) != (made.bytes_in, made.bytes_out):
        return False
    return row.id == (made.id if not joined or loose else None) and _plain(row) == _plain(made)


def _plain(row: Row) -> Row:
    policies = None if row.policies is None else tuple(row.policies)
    return row._replace(policies=policies, outcome=None, bytes_in=None, bytes_out=None, id=None)

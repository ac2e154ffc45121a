"""What compaction and retention make of a segment: its rows, all of them, or some without their payload.

Laws: J8 and J9 of `limen.journal.archive`. Whatever is written is read back and compared before it is used.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from limen.core.errors import Invalid
from limen.journal.frame import Damage, Frame, Kind, encode_frame, scan
from limen.journal.merkle import leaf_hash
from limen.journal.parquet import NO_FRAME, Row, rows, written

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class Outcome(NamedTuple):
    """Where the outcome of a decision stands, and its bytes."""

    position: int
    bytes_in: int
    bytes_out: int


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Parts(msgspec.Struct):
    """What the columns repeat of any record."""

    id: str | None = None
    at: float | None = None
    key: str | None = None
    actor_key: str | None = None
    subject: str | None = None
    actor: str | None = None
    target: str | None = None
    point: str | None = None
    resource: str | None = None
    verdict: str | None = None
    code: str | None = None
    policies: tuple[str, ...] | None = None
    ip: str | None = None
    kind: str | None = None
    bytes_in: _Count = 0
    bytes_out: _Count = 0


_decoder = msgspec.json.Decoder(_Parts)


def compact(segment: memoryview, file: int) -> None:
    """Write the rows of a sealed segment to an open file, and read back every byte that they make.

    Raises:
        Invalid: what was written does not give the segment again (`COMPACTION_FAILED`).
        OSError: the disk did not take it.
    """
    end = 0
    with written(file, _rows_of(segment)) as database:
        for row in rows(database):
            made = row.raw or encode_frame(row.kind, row.position, (row.payload or "").encode())
            if segment[end : end + len(made)] != made:
                break
            end += len(made)
    if end != len(segment):
        raise Invalid(
            f"A segment cannot be compacted: from byte {end} on, its Parquet form differs.",
            remedy="It stays as it is; report this, with the release of DuckDB.",
            code="COMPACTION_FAILED",
        )


class Removable(NamedTuple):
    """Positions whose payload may go, and how many payloads of records are then left."""

    gone: frozenset[int]
    left: int


def removable(database: "DuckDBPyConnection", kinds: frozenset[Kind], marks: Sequence[str]) -> Removable:
    """Return what of some kinds may go. What holds a mark stays, with what its decision is read from."""
    head = int(Kind.HEADER)
    held = database.execute(
        "SELECT position, outcome FROM part WHERE kind < $head AND payload IS NOT NULL "
        "AND list_bool_or([contains(payload, mark) FOR mark IN $marks])",
        {"marks": list(marks), "head": head},
    ).fetchall()
    found = database.execute(
        "SELECT kind, position, id FROM part WHERE kind < $head AND payload IS NOT NULL", {"head": head}
    ).fetchall()
    keep = {position for row in held for position in row}
    gone = frozenset(
        position
        for kind, position, loose in found
        if kind in kinds and position not in keep and not (held and _leant_on(kind, loose))
    )
    return Removable(gone, len(found) - len(gone))


def _leant_on(kind: int, loose: str | None) -> bool:
    """Whether a record may belong to a decision that is held: its bundle, or an outcome not joined to one."""
    return kind == Kind.BUNDLE or (kind == Kind.OUTCOME and loose is not None)


def rewrite(old: Iterable[Row], gone: frozenset[int], file: int) -> None:
    """Write rows without the payloads at some positions, and compare every leaf (law J9).

    Raises:
        Invalid: what was written has other leaves (`COMPACTION_FAILED`).
    """
    leaves: list[bytes] = []

    def emptied() -> Iterator[Row]:
        for row in old:
            leaves.append(_leaf(row))
            if (
                row.kind < Kind.HEADER
                and row.raw is None
                and row.position in gone
                and row.payload is not None
            ):
                yield Row(row.kind, row.position, leaf=leaves[-1])
            else:
                yield row

    with written(file, emptied()) as database:
        if [_leaf(row) for row in rows(database)] != leaves:
            raise Invalid(
                "A segment cannot be emptied: what was written has other leaves.",
                remedy="It stays as it is; report this, with the release of DuckDB.",
                code="COMPACTION_FAILED",
            )


def _leaf(row: Row) -> bytes:
    if row.payload is not None:
        return leaf_hash(row.payload.encode())
    return row.leaf or row.raw or b""


def _rows_of(segment: memoryview) -> Iterator[Row]:
    """Yield the rows of a segment, decisions joined to the outcomes in it."""
    outcomes: dict[str, Outcome] = {}
    joined: set[str] = set()
    for frame in scan(segment):
        if isinstance(frame, Frame) and frame.kind == Kind.OUTCOME:
            parts = _parts(frame)
            if parts.id is not None:
                outcomes[parts.id] = Outcome(frame.position, parts.bytes_in, parts.bytes_out)
    for frame in scan(segment):
        if isinstance(frame, Damage) or not _is_text(frame.payload):
            position = 0 if isinstance(frame, Damage) else frame.position
            yield Row(NO_FRAME, position, raw=bytes(segment[frame.offset : frame.end]))
            continue
        parts = _parts(frame)
        outcome = outcomes.get(parts.id or "") if frame.kind == Kind.DECISION else None
        if outcome is not None and parts.id is not None:
            joined.add(parts.id)
        yield _row(frame, parts, outcome, parts.id in joined)


def row_of(frame: Frame) -> Row:
    """Return the row of a frame that is joined to no other."""
    return _row(frame, _parts(frame), None, joined=False)


def _row(frame: Frame, parts: _Parts, outcome: Outcome | None, joined: bool) -> Row:
    loose = frame.kind in (Kind.DECISION, Kind.OUTCOME) and not joined
    return Row(
        frame.kind,
        frame.position,
        frame.payload.decode(),
        at=parts.at,
        key=parts.key,
        actor_key=parts.actor_key,
        subject=parts.subject,
        actor=parts.actor,
        target=parts.target,
        point=parts.point,
        resource=parts.resource,
        verdict=parts.verdict,
        code=parts.code,
        policies=parts.policies,
        ip=parts.ip,
        event=parts.kind if frame.kind == Kind.EVENT else None,
        outcome=outcome.position if outcome else None,
        bytes_in=outcome.bytes_in if outcome else parts.bytes_in if loose else None,
        bytes_out=outcome.bytes_out if outcome else parts.bytes_out if loose else None,
        id=parts.id if loose else None,
    )


def _parts(frame: Frame) -> _Parts:
    if frame.kind >= Kind.HEADER:
        return _Parts()
    try:
        return _decoder.decode(frame.payload)
    except msgspec.MsgspecError:  # of another release: kept, but not found by its parts
        return _Parts()


def _is_text(payload: bytes) -> bool:
    try:
        return "\0" not in payload.decode()
    except UnicodeDecodeError:
        return False

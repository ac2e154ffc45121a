"""Compacted segments: Parquet files that DuckDB writes and reads, each made from one sealed segment.

A row is a frame, in the order of the file: HEADER, records, SEAL. `payload` is the text as it was written,
so that the bytes of the segment can be made again; the other columns repeat parts of it, to be searched.

DuckDB is loaded by whoever calls this, and by no one who merely imports it. It reaches no file but those
that are handed to it open, by descriptor: no path is ever part of a statement, and a file that is replaced
while it is read stays the same file.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from limen.journal.frame import Damage, Kind, scan
from limen.journal.stored import StoredFrame

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_MAX = "512MB"
THREADS = 2
ROWS_AT_ONCE = 10_000
EDGES_KEPT = 4_096  # segments whose first and last frame are remembered: opening one costs 20 ms
ROW_GROUP = 30_720  # smaller than DuckDB's: a search for one person opens fewer payloads
LINE_BYTES = 1024 * 1024  # of what is handed to DuckDB at least: it holds some of these for each thread
NO_FRAME = 0  # kind of a row whose bytes are no frame, or a frame that is no text


class Row(NamedTuple):
    """One row. What is sealed in the payload is sealed in the other columns too.

    Attributes:
        payload: NULL where retention removed it; then nothing but kind, position and leaf is left.
        leaf: hash of a payload that was removed.
        raw: the bytes of a row that is no frame.
        event: kind of an event.
        outcome, bytes_in, bytes_out: of a decision whose outcome is in this segment: position and bytes.
        id: of decisions and outcomes that are not joined so.
    """

    kind: int
    position: int
    payload: str | None = None
    leaf: bytes | None = None
    raw: bytes | None = None
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
    event: str | None = None
    outcome: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    id: str | None = None


_TYPES = {
    **dict.fromkeys(Row._fields, "VARCHAR"),
    "kind": "UTINYINT",
    **dict.fromkeys(("position", "outcome", "bytes_in", "bytes_out"), "UBIGINT"),
    **dict.fromkeys(("leaf", "raw"), "BLOB"),
    "at": "DOUBLE",
    "policies": "VARCHAR[]",
}
_COLUMNS = ", ".join(f'"{name}"' for name in _TYPES)
_NOTHING = ", ".join(f'NULL::{type_} AS "{name}"' for name, type_ in (*_TYPES.items(), ("file", "INTEGER")))
_JSON_TYPES = {name: "VARCHAR" if type_ == "BLOB" else type_ for name, type_ in _TYPES.items()}
_VALUES = ", ".join(
    f'from_base64("{name}") AS "{name}"' if type_ == "BLOB" else f'"{name}"' for name, type_ in _TYPES.items()
)
_AS_PARQUET = f"FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 9, ROW_GROUP_SIZE {ROW_GROUP}"


_encoder = msgspec.json.Encoder()


def read_parts(path: Path, start: int = 0) -> Iterator[StoredFrame | Damage]:
    """Yield the frames of a compacted segment from position `start` on, HEADER and SEAL included.

    A file that DuckDB cannot read is damage from its start to its end; one that is gone is empty.
    """
    with pinned([path]) as files:
        for file in files:
            try:
                with opened([file]) as database:
                    for row in rows(database, "position >= $start OR raw IS NOT NULL", {"start": start}):
                        if row.raw is None:
                            payload = None if row.payload is None else row.payload.encode()
                            yield StoredFrame(row.kind, row.position, payload, row.leaf or b"")
                        else:
                            yield from _raw(row.raw, start)
            except failures():
                yield Damage(0, os.fstat(file).st_size)


def read_edge(path: Path, kind: Kind) -> bytes | None:
    """Return the payload of HEADER or SEAL; None when the file is gone or cannot be read."""
    try:
        seen = path.stat()
    except FileNotFoundError:
        return None
    return _edges(path, seen.st_ino, seen.st_mtime_ns).get(kind)


@lru_cache(EDGES_KEPT)
def _edges(path: Path, _inode: int, _changed_ns: int) -> dict[int, bytes]:
    with pinned([path]) as files:
        try:
            with opened(list(files)) as database:
                found = rows(database, "kind >= $kind", {"kind": int(Kind.HEADER)})
                return {row.kind: row.payload.encode() for row in found if row.payload is not None}
        except failures():
            return {}


def failures() -> type[Exception]:
    """Return what DuckDB raises when a file is damaged, too large for it, or cannot be written."""
    import duckdb

    return duckdb.Error


@contextmanager
def pinned(paths: Iterable[Path]) -> Iterator[dict[int, Path]]:
    """Open files, but for those that are gone. None is replaced or removed meanwhile (`changing`).

    DuckDB opens a file by its descriptor's path again and again, and refuses one that lost its name.
    """
    wanted = list(paths)
    with ExitStack() as stack:
        for folder in sorted({path.parent for path in wanted}):
            _lock(stack, folder, fcntl.LOCK_SH)
        files: dict[int, Path] = {}
        for path in wanted:
            try:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            stack.callback(os.close, file)
            files[file] = path
        yield files


@contextmanager
def opened_paths(paths: Sequence[Path]) -> Iterator["DuckDBPyConnection"]:
    """Give a database whose view `part` is the rows of compacted segments; `file` numbers them from 0.

    Raises:
        FileNotFoundError: one is gone.
    """
    with pinned(paths) as files:
        if len(files) < len(paths):
            raise FileNotFoundError("a compacted segment was removed")
        with opened(list(files)) as database:
            yield database


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Keep readers of compacted segments away while one is replaced or removed.

    Raises:
        BlockingIOError: somebody reads them now; the next time will do.
    """
    with ExitStack() as stack:
        _lock(stack, folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _lock(stack: ExitStack, folder: Path, how: int) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    stack.callback(os.close, lock)
    fcntl.flock(lock, how)


@contextmanager
def opened(files: Sequence[int], *more: int) -> Iterator["DuckDBPyConnection"]:
    """Give a database whose view `part` is the rows of open files; no other can be reached but `more`."""
    import duckdb

    names = [f"/proc/self/fd/{file}" for file in files]
    settings: dict[str, Any] = {
        "threads": THREADS,
        "memory_limit": MEMORY_MAX,
        "temp_directory": "",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
    }
    with duckdb.connect(":memory:", config=settings) as database:
        database.execute(f"SET allowed_paths = {[*names, *(f'/proc/self/fd/{file}' for file in more)]!r}")
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
        if files:
            _view(database, files)
        else:
            database.execute(f"CREATE VIEW part AS SELECT * FROM (SELECT {_NOTHING}) WHERE false")  # noqa: S608
        yield database


def rows(
    database: "DuckDBPyConnection", where: str = "true", values: dict[str, Any] | None = None
) -> Iterator[Row]:
    """Yield the rows of one open file, in their order (which DuckDB keeps).

    `where` is ours; what strangers typed goes to `values`.
    """
    statement = f"SELECT {_COLUMNS} FROM part WHERE {where}"  # noqa: S608
    cursor = database.execute(statement, values or {})
    while batch := cursor.fetchmany(ROWS_AT_ONCE):
        yield from map(Row._make, batch)


@contextmanager
def written(file: int, new: Iterable[Row]) -> Iterator["DuckDBPyConnection"]:
    """Write rows to an open file, and give a database whose view `part` is what now stands there.

    DuckDB takes the rows as lines of JSON in memory: handing it Python's values is ten times slower.
    """
    source = os.memfd_create("limen-rows", os.MFD_CLOEXEC)
    try:
        with open(source, "wb", closefd=False) as lines:
            longest = max((lines.write(_encoder.encode(row._asdict()) + b"\n") for row in new), default=1)
        os.ftruncate(file, 0)
        with opened([], file, source) as database:
            lines_in, rows_out = f"/proc/self/fd/{source}", f"/proc/self/fd/{file}"
            database.execute(
                f"COPY (SELECT {_VALUES} FROM read_json('{lines_in}', columns = {_JSON_TYPES!r}, "  # noqa: S608
                f"format = 'nd', maximum_object_size = {max(longest, LINE_BYTES)})) "
                f"TO '{rows_out}' ({_AS_PARQUET}, USE_TMP_FILE false)"
            )
            os.fsync(file)
            _view(database, [file])
            yield database
    finally:
        os.close(source)


def _view(database: "DuckDBPyConnection", files: Sequence[int]) -> None:
    names = [f"/proc/self/fd/{file}" for file in files]
    numbers = ", ".join(f"'{name}': {place}" for place, name in enumerate(names))
    database.execute(
        "CREATE OR REPLACE VIEW part AS SELECT * EXCLUDE (filename), "  # noqa: S608 – our own descriptors
        f"MAP {{{numbers}}}[filename] AS file "
        f"FROM read_parquet({names!r}, filename = true, file_row_number = true)"
    )


def _raw(data: bytes, start: int) -> Iterator[StoredFrame | Damage]:
    for part in scan(data):
        if isinstance(part, Damage):
            yield part
        elif part.position >= start:
            yield StoredFrame(part.kind, part.position, part.payload)

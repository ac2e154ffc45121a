"""The one seam to a database product: how to connect, begin, and migrate. All else is portable SQL.

SQLite is the product of this release. Its rules: WAL so that readers never wait, `synchronous=FULL` so
that an answered commit survives a power cut, foreign keys on, and writers that begin IMMEDIATE so that
they never fail half-way for want of the lock. Connections of `reader` cannot write at all, so every
write passes `Store.transaction` (law F1).
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DatabaseError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from limen.core.errors import Invalid, Unavailable

BUSY_TIMEOUT_S = 10.0
"""How long SQLite waits for another process that holds the write lock."""

READERS_MAX = 64
"""Connections for readers: more than a web server's 40 worker threads. Opened as they are needed."""


class SqliteBackend:
    """Two engines on one file: `reader` (query only, snapshots) and `writer` (one at a time)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _create_private(path)
        url = URL.create("sqlite", database=str(path))
        self.writer = _engine(url, begin="BEGIN IMMEDIATE", pragmas=_WRITER_PRAGMAS, size=1)
        self.reader = _engine(url, begin="BEGIN", pragmas=_READER_PRAGMAS, size=READERS_MAX)

    @contextmanager
    def migration(self) -> Iterator[Connection]:
        """Yield a connection inside one write transaction that may alter tables.

        Foreign keys are off here: SQLite alters a table by copying and dropping it, and a drop would
        cascade into its children. They are checked as a whole before the commit.
        """
        engine = _engine(
            URL.create("sqlite", database=str(self.path)),
            begin="BEGIN IMMEDIATE",
            pragmas=("journal_mode=WAL", "synchronous=FULL", "foreign_keys=OFF"),
            size=1,
        )
        try:
            with unavailable_on_fault(), engine.begin() as connection:
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                assert broken is None, f"a migration left a dangling reference: {broken}"
        finally:
            engine.dispose()

    def close(self) -> None:
        """Close every connection; SQLite then folds the write-ahead log into the file."""
        self.reader.dispose()
        self.writer.dispose()


_WRITER_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
_READER_PRAGMAS = ("foreign_keys=ON", "query_only=ON")


def open_backend(url_or_path: str | Path) -> SqliteBackend:
    """Open the database that `url_or_path` names: a path, or a `sqlite:///` URL.

    Raises:
        Invalid: a product that this release does not speak, or a database without a file.
    """
    if isinstance(url_or_path, str) and "://" in url_or_path:
        url = make_url(url_or_path)
        if url.get_backend_name() != "sqlite":
            raise Invalid(
                f"The store URL names {url.get_backend_name()}, which this release does not speak.",
                remedy="Give the path of a SQLite file.",
            )
        url_or_path = url.database or ""
    if str(url_or_path) in ("", ".", ":memory:"):
        raise Invalid("The store needs a file.", remedy="Give the path of a SQLite file.")
    return SqliteBackend(Path(url_or_path))


@contextmanager
def unavailable_on_fault() -> Iterator[None]:
    """Turn a fault of the database itself (locked, full, unreadable) into `Unavailable`."""
    try:
        yield
    except PoolTimeout as fault:
        raise _unavailable("every connection is in use") from fault
    except DatabaseError as fault:
        if getattr(fault.orig, "sqlite_errorcode", 0) & 0xFF not in _FAULTS:
            raise  # a broken constraint or statement: the caller's business, or our own bug
        raise _unavailable(str(fault.orig)) from fault


_FAULTS = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
"""Primary result codes that speak of the file and not of the statement (sqlite.org/rescode.html)."""


def _unavailable(cause: str) -> Unavailable:
    return Unavailable(
        f"The database does not answer: {cause}.",
        remedy="Look at free disk space and at other processes that use the file, then try again.",
        code="STORE_UNAVAILABLE",
    )


def _create_private(path: Path) -> None:
    if not path.parent.is_dir():
        raise Invalid(f"The folder {path.parent} does not exist.", remedy="Create it, or name another.")
    # SQLite gives its -wal and -shm files the mode of the file itself.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _engine(url: URL, *, begin: str, pragmas: tuple[str, ...], size: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=size,
        max_overflow=0,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
        json_serializer=_encode_json,
        json_deserializer=msgspec.json.decode,
    )

    @event.listens_for(engine, "connect")
    def _connected(dbapi: sqlite3.Connection, _record: object) -> None:
        dbapi.isolation_level = None  # the driver must not begin by itself: `_begun` does
        for pragma in pragmas:
            dbapi.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _encode_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

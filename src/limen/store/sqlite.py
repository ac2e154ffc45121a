"""SQLite: one file, one control, no configuration.

WAL so that readers never wait, `synchronous=FULL` so that an answered commit survives a power cut,
foreign keys on, and writers that begin IMMEDIATE so that they never fail half-way for want of the lock.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from limen.core.errors import Invalid
from limen.store.backend import encode_json, outage
from limen.store.life import Home

BUSY_TIMEOUT_S = 10.0
"""How long SQLite waits for another process that holds the write lock."""

READERS_MAX = 64
"""Connections for readers: more than a web server's 40 worker threads. Opened as they are needed."""

_REMEDY = "Look at free disk space and at other processes that use the file, then try again."


class SqliteBackend:
    """Two engines on one file: `reader` (query only, snapshots) and `writer` (one at a time)."""

    product = "SQLite"
    mark_required = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mark: Path | None = path.with_name(path.name + ".mark")
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
            with self.faults(), engine.begin() as connection:
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                assert broken is None, f"a migration left a dangling reference: {broken}"
        finally:
            engine.dispose()

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Turn a fault of the database itself (locked, full, unreadable) into `Unavailable`."""
        try:
            yield
        except PoolTimeout as fault:
            raise outage("every connection is in use", _REMEDY) from fault
        except DatabaseError as fault:
            if getattr(fault.orig, "sqlite_errorcode", 0) & 0xFF not in _FAULTS:
                raise  # a broken constraint or statement: the caller's business, or our own bug
            raise outage(str(fault.orig), _REMEDY) from fault

    def home(self, connection: Connection) -> Home | None:
        """Return None: the mark beside the file knows whether it is the same file."""
        return None

    def announce(self, connection: Connection) -> None:
        """Do nothing: one process serves a file."""

    def listen(self, look: Callable[[], None]) -> None:
        """Do nothing: one process serves a file."""

    def describe(self, connection: Connection) -> dict[str, Any]:
        """Return version, place and size."""
        return {
            "version": connection.exec_driver_sql("SELECT sqlite_version()").scalar(),
            "place": str(self.path),
            "size_bytes": self.path.stat().st_size,
        }

    def close(self) -> None:
        """Close every connection; SQLite then folds the write-ahead log into the file."""
        self.reader.dispose()
        self.writer.dispose()


_WRITER_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
_READER_PRAGMAS = ("foreign_keys=ON", "query_only=ON")

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
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
        json_serializer=encode_json,
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

"""The one seam to a database product: how to connect, begin, migrate, and what its faults mean.

All else is portable SQL. `SqliteBackend` needs nothing and serves one control; `PostgresBackend` lets
several control nodes share one database. Connections of `reader` cannot write at all, so every write
passes `Store.transaction` (law F1), and `writer` has one transaction at a time among all who share the
database, from its first statement on.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from limen.core.errors import Invalid, Unavailable
from limen.store.life import Home

WRITE_WAIT_S = 30.0
"""How long a writer waits for those before it: in this process, and again among processes."""

URL_VARIABLE = "LIMEN_DATABASE_URL"
URL_EXAMPLE = "postgresql://limen:PASSWORD@db.example.org/limen"


class Listener(Protocol):
    """Wakes a store when another node committed."""

    def wake(self) -> None:
        """Look now. From any thread."""
        ...

    def close(self) -> None:
        """Stop, and wait for the thread a bounded time."""
        ...


class Backend(Protocol):
    """One database, open.

    Attributes:
        product: its name, for people.
        reader, writer: the two engines; `writer` begins by waiting for its turn among all writers.
        mark: where this node's mark lies; None when it keeps none.
        mark_required: whether a database without its mark comes from elsewhere.
    """

    product: str
    reader: Engine
    writer: Engine
    mark: Path | None
    mark_required: bool

    def migration(self) -> AbstractContextManager[Connection]:
        """Yield a connection inside one write transaction that may alter tables."""
        ...

    def faults(self) -> AbstractContextManager[None]:
        """Turn a fault of the database itself into `Unavailable`."""
        ...

    def home(self, connection: Connection) -> Home | None:
        """Return where this database lives; None for a product whose mark knows that."""
        ...

    def announce(self, connection: Connection) -> None:
        """Let the commit of this transaction wake the other nodes."""
        ...

    def listen(self, look: Callable[[], None]) -> Listener | None:
        """Call `look` in a thread of its own whenever others committed; None when there are no others."""
        ...

    def describe(self, connection: Connection) -> dict[str, Any]:
        """Return what `limen db status` says of the product: version, place, size. No secret."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


def open_backend(url_or_path: str | Path, mark: Path | None = None) -> Backend:
    """Open the database that `url_or_path` names: a path, a `sqlite:///` or a `postgresql://` URL.

    `mark` is where this node keeps its mark if the database does not lie beside it.

    Raises:
        Invalid: a product that this release does not speak, or a database without a file.
    """
    if isinstance(url_or_path, str) and "://" in url_or_path:
        product = url_or_path.partition("://")[0].partition("+")[0]
        if product in ("postgresql", "postgres"):
            from limen.store.postgres import PostgresBackend

            return PostgresBackend(url_or_path, mark)
        if product != "sqlite":
            raise Invalid(
                f"{URL_VARIABLE}: this release does not speak {product[:32]!r}.",
                remedy=f"Name a PostgreSQL database, such as {URL_EXAMPLE}, or unset it to use SQLite.",
            )
        url_or_path = _sqlite_path(url_or_path)
    if str(url_or_path) in ("", ".", ":memory:"):
        raise Invalid("The store needs a file.", remedy="Give the path of a SQLite file.")
    from limen.store.sqlite import SqliteBackend

    return SqliteBackend(Path(url_or_path))


def _sqlite_path(url: str) -> str:
    try:
        return make_url(url).database or ""
    except ArgumentError:
        raise Invalid(f"{URL_VARIABLE} is not a URL.", remedy="Write sqlite:////path, or unset it.") from None


def outage(cause: str, remedy: str) -> Unavailable:
    """Return the error of a database that does not answer."""
    return Unavailable(f"The database does not answer: {cause}.", remedy=remedy, code="STORE_UNAVAILABLE")


def encode_json(value: Any) -> str:
    """Return the text that a JSON column holds."""
    return msgspec.json.encode(value).decode()

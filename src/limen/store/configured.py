"""Which database a control node uses: what `LIMEN_DATABASE_URL` says, else SQLite in the state folder."""

from collections.abc import Mapping
from pathlib import Path

from limen.core.clock import Clock
from limen.store.backend import URL_VARIABLE
from limen.store.database import Store

MARK_NAME = "postgres.mark"


def store_url(database: Path, environ: Mapping[str, str]) -> str | Path:
    """Return what to open: the variable's URL, else `database`, the state folder's SQLite file."""
    return environ.get(URL_VARIABLE, "").strip() or database


def mark_path(database: Path) -> Path:
    """Return where a node keeps its mark of a database that is not a file: in its state folder."""
    return database.with_name(MARK_NAME)


def open_store(database: Path, clock: Clock, environ: Mapping[str, str]) -> Store:
    """Open this node's store. Raises what `Store.open` raises; errors name the variable, never its value."""
    return Store.open(store_url(database, environ), clock, mark=mark_path(database))

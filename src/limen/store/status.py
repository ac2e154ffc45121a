"""What an operator asks of a database without serving from it: where it stands; bring it up to date."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from limen import __version__
from limen.core.errors import NotFound
from limen.store import feed, schema
from limen.store.backend import Backend, open_backend


def inspect_database(url_or_path: str | Path) -> dict[str, Any]:
    """Return product, version, schema and this release's, head, epoch and size. Nothing is changed.

    Raises:
        NotFound: there is no such file.
        Invalid, Unavailable: as `Store.open`.
    """
    backend = _open(url_or_path)
    try:
        with backend.faults(), backend.reader.begin() as connection:
            return _render(backend, connection)
    finally:
        backend.close()


def migrate_database(url_or_path: str | Path) -> tuple[str | None, str]:
    """Bring the schema up to date; return the revision before and after.

    Raises:
        Refused: `SCHEMA_NEWER` or `SCHEMA_SKIPPED`.
        Invalid, Unavailable: as `Store.open`.
    """
    backend = open_backend(url_or_path)
    try:
        with backend.migration() as connection:
            before = schema.current_revision(connection)
            schema.prepare(connection, migrate=True)
        return before, schema.newest_revision()
    finally:
        backend.close()


def _open(url_or_path: str | Path) -> Backend:
    if isinstance(url_or_path, Path) and not url_or_path.exists():
        raise NotFound(
            f"There is no database {url_or_path}.",
            remedy="Start the system once with `limen up`, or make the database with `limen db migrate`.",
        )
    return open_backend(url_or_path)


def _render(backend: Backend, connection: Connection) -> dict[str, Any]:
    revision = schema.current_revision(connection)
    stands: dict[str, Any] = {
        "product": backend.product,
        **backend.describe(connection),
        "schema": revision,
        "schema_of_this_release": schema.newest_revision(),
        "up_to_date": revision == schema.newest_revision(),
        "release": __version__,
    }
    if revision is not None:
        home = backend.home(connection)
        stands["head"] = feed.load_head(connection)
        stands["epoch"] = feed.read_state(connection, "epoch")
        stands["release_that_wrote_it"] = feed.read_state(connection, "release")
        if home is not None:
            stands["failover"] = "lossless, as declared" if home.lossless else "begins a new epoch"
    return stands

"""Which schema a database has, and the way from there to this release's.

Revisions are consecutive decimal numbers, `0001` onwards, and there is no way down but a backup. Each
release names the oldest revision that it can migrate from (`OLDEST`); releases before that are upgraded
through the one that `RELEASES` names. A migration is one transaction: it happened or it did not. What
would take long (a back-fill over a big table) is not done there but in batches, by `limen.store.backfill`.

Alembic is loaded only where there is something to migrate: an empty database gets this release's tables
at once (a test shows that both ways lead to the same schema), and most starts find nothing to do.
"""

import secrets
from importlib.resources import files
from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select

from limen import __version__
from limen.core.errors import Invalid, Refused
from limen.store import feed
from limen.store.identity_tables import every_table

if TYPE_CHECKING:
    from alembic.config import Config

VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""Alembic's own table."""

OLDEST = "0001"
"""The oldest revision that this release migrates from."""

RELEASES: dict[str, str] = {"0001": "0.1.0"} | {f"{number:04d}": "0.2.0" for number in range(2, 12)}
"""First release of each revision: the one to upgrade through when a revision is too old for us."""


def prepare(connection: Connection, *, migrate: bool) -> None:
    """Bring the schema up to date inside the transaction of `connection`.

    Raises:
        Refused: `SCHEMA_NEWER`, `SCHEMA_SKIPPED`, or `SCHEMA_OLD` when `migrate` is false.
        Invalid: the file holds somebody else's tables.
    """
    head = newest_revision()
    found = current_revision(connection)
    if found != head:
        check_path(found, head, migrate=migrate)
        if found is None:
            _create(connection, head)
        else:
            migrate_to_head(connection)
    if feed.read_state(connection, "epoch") is None:
        for name, value in (("epoch", secrets.token_hex(16)), ("seq", "0"), ("floor", "0")):
            feed.write_state(connection, name, value)
    if feed.read_state(connection, "release") != __version__:
        feed.write_state(connection, "release", __version__)


def current_revision(connection: Connection) -> str | None:
    """Return the revision of the database, None for an empty one.

    Raises:
        Invalid: it has tables and no revision.
    """
    tables = set(inspect(connection).get_table_names())
    revision = connection.scalar(select(VERSION.c.version_num)) if VERSION.name in tables else None
    if revision is None and tables - {VERSION.name}:
        raise Invalid(
            "The database has tables that are not Limen's.",
            remedy="Name another file.",
            code="SCHEMA_FOREIGN",
        )
    return revision


def newest_revision() -> str:
    """Return this release's revision: the greatest number among the migrations of this package."""
    names = (entry.name for entry in (files("limen.store") / "migrations" / "versions").iterdir())
    return max(name[1:5] for name in names if name.startswith("r") and name.endswith(".py"))


def migrate_to_head(connection: Connection) -> None:
    """Run Alembic's migrations from where the database is."""
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _create(connection: Connection, head: str) -> None:
    """Make every table of this release in an empty database."""
    every_table.create_all(connection)
    VERSION.create(connection, checkfirst=True)
    connection.execute(insert(VERSION).values(version_num=head))


def check_path(found: str | None, head: str, *, migrate: bool, oldest: str = OLDEST) -> None:
    """Say whether a database at `found` can be brought to `head`.

    Raises:
        Refused: newer than this release, older than it can migrate, or migration is not wanted.
        Invalid: not one of our revisions.
    """
    if found is not None and not found.isdecimal():
        raise Invalid(
            f"The database has the schema {found!r}, which is not one of Limen's.",
            remedy="Name another file.",
            code="SCHEMA_FOREIGN",
        )
    if found is not None and int(found) > int(head):
        raise Refused(
            f"The database has schema {found}, newer than schema {head} of Limen {__version__}.",
            remedy="Run the release that wrote it, or restore the backup made before the upgrade.",
            code="SCHEMA_NEWER",
        )
    if found is not None and int(found) < int(oldest):
        raise Refused(
            f"The database has schema {found}; Limen {__version__} migrates from {oldest} or later.",
            remedy=f"Upgrade to Limen {RELEASES[oldest]} first, start it once, then upgrade to this release.",
            code="SCHEMA_SKIPPED",
        )
    if not migrate:
        raise Refused(
            f"The database has schema {found or 'none'}, and this release needs {head}.",
            remedy="Start `limen control`, which migrates it.",
            code="SCHEMA_OLD",
        )


def alembic_config() -> "Config":
    """Return Alembic's configuration: the scripts lie in this package, also in an installed wheel."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "limen.store:migrations")
    return config

"""Which schema a database has, and the way from there to this release's.

Revisions are consecutive decimal numbers, `0001` onwards, and there is no way down but a backup. Each
release names the oldest revision that it can migrate from (`OLDEST`); releases before that are upgraded
through the one that `RELEASES` names. A migration is one transaction: it happened or it did not. What
would take long (a back-fill over a big table) is not done there but in batches, by `limen.store.backfill`.
"""

import secrets

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from limen import __version__
from limen.core.errors import Invalid, Refused
from limen.store import feed

OLDEST = "0001"
"""The oldest revision that this release migrates from."""

RELEASES: dict[str, str] = {"0001": "0.1.0"}
"""First release of each revision: the one to upgrade through when a revision is too old for us."""


def prepare(connection: Connection, *, migrate: bool) -> None:
    """Bring the schema up to date inside the transaction of `connection`.

    Raises:
        Refused: `SCHEMA_NEWER`, `SCHEMA_SKIPPED`, or `SCHEMA_OLD` when `migrate` is false.
        Invalid: the file holds somebody else's tables.
    """
    config = alembic_config()
    head = ScriptDirectory.from_config(config).get_current_head()
    assert head is not None
    found = current_revision(connection)
    if found != head:
        check_path(found, head, migrate=migrate)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
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
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None and inspect(connection).get_table_names():
        raise Invalid(
            "The database has tables that are not Limen's.",
            remedy="Name another file.",
            code="SCHEMA_FOREIGN",
        )
    return revision


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


def alembic_config() -> Config:
    """Return Alembic's configuration: the scripts lie in this package, also in an installed wheel."""
    config = Config()
    config.set_main_option("script_location", "limen.store:migrations")
    return config

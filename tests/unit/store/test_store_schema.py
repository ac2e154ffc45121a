"""The schema: migrated equals declared, and only what can be migrated is opened."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Column, String, insert, select, update
from store_backends import PRODUCTS, empty_database

from limen.core.clock import FakeClock
from limen.core.errors import Invalid, Refused, Unavailable
from limen.store import schema
from limen.store.backend import open_backend
from limen.store.database import Store
from limen.store.tables import group, membership, metadata, person

PERSON = {
    "id": "ada",
    "handle": bytes(32),
    "name": "Ada",
    "email": "",
    "status": "active",
    "kind": "employee",
    "quarantined": False,
    "attributes": {},
    "created_at": 0.0,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "limen.db"


@pytest.fixture(params=PRODUCTS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with empty_database(request.param) as made:
        yield made


def at_revision(url: str, revision: str) -> None:
    Store.open(url, FakeClock()).close()
    backend = open_backend(url)
    with backend.migration() as connection:
        connection.execute(update(schema.VERSION).values(version_num=revision))
    backend.close()


def test_the_migrated_schema_equals_the_tables(url: str) -> None:
    backend = open_backend(url)
    with backend.migration() as connection:
        schema.migrate_to_head(connection)
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert schema.current_revision(connection) == schema.newest_revision()
    backend.close()


def test_a_new_database_has_the_tables_of_this_release_and_says_so(url: str) -> None:
    with Store.open(url, FakeClock()) as store, store.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == schema.newest_revision()


def test_revisions_are_numbered_without_a_gap_and_each_names_its_release() -> None:
    found = list(ScriptDirectory.from_config(schema.alembic_config()).walk_revisions())
    numbers = sorted(script.revision for script in found)
    assert numbers == [f"{n:04d}" for n in range(1, len(numbers) + 1)]
    assert set(schema.RELEASES) == set(numbers)
    assert schema.OLDEST in numbers


def test_the_database_and_its_mark_are_readable_by_their_owner_only(path: Path) -> None:
    with Store.open(path, FakeClock()) as store:
        with store.transaction("a", "b") as tx:
            tx.change("group", "x", None)
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file


def test_the_database_is_durable_and_referential(path: Path) -> None:
    with Store.open(path, FakeClock()) as store, store.transaction("a", "b") as tx:
        pragma = {
            name: tx.connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_newer_schema_is_refused(url: str) -> None:
    at_revision(url, "9999")
    with pytest.raises(Refused) as refusal:
        Store.open(url, FakeClock())
    assert refusal.value.code == "SCHEMA_NEWER"
    assert "9999" in refusal.value.message


def test_a_schema_of_a_skipped_release_is_refused_with_the_way_to_go() -> None:
    with pytest.raises(Refused) as refusal:
        schema.check_path("0000", "0002", migrate=True, oldest="0001")
    assert refusal.value.code == "SCHEMA_SKIPPED"
    assert "0.1.0" in refusal.value.remedy


def test_an_older_schema_within_reach_is_accepted_only_with_migrate() -> None:
    schema.check_path("0001", "0002", migrate=True, oldest="0001")
    with pytest.raises(Refused) as refusal:
        schema.check_path("0001", "0002", migrate=False, oldest="0001")
    assert refusal.value.code == "SCHEMA_OLD"


@pytest.mark.parametrize("revision", ["a1b2c3", ""])
def test_a_schema_of_somebody_else_is_refused(url: str, revision: str) -> None:
    at_revision(url, revision)
    with pytest.raises(Invalid) as refusal:
        Store.open(url, FakeClock())
    assert refusal.value.code == "SCHEMA_FOREIGN"


def test_tables_of_somebody_else_are_left_alone(url: str) -> None:
    backend = open_backend(url)
    with backend.migration() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (x INTEGER)")
    backend.close()
    with pytest.raises(Invalid) as refusal:
        Store.open(url, FakeClock())
    assert refusal.value.code == "SCHEMA_FOREIGN"


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database at all, but long enough to look at" * 100)
    with pytest.raises(Unavailable):
        Store.open(path, FakeClock())


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "postgresql+psycopg2://x/y", "sqlite://", "sqlite:///:memory:", ""]
)
def test_a_url_that_this_release_cannot_serve_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        Store.open(url, FakeClock())


def test_a_full_disk_is_an_outage_and_leaves_nothing(path: Path) -> None:
    with Store.open(path, FakeClock()) as store:
        with store.transaction("a", "b") as tx:
            pages = tx.connection.exec_driver_sql("PRAGMA page_count").scalar()
            tx.connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(Unavailable, match="full"), store.transaction("a", "b") as tx:
            for number in range(1_000):
                tx.connection.execute(
                    insert(group), [{"id": str(number), "name": "x" * 200, "created_at": 0.0}]
                )
                tx.change("group", str(number), None)
        assert store.head() == 0
        with store.read() as connection:
            assert connection.scalar(select(group.c.id)) is None


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="nowhere"):
        Store.open(tmp_path / "nowhere" / "limen.db", FakeClock())


def test_a_migration_that_fails_leaves_nothing_behind(url: str) -> None:
    backend = open_backend(url)
    with pytest.raises(ZeroDivisionError), backend.migration() as connection:
        schema.prepare(connection, migrate=True)
        _ = 1 / 0
    with backend.migration() as connection:
        assert schema.current_revision(connection) is None
    backend.close()


def test_a_migration_that_copies_a_table_keeps_the_rows_that_refer_to_it(path: Path) -> None:
    with Store.open(path, FakeClock()) as store, store.transaction("a", "b") as tx:
        tx.connection.execute(insert(person), [PERSON])
        tx.connection.execute(insert(group), [{"id": "hr", "name": "hr", "created_at": 0.0}])
        tx.connection.execute(insert(membership), [{"person": "ada", "group": "hr"}])
    backend = open_backend(path)
    with backend.migration() as connection:
        with (
            Operations.context(MigrationContext.configure(connection)),
            op.batch_alter_table("person", recreate="always") as batch,
        ):
            batch.add_column(Column("nickname", String(20)))
        assert connection.scalar(select(membership.c.person)) == "ada"
    backend.close()


def test_a_migration_that_leaves_a_dangling_reference_is_undone(path: Path) -> None:
    Store.open(path, FakeClock()).close()
    backend = open_backend(path)
    with pytest.raises(AssertionError, match="dangling"), backend.migration() as connection:
        connection.execute(insert(membership), [{"person": "ghost", "group": "hr"}])
    with backend.reader.begin() as connection:
        assert connection.scalar(select(membership.c.person)) is None
    backend.close()

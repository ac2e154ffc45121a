"""`limen db`: it reads LIMEN_DATABASE_URL as control does, and needs no control."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_rig import Limen
from store_backends import empty_database

from limen.core.clock import FakeClock
from limen.services.state import StateDir
from limen.store import schema
from limen.store.database import Store


@pytest.fixture(autouse=True)
def no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIMEN_DATABASE_URL", raising=False)


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir.create(tmp_path / "s")


@pytest.fixture
def postgres_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with empty_database("postgresql") as url:
        monkeypatch.setenv("LIMEN_DATABASE_URL", url)
        yield url


def test_a_state_folder_without_a_database_is_said_and_none_is_made(limen: Limen, state: StateDir) -> None:
    done = limen("db", "status", "--state", str(state.root))
    assert done.code == 1
    assert "no database" in done.err
    assert not state.database.exists()


def test_status_of_sqlite(limen: Limen, state: StateDir) -> None:
    with Store.open(state.database, FakeClock()) as store:
        with store.transaction("a", "b") as tx:
            tx.change("group", "x", None)
        done = limen("db", "status", "--state", str(state.root), "--json")  # while it is in use
        told = json.loads(done.out)
        assert (told["product"], told["head"], told["epoch"]) == ("SQLite", 1, store.epoch)
    assert told["schema"] == told["schema_of_this_release"] == schema.newest_revision()
    assert told["size_bytes"] > 0


def test_migrate_makes_and_then_leaves_a_database(limen: Limen, state: StateDir) -> None:
    head = schema.newest_revision()
    done = limen("db", "migrate", "--state", str(state.root))
    assert done.out.strip() == f"Migrated the database from schema none to {head}."
    assert limen("db", "migrate", "--state", str(state.root)).out.strip() == (
        f"The database has schema {head} already."
    )


def test_migrate_waits_for_control_to_be_stopped(limen: Limen, state: StateDir) -> None:
    with state.lock("control"):
        done = limen("db", "migrate", "--state", str(state.root))
    assert done.code == 1
    assert "already runs" in done.err


def test_both_commands_on_postgresql_need_no_state_folder(limen: Limen, postgres_url: str) -> None:
    before = json.loads(limen("db", "status", "--json").out)
    assert (before["product"], before["schema"], before["up_to_date"]) == ("PostgreSQL", None, False)
    assert limen("db", "migrate").out.startswith("Migrated the database from schema none to ")
    after = json.loads(limen("db", "status", "--json").out)
    assert after["up_to_date"] is True
    assert (after["head"], after["failover"]) == (0, "begins a new epoch")
    with Store.open(postgres_url, FakeClock()) as store:
        assert store.epoch == after["epoch"]


def test_a_url_that_is_wrong_is_named_and_not_repeated(
    limen: Limen, state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMEN_DATABASE_URL", "mysql://ada:hunter2@db/limen")
    done = limen("db", "status", "--state", str(state.root))
    assert done.code == 1
    assert "LIMEN_DATABASE_URL" in done.err
    assert "hunter2" not in done.err + done.out

"""The database's URL: what is understood, what is refused, and that its password is never told."""

from pathlib import Path

import pytest

from limen.core.clock import FakeClock
from limen.core.errors import Invalid, Unavailable
from limen.store.configured import open_store, store_url
from limen.store.database import Store
from limen.store.postgres import PostgresBackend, parse_url

PASSWORD = "hunter2-%zz"


def test_without_the_variable_it_is_sqlite_in_the_state_folder(tmp_path: Path) -> None:
    assert store_url(tmp_path / "limen.db", {}) == tmp_path / "limen.db"
    assert store_url(tmp_path / "limen.db", {"LIMEN_DATABASE_URL": " "}) == tmp_path / "limen.db"
    with open_store(tmp_path / "limen.db", FakeClock(), {}) as store:
        assert store.head() == 0
    assert (tmp_path / "limen.db.mark").exists()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_spellings_of_postgresql_are_understood(scheme: str) -> None:
    found = parse_url(f"{scheme}://ada:s%20cret@db:5433/limen?sslmode=verify-full")
    assert (found["host"], found["port"], found["user"], found["password"]) == ("db", "5433", "ada", "s cret")
    assert (found["dbname"], found["sslmode"]) == ("limen", "verify-full")
    assert found["target_session_attrs"] == "read-write"
    assert found["connect_timeout"] == 5


@pytest.mark.parametrize(
    "hosts", ["//a,b/limen", "///limen?host=a,b", "//a/limen?host=a,b&target_session_attrs=read-write"]
)
def test_several_hosts_are_tried_until_one_can_be_written(hosts: str) -> None:
    found = parse_url(f"postgresql:{hosts}")
    assert (found["host"], found["target_session_attrs"]) == ("a,b", "read-write")


def test_what_the_url_says_goes_before_our_bounds() -> None:
    assert parse_url("postgresql://db/limen?connect_timeout=2")["connect_timeout"] == "2"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ada:{PASSWORD}@db/limen",  # not an escape
        "postgresql://ada:hunter2@db/limen?hunter2=1",
        "postgresql://ada:hunter2@db/limen?target_session_attrs=any",
        "postgresql://ada:hunter2@db/limen?target_session_attrs=prefer-standby",
        "postgresql://ada:hunter2@db",
        "postgresql+asyncpg://ada:hunter2@db/limen",
        "mysql://ada:hunter2@db/limen",
    ],
)
def test_a_url_that_is_refused_names_the_variable_and_never_the_password(url: str) -> None:
    with pytest.raises(Invalid, match="LIMEN_DATABASE_URL") as refusal:
        Store.open(url, FakeClock())
    told = f"{refusal.value.message} {refusal.value.remedy} {refusal.value!r} {refusal.value.__cause__!r}"
    assert "hunter2" not in told


def test_a_server_that_is_not_there_is_an_outage_that_keeps_the_password(tmp_path: Path) -> None:
    url = f"postgresql://ada:hunter2@/limen?host={tmp_path}&connect_timeout=2"
    with pytest.raises(Unavailable) as refusal:
        Store.open(url, FakeClock())
    assert refusal.value.code == "STORE_UNAVAILABLE"
    assert "LIMEN_DATABASE_URL" in refusal.value.remedy
    assert "hunter2" not in refusal.value.message
    assert "\n" not in refusal.value.message


def test_an_engine_does_not_show_where_it_leads() -> None:
    backend = PostgresBackend("postgresql://ada:hunter2@db/limen")
    assert "hunter2" not in f"{backend.reader!r} {backend.writer.url!r} {backend!r}"
    backend.close()

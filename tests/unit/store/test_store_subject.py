"""What is held of a person: all of it is exported to them, and none of it outlives their erasure.

Laws:
    S1 every table that names a person, or hangs on what does, is in the export.
    S2 nor is there a row of theirs after they are forgotten, but the username.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import JSON, Boolean, Column, Float, Integer, LargeBinary, Table, func, insert, select

from limen.administrator.subject_export import export_directory
from limen.core.clock import FakeClock
from limen.store import directory, identity_tables
from limen.store.database import Store
from limen.store.erasure import forget_person

WHO = "ada"
NOT_TOLD = {"exchange_code", "device_code", "scim_value", "scim_member"}
"""Good for minutes, or a copy of what `scim_resource` says."""
NAMING = ("person", "target")
PARENTS = ("person.id", "session.id", "oauth_authorization.id", "scim_resource.id", "group.id")
TABLES = {table.name: table for table in identity_tables.every_table.sorted_tables}
THEIRS = {
    name: table
    for name, table in TABLES.items()
    if any(
        column.name in NAMING or any(key.target_fullname in PARENTS for key in column.foreign_keys)
        for column in table.columns
    )
    and name not in {"nesting", "workload_membership"}  # of groups alone, of machines
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store.open(tmp_path_factory.mktemp("subject") / "limen.db", FakeClock(1_000_000.0))
    with store.transaction("test", "a person with all there is") as tx:
        directory.create_person(tx, WHO, name="Ada", email="ada@x.org")
        directory.create_group(tx, "mark-membership")
        directory.note_signed_in(tx.connection, WHO, tx.now)
        for table in THEIRS.values():
            row = {column.name: value(table, column) for column in table.columns}
            tx.connection.execute(insert(table).values(row))
    yield store
    store.close()


@pytest.fixture(scope="module")
def shown(store: Store) -> str:
    return msgspec.json.encode(export_directory(store, WHO)).decode()


def value(table: Table, column: Column[Any]) -> Any:
    """Return something that tells which table it is of."""
    for key in column.foreign_keys:
        if not key.target_fullname.startswith("person."):
            return f"mark-{key.column.table.name}" if table.name != "membership" else "mark-membership"
    if column.name in NAMING or column.foreign_keys:
        return WHO
    special = {"document": '{"userName": "ada"}', "kind": "User" if table.name == "scim_resource" else None}
    if special.get(column.name):
        return special[column.name]
    for kind, made in ((JSON, {}), (Boolean, False), (Float, 9e9), (Integer, 1), (LargeBinary, b"x")):
        if isinstance(column.type, kind):
            return made
    return f"mark-{table.name}"


@pytest.mark.parametrize("name", sorted(set(THEIRS) - NOT_TOLD))
def test_s1_what_a_table_holds_of_a_person_is_in_the_export(shown: str, name: str) -> None:
    telling = {"totp": '"totp":[{', "password": '"password":[{', "recovery_code": '"recovery_codes":[{'}
    telling |= {"recovered": '"recovered":[{', "person_care": '"end_of_time":[{'}
    assert telling.get(name, f"mark-{name}") in shown


def test_s1_secrets_are_not(shown: str) -> None:
    assert not [one for one in ('"hash"', "_hash", 'sealed"', "public_key", "seed_") if one in shown]


def test_s2_nothing_of_a_forgotten_person_is_left_but_the_username(store: Store, shown: str) -> None:
    assert shown, "exported before"
    with store.transaction("test", "erased") as tx:
        forget_person(tx, WHO)
    with store.read() as connection:
        left = {
            name: connection.scalar(select(func.count()).select_from(table)) for name, table in THEIRS.items()
        }
        found = directory.get_person(connection, WHO)
    assert {name for name, count in left.items() if count} <= {"break_glass", "device_code"}
    assert (found.name, found.email, found.signed_in_at, found.sponsor) == ("", "", None, None)

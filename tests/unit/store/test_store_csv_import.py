"""CSV import: all or nothing, errors by line, nothing lost, twice is once."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limen.core.clock import FakeClock
from limen.core.entities import Kind, Status
from limen.store.database import Store
from limen.store.directory import (
    ImportReport,
    add_member,
    create_group,
    create_person,
    get_person,
    import_csv,
    update_person,
)
from limen.store.directory.csv_rows import parse_people

GOOD = '''username,name,email,kind,expires,groups,attributes.department,attributes.clearance
ada,Ada Lovelace,ada@x.org,employee,2027-01-31,staff;eng,research,3
bob,"Bob, ""the builder""",,contractor,2027-01-31T18:00+01:00,staff,,
'''
TYPES = {"department": "String", "clearance": "Long", "onSite": "Bool"}


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with Store.open(database, FakeClock()) as opened:
        yield opened


def run(store: Store, text: str, *, dry_run: bool = False) -> ImportReport:
    with store.transaction("user:root", "import") as tx:
        return import_csv(tx, text, dry_run=dry_run, attribute_types=TYPES)


def errors(text: str) -> list[str]:
    return [str(error) for error in parse_people(text, TYPES)[1]]


def test_people_and_groups_are_created(store: Store) -> None:
    report = run(store, GOOD)
    assert report == ImportReport(applied=True, created=("ada", "bob"), groups_created=("eng", "staff"))
    with store.read() as connection:
        ada, bob = get_person(connection, "ada"), get_person(connection, "bob")
    assert ada.groups == ("eng", "staff")
    assert ada.attributes == {"department": "research", "clearance": 3}
    assert ada.expires_at == 1_801_440_000.0  # 2027-02-01T00:00Z: the end of the day that is named
    assert (bob.name, bob.kind, bob.expires_at) == ('Bob, "the builder"', Kind.CONTRACTOR, 1_801_414_800.0)


def test_a_dry_run_reports_the_same_and_writes_nothing(store: Store) -> None:
    tried = run(store, GOOD, dry_run=True)
    assert store.head() == 0
    done = run(store, GOOD)
    assert (tried.created, tried.groups_created, tried.applied) == (done.created, done.groups_created, False)


def test_the_same_file_twice_changes_nothing(store: Store) -> None:
    run(store, GOOD)
    head = store.head()
    report = run(store, GOOD)
    assert (report.created, report.updated, report.unchanged) == ((), (), 2)
    assert store.head() == head


def test_a_file_as_excel_saves_it_is_read(store: Store) -> None:
    report = run(store, "\ufeff" + GOOD.replace("\n", "\r\n"))
    assert report.created == ("ada", "bob")


def test_known_people_are_updated_and_lose_nothing(store: Store) -> None:
    with store.transaction("a", "b") as tx:
        create_person(tx, "ada", name="Ada", email="ada@x.org", attributes={"location": "Lisbon"})
        create_group(tx, "board")
        add_member(tx, "board", "ada")
    report = run(store, "username,name,email,groups,attributes.department\nada,Ada L.,,staff,research\n")
    assert (report.updated, report.created) == (("ada",), ())
    with store.read() as connection:
        ada = get_person(connection, "ada")
    assert (ada.name, ada.email, ada.groups) == ("Ada L.", "ada@x.org", ("board", "staff"))
    assert ada.attributes == {"location": "Lisbon", "department": "research"}


def test_any_error_stops_the_whole_file(store: Store) -> None:
    report = run(store, GOOD + "Eve,,,,,,,\n")
    assert not report.applied
    assert [(e.line, e.column) for e in report.errors] == [(4, "username")]
    assert store.head() == 0


def test_every_error_is_told_at_once_with_its_line() -> None:
    text = (
        "username,email,kind,expires,attributes.clearance,attributes.onSite\n"
        "ada,not-an-address,robot,tomorrow,high,maybe\n"
        '"bob\n",,,,,\n'
        "eve,,,2027-01-31T10:00,,\n"
        "short,row\n"
    )
    found = parse_people(text, TYPES)[1]
    assert [(e.line, e.column) for e in found] == [
        (2, "email"),
        (2, "kind"),
        (2, "expires"),
        (2, "attributes.clearance"),
        (2, "attributes.onsite"),
        (5, "expires"),
        (6, ""),
    ]


def test_a_username_that_stands_there_twice_names_both_lines() -> None:
    assert errors("username\nada\nbob\nada\n") == ["line 4, username: ada stands on line 2 already."]


def test_an_unknown_column_gets_the_nearest_known_one() -> None:
    [error] = errors("username,e-mail\n")
    assert error == "line 1, e-mail: There is no column 'e-mail'; did you mean 'email'?"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("name\nAda\n", "missing"),
        ("username;name\nada;Ada\n", "semicolons"),
        ("username,name,name\n", "twice"),
        ('username\n"ada\n', "not CSV"),
        ("username\nada\x00\n", "line 2"),
    ],
)
def test_a_file_of_another_shape_is_explained(text: str, says: str) -> None:
    assert any(says in error for error in errors(text))


def test_someone_who_has_ended_does_not_come_back_by_import(store: Store) -> None:
    with store.transaction("a", "b") as tx:
        create_person(tx, "ada")
        update_person(tx, "ada", status=Status.ENDED)
    report = run(store, "username,status\nada,active\n")
    assert [(e.line, e.column) for e in report.errors] == [(2, "status")]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='ab,";\n\r \x00é@', max_size=60))
def test_no_text_makes_the_parser_fail(text: str) -> None:
    rows, found = parse_people(f"username,name,groups\n{text}", TYPES)
    lines = text.count("\n") + text.count("\r") + 2
    assert all(1 <= error.line <= lines for error in found)
    assert len({row.username for row in rows}) == len(rows)


def test_twenty_thousand_people_are_one_transaction(store: Store) -> None:
    rows = "".join(f"u{n},User {n},u{n}@x.org,staff;g{n % 50}\n" for n in range(20_000))
    report = run(store, "username,name,email,groups\n" + rows)
    assert len(report.created) == 20_000
    assert store.head() == 20_051
    assert len({c.tx for c in store.changes_since(0, 30_000)}) == 1

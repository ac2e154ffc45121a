"""The directory: people, groups, memberships, nesting."""

from collections.abc import Iterator
from typing import Any

import pytest

from limen.core.changes import GroupFact, PersonFact
from limen.core.clock import FakeClock
from limen.core.entities import Kind, Status
from limen.core.errors import Conflict, Invalid, NotFound, Refused
from limen.store import directory
from limen.store.database import Store, Transaction
from limen.store.directory import PeopleFilter


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with Store.open(database, FakeClock()) as opened:
        yield opened


@pytest.fixture
def tx(store: Store) -> Iterator[Transaction]:
    with store.transaction("user:root", "test") as opened:
        yield opened


def changes(tx: Transaction) -> dict[tuple[str, str], Any]:
    return dict(tx._changes)


@pytest.mark.parametrize("name", ["ada", "a", "0", "ada.l-x_y", "ada@corp.example", "a" * 64, "svc-1@x"])
def test_a_username_of_the_form_is_accepted(tx: Transaction, name: str) -> None:
    assert directory.create_person(tx, name).id == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Ada",
        ".ada",
        "ada lovelace",
        "a@b@c",
        "ada@",
        "@b",
        "a" * 65,
        "ada\n",
        "ädä",
        "a/b",
        "ada@.b",
        'a"b',
    ],
)
def test_a_username_of_another_form_is_refused(tx: Transaction, name: str) -> None:
    with pytest.raises(Invalid, match="username"):
        directory.create_person(tx, name)


def test_a_username_is_never_issued_twice(tx: Transaction) -> None:
    directory.create_person(tx, "ada")
    directory.update_person(tx, "ada", status=Status.ENDED)
    with pytest.raises(Conflict):
        directory.create_person(tx, "ada")


def test_a_new_person_is_active_and_in_no_group(tx: Transaction) -> None:
    made = directory.create_person(
        tx, "ada", name="Ada", email="ada@x.org", kind=Kind.PARTNER, attributes={"level": 3}, expires_at=5.0
    )
    assert directory.get_person(tx.connection, "ada") == made
    assert changes(tx)["person", "ada"] == PersonFact(
        "ada", "Ada", "ada@x.org", Status.ACTIVE, Kind.PARTNER, False, (), {"level": 3}, 5.0
    )


def test_an_update_changes_only_what_is_given(tx: Transaction) -> None:
    before = directory.create_person(tx, "ada", name="Ada", expires_at=9.0)
    after = directory.update_person(tx, "ada", quarantined=True, expires_at=None)
    assert (after.quarantined, after.expires_at, after.name) == (True, None, before.name)


def test_an_update_without_a_difference_is_no_change(store: Store) -> None:
    with store.transaction("a", "b") as tx:
        directory.create_person(tx, "ada", name="Ada")
    with store.transaction("a", "b") as tx:
        directory.update_person(tx, "ada", name="Ada", status=Status.ACTIVE)
    assert store.head() == 1


def test_whoever_has_ended_stays_ended(tx: Transaction) -> None:
    directory.create_person(tx, "ada")
    directory.update_person(tx, "ada", status=Status.SUSPENDED)
    directory.update_person(tx, "ada", status=Status.ACTIVE)
    directory.update_person(tx, "ada", status=Status.ENDED)
    with pytest.raises(Refused):
        directory.update_person(tx, "ada", status=Status.ACTIVE)


@pytest.mark.parametrize("email", ["ada", "a@b@c", "a b@c", "a@b\r\nX-Injected: 1", "a\x00@b"])
def test_an_email_that_an_app_could_misread_is_refused(tx: Transaction, email: str) -> None:
    with pytest.raises(Invalid, match="email"):
        directory.create_person(tx, "ada", email=email)


def test_a_name_with_control_characters_is_refused(tx: Transaction) -> None:
    with pytest.raises(Invalid, match="name"):
        directory.create_person(tx, "ada", name="Ada\nX-Limen-User: root")


@pytest.mark.parametrize("attributes", [{"a": 1.5}, {"a": None}, {"a": 2**63}, {"a b": 1}, {"a": "x" * 2000}])
def test_an_attribute_that_cedar_cannot_hold_is_refused(tx: Transaction, attributes: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="attribute"):
        directory.create_person(tx, "ada", attributes=attributes)


def test_people_are_listed_by_page_and_by_filter(tx: Transaction) -> None:
    directory.create_group(tx, "hr")
    for name in ("ada", "bob", "eve"):
        directory.create_person(tx, name, name=f"{name.title()} 100%_", kind=Kind.CONTRACTOR)
    directory.update_person(tx, "eve", status=Status.SUSPENDED)
    directory.add_member(tx, "hr", "bob")
    c = tx.connection

    def ids(where: PeopleFilter, **page: Any) -> list[str]:
        return [one.id for one in directory.list_people(c, where, **page)]

    assert ids(PeopleFilter(), limit=2) == ["ada", "bob"]
    assert ids(PeopleFilter(), after="bob") == ["eve"]
    assert ids(PeopleFilter(status=Status.SUSPENDED)) == ["eve"]
    assert ids(PeopleFilter(group="hr")) == ["bob"]
    assert ids(PeopleFilter(text="BOB")) == ["bob"]
    assert ids(PeopleFilter(text="%_")) == ["ada", "bob", "eve"]
    assert ids(PeopleFilter(text="_b")) == []
    assert ids(PeopleFilter(kind=Kind.EMPLOYEE)) == []
    assert ids(PeopleFilter(quarantined=False, group="hr")) == ["bob"]
    assert directory.count_people(c) == 3


def test_membership_changes_the_person_and_not_the_group(tx: Transaction) -> None:
    directory.create_person(tx, "ada")
    directory.create_group(tx, "staff")
    tx._changes.clear()
    directory.add_member(tx, "staff", "ada")
    assert set(changes(tx)) == {("person", "ada")}
    assert changes(tx)["person", "ada"].groups == ("staff",)
    tx._changes.clear()
    directory.add_member(tx, "staff", "ada")
    assert changes(tx) == {}
    directory.remove_member(tx, "staff", "ada")
    assert changes(tx)["person", "ada"].groups == ()
    with pytest.raises(NotFound):
        directory.remove_member(tx, "staff", "ada")


def test_unknown_people_and_groups_are_named(tx: Transaction) -> None:
    directory.create_group(tx, "staff")
    with pytest.raises(NotFound, match="ghost"):
        directory.add_member(tx, "staff", "ghost")
    with pytest.raises(NotFound, match="nowhere"):
        directory.add_member(tx, "nowhere", "ghost")
    with pytest.raises(NotFound, match="nowhere"):
        directory.nest(tx, "staff", "nowhere")


def test_a_group_that_is_deleted_leaves_its_members_and_children(tx: Transaction) -> None:
    directory.create_person(tx, "ada")
    for name in ("staff", "engineers"):
        directory.create_group(tx, name)
    directory.add_member(tx, "staff", "ada")
    directory.nest(tx, "engineers", "staff")
    tx._changes.clear()
    directory.delete_group(tx, "staff")
    told = changes(tx)
    assert told["group", "staff"] is None
    assert told["group", "engineers"] == GroupFact("engineers")
    assert told["person", "ada"].groups == ()
    assert [one.id for one in directory.list_groups(tx.connection)] == ["engineers"]


def test_a_circle_of_groups_is_refused_and_named(tx: Transaction) -> None:
    for name in ("a", "b", "c"):
        directory.create_group(tx, name)
    directory.nest(tx, "a", "b")
    directory.nest(tx, "b", "c")
    with pytest.raises(Refused, match="c → a → b → c"):
        directory.nest(tx, "c", "a")
    with pytest.raises(Refused, match="a → a"):
        directory.nest(tx, "a", "a")


def test_nesting_twice_is_once(tx: Transaction) -> None:
    for name in ("a", "b"):
        directory.create_group(tx, name)
    directory.nest(tx, "a", "b")
    tx._changes.clear()
    directory.nest(tx, "a", "b")
    assert changes(tx) == {}
    directory.unnest(tx, "a", "b")
    assert changes(tx)["group", "a"] == GroupFact("a")
    with pytest.raises(NotFound):
        directory.unnest(tx, "a", "b")


def test_a_listing_counts_direct_members(tx: Transaction) -> None:
    directory.create_group(tx, "hr", title="People team")
    for name in ("ada", "bob"):
        directory.create_person(tx, name)
        directory.add_member(tx, "hr", name)
    found = directory.get_group(tx.connection, "hr")
    assert (found.name, found.members, found.parents) == ("People team", 2, ())
    assert directory.list_members(tx.connection, "hr", after="ada") == ("bob",)


@pytest.mark.parametrize("name", ["", " hr", "hr\n", "x" * 129, "a\u200eb"])
def test_a_group_name_that_does_not_print_is_refused(tx: Transaction, name: str) -> None:
    with pytest.raises(Invalid, match="group"):
        directory.create_group(tx, name)


def test_a_provider_rules_only_over_its_own_memberships(tx: Transaction) -> None:
    directory.create_person(tx, "ada")
    directory.create_group(tx, "local")
    directory.add_member(tx, "local", "ada")
    directory.sync_memberships(tx, "ada", "oidc:corp", {"Domain Users", "local", "eng/core"})
    directory.sync_memberships(tx, "ada", "oidc:other", {"guests"})
    directory.sync_memberships(tx, "ada", "oidc:corp", {"Domain Users"})
    assert directory.get_person(tx.connection, "ada").groups == ("Domain Users", "guests", "local")
    directory.sync_memberships(tx, "ada", "oidc:corp", ())
    assert directory.get_person(tx.connection, "ada").groups == ("guests", "local")


def test_a_group_claim_may_be_of_any_size(tx: Transaction) -> None:
    directory.create_person(tx, "ada")
    claim = {f"g{n:05d}" for n in range(3_000)}
    directory.sync_memberships(tx, "ada", "oidc:corp", claim)
    assert len(directory.get_person(tx.connection, "ada").groups) == 3_000
    directory.sync_memberships(tx, "ada", "oidc:corp", {"g00001"})
    assert directory.get_person(tx.connection, "ada").groups == ("g00001",)

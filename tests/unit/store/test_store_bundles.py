"""Bundles in the store: a history that only grows, one of them active."""

from collections.abc import Iterator

import pytest

from limen.core.changes import BundleFact
from limen.core.clock import FakeClock
from limen.core.errors import Invalid, NotFound
from limen.core.ids import BundleId
from limen.store import bundles
from limen.store.database import Store, Transaction

ONE, TWO = BundleId("aaaaaa11" * 8), BundleId("aaaaaa22" * 8)


@pytest.fixture
def tx(database: str) -> Iterator[Transaction]:
    with (
        Store.open(database, FakeClock()) as store,
        store.transaction("user:ada", "new") as opened,
    ):
        yield opened


def test_no_bundle_is_active_at_first(tx: Transaction) -> None:
    assert bundles.active(tx.connection) is None
    assert bundles.history(tx.connection) == ()


def test_the_last_one_applied_is_active_and_told(tx: Transaction) -> None:
    bundles.apply(tx, ONE, {"limen.yaml": "domain: a"})
    assert bundles.apply(tx, TWO, {"limen.yaml": "domain: b"}) == 2
    active = bundles.active(tx.connection)
    assert active is not None
    assert (active.info.serial, active.info.id, active.info.actor) == (2, TWO, "user:ada")
    assert active.files == {"limen.yaml": "domain: b"}
    assert tx._changes["bundle", "active"] == BundleFact("active", TWO, {"limen.yaml": "domain: b"})


def test_a_rollback_is_another_line_of_the_history(tx: Transaction) -> None:
    for name in (ONE, TWO, ONE):
        bundles.apply(tx, name, {"limen.yaml": name})
    assert [info.serial for info in bundles.history(tx.connection)] == [3, 2, 1]
    assert [info.id for info in bundles.history(tx.connection, before=3, limit=1)] == [TWO]
    assert bundles.get(tx.connection, ONE[:8]).info.serial == 3


def test_a_bundle_is_found_by_serial_or_prefix(tx: Transaction) -> None:
    bundles.apply(tx, ONE, {"limen.yaml": "1"})
    bundles.apply(tx, TWO, {"limen.yaml": "2"})
    assert bundles.get(tx.connection, "1").files == {"limen.yaml": "1"}
    assert bundles.get(tx.connection, TWO[:7].upper()).files == {"limen.yaml": "2"}


@pytest.mark.parametrize("name", ["aaaaaa", "abc", ""])
def test_a_name_that_says_too_little_is_refused(tx: Transaction, name: str) -> None:
    bundles.apply(tx, ONE, {})
    bundles.apply(tx, TWO, {})
    with pytest.raises(Invalid):
        bundles.get(tx.connection, name)


@pytest.mark.parametrize("name", ["9", "ffffffff", "%%%%%%", "99999999999999999999999"])
def test_a_bundle_that_is_not_there_is_not_found(tx: Transaction, name: str) -> None:
    bundles.apply(tx, ONE, {})
    with pytest.raises(NotFound):
        bundles.get(tx.connection, name)

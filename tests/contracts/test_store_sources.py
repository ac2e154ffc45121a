"""People of a directory, and the facts of a report, on every database."""

import pytest
from store_backends import PRODUCTS, new_database

from limen.assurance.identity_read import Context, find_neighbours, read_facts
from limen.core.clock import FakeClock
from limen.core.entities import Status
from limen.store import directory, identities, sources
from limen.store.database import Store
from limen.store.source_writes import PersonWrite, keep_fresh, write_people
from limen.store.sources import RUNS_KEPT, Says, SourceAccount, SourceRun

SOURCE = "ldap:corp"


def account(person: str, says: Says = Says.ACTIVE) -> SourceAccount:
    """Return what the directory says."""
    return SourceAccount(SOURCE, person, says, f"{person}@corp.example", 1.0)


@pytest.mark.parametrize("product", PRODUCTS)
def test_people_of_a_directory_are_written_and_told(product: str) -> None:
    with new_database(product) as url:
        clock = FakeClock()
        store = Store.open(url, clock)
        names = [f"p{number}" for number in range(3)]
        with store.transaction("limen", "read") as tx:
            new = [
                PersonWrite(
                    one, f"s-{one}", fields={"name": one, "email": f"{one}@corp.example"},
                    groups=("staff", "limen-admins"), account=account(one),
                )
                for one in names
            ]  # fmt: skip
            assert keep_fresh(tx, new) == tuple(new)
            write_people(tx, SOURCE, new)
            assert {one.groups for one in tx.recorded("person").values()} == {("staff",)}  # type: ignore[union-attr]
        with store.read() as connection:
            known = sources.load_known(connection, SOURCE)
        assert {subject: one.id for subject, one in known.linked.items()} == {
            f"s-{one}": one for one in names
        }
        assert known.groups["p0"] == {"staff"}
        with store.transaction("test", "meanwhile") as tx:
            directory.update_person(tx, "p1", name="Changed")
        with store.transaction("limen", "read again") as tx:
            gone = [
                PersonWrite(
                    one, f"s-{one}", seen=known.linked[f"s-{one}"], fields={"status": Status.SUSPENDED},
                    groups=(), account=account(one, Says.GONE),
                )
                for one in ("p0", "p1")
            ]  # fmt: skip
            fresh = keep_fresh(tx, gone)
            assert [one.person for one in fresh] == ["p0"]  # p1 changed meanwhile
            write_people(tx, SOURCE, fresh)
        with store.read() as connection:
            found = directory.get_person(connection, "p0")
            assert (found.status, found.groups) == (Status.SUSPENDED, ())
            assert sources.list_accounts(connection, person="p0")[0].says is Says.GONE
            assert identities.find_owner(connection, SOURCE, "s-p0") == "p0"
            facts = read_facts(connection, clock.now(), Context())
            assert [one.id for one in sorted(facts.people, key=lambda one: one.id)] == names
            assert find_neighbours(connection, "p0") == {"p0"}
        store.close()


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_last_runs_are_kept(product: str) -> None:
    with new_database(product) as url:
        store = Store.open(url, FakeClock())
        for number in range(RUNS_KEPT + 2):
            with store.transaction("limen", "read") as tx:
                at = float(number)
                run = SourceRun(
                    f"r{number:03}", SOURCE, at, at, "applied", "", {"read": 1}, ({"why": "x"},), "a"
                )
                sources.note_run(tx, run)
        with store.read() as connection:
            runs = sources.list_runs(connection, SOURCE)
        assert (len(runs), runs[0].id, runs[0].problems) == (
            RUNS_KEPT,
            f"r{RUNS_KEPT + 1:03}",
            ({"why": "x"},),
        )
        store.close()

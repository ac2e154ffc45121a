"""Shadow, proposals, holds, workloads, node keys and erasure, on every product of a database."""

from collections.abc import Iterator

import pytest
from sqlalchemy import select
from store_backends import PRODUCTS, new_database

from limen.administrator.ledger import Ledger
from limen.core.clock import FakeClock
from limen.core.entities import Status
from limen.core.errors import Conflict, NotFound, Refused
from limen.core.ids import BundleId
from limen.core.tokens import TokenHash
from limen.store import complaints, holds, journal_nodes, proposals, shadow, workloads
from limen.store.complaints import Complaint
from limen.store.database import Store
from limen.store.directory import add_member, create_group, create_person, get_person, update_person
from limen.store.erasure import forget_person
from limen.store.tables import change

FILES = {"limen.yaml": "domain: corp.example # ünï ☃\n", "a": ""}
BUNDLE, BASE = BundleId("b" * 64), BundleId("a" * 64)


@pytest.fixture(params=PRODUCTS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with new_database(request.param) as url, Store.open(url, FakeClock()) as opened:
        yield opened


def test_one_candidate_is_in_shadow(store: Store) -> None:
    with store.transaction("ada", "to see") as tx:
        row = shadow.start_shadow(tx, BUNDLE, FILES)
    assert (row.actor, row.reason, row.files) == ("ada", "to see", dict(sorted(FILES.items())))
    with pytest.raises(Conflict), store.transaction("bob", "mine") as tx:
        shadow.start_shadow(tx, BASE, FILES)
    with store.read() as connection:
        assert shadow.load_shadow(connection) == row
    with store.transaction("ada", "over") as tx:
        assert shadow.stop_shadow(tx) == row
    with pytest.raises(NotFound), store.transaction("ada", "over") as tx:
        shadow.stop_shadow(tx)


def test_proposals_wait_until_they_are_closed_or_dropped(store: Store) -> None:
    with store.transaction("ada", "first") as tx:
        proposals.add_proposal(tx, BUNDLE, FILES, BASE)
    with store.transaction("bob", "the same again") as tx:
        again = proposals.add_proposal(tx, BUNDLE, FILES, BASE)
        proposals.add_proposal(tx, BASE, FILES, BASE)
    with store.read() as connection:
        assert proposals.get_proposal(connection, BUNDLE) == again
        assert len(proposals.list_proposals(connection)) == 2
    with store.transaction("carol", "fine") as tx:
        proposals.close_proposal(tx, BUNDLE)
        proposals.drop_proposal(tx, BASE)
        assert proposals.list_proposals(tx.connection) == ()
    with pytest.raises(NotFound), store.read() as connection:
        proposals.get_proposal(connection, BUNDLE)


def test_holds_hold_until_they_end(store: Store) -> None:
    with store.transaction("ada", "case 1") as tx:
        mine = holds.add_hold(tx, 'User::"eve"', "case 1")
        everything = holds.add_hold(tx, None, "case 2")
    with store.read() as connection:
        assert set(holds.holds_on(connection, 'User::"eve"')) == {mine, everything}
        assert holds.holds_on(connection, 'User::"bob"') == (everything,)
    with store.transaction("ada", "over") as tx:
        holds.end_hold(tx, everything.id)
    with pytest.raises(Conflict), store.transaction("ada", "over") as tx:
        holds.end_hold(tx, everything.id)
    with store.read() as connection:
        assert holds.list_holds(connection) == (mine,)
        assert len(holds.list_holds(connection, ended=True)) == 2


def test_workloads_and_their_tokens_live_and_end(store: Store) -> None:
    token = TokenHash("c" * 64)
    with store.transaction("ada", "ci") as tx:
        create_person(tx, "ada")
        create_group(tx, "pipelines")
        workloads.create_workload(tx, "ci", owner="ada", description="deploys")
        made = workloads.add_to_group(tx, "ci", "pipelines")
        kept = workloads.add_token(tx, "ci", token, label="main", life_s=3600)
        workloads.note_use(tx.connection, kept.id, tx.now)
    assert made.groups == ("pipelines",)
    with store.read() as connection:
        found = workloads.find_token(connection, token)
        assert found is not None and (found.workload, found.used_at) == ("ci", kept.created_at)
    with store.transaction("ada", "gone") as tx:
        ended = workloads.change_workload(tx, "ci", status=Status.ENDED)
        assert workloads.find_token(tx.connection, token) is None
    assert ended.status is Status.ENDED
    with pytest.raises(Refused), store.transaction("ada", "back") as tx:
        workloads.change_workload(tx, "ci", status=Status.ACTIVE)
    with store.read() as connection:
        assert workloads.list_workloads(connection) == ()


def test_a_nodes_key_is_kept_until_it_is_forgotten(store: Store) -> None:
    for key in ("limen.x/edge-a+1+AAAA", "limen.x/edge-a+2+BBBB"):
        with store.transaction("limen", "first") as tx:
            journal_nodes.keep_node_key(tx, "12345678/edge-a", key)
            assert journal_nodes.load_node_key(tx.connection, "12345678/edge-a") == key
            journal_nodes.forget_node_key(tx, "12345678/edge-a")
            assert journal_nodes.load_node_key(tx.connection, "12345678/edge-a") is None


def test_of_the_erased_the_username_is_left_and_the_feed_has_none_of_the_rest(store: Store) -> None:
    ledger = Ledger(store, lambda _: None)
    with ledger.entry("ada", "hired") as entry:
        create_group(entry.tx, "staff")
        create_person(entry.tx, "eve", name="Eve Adams", email="eve@corp.example")
        add_member(entry.tx, "staff", "eve")
        row = Complaint("c1", "d1", "eve", "wiki", "ada", "Why?", entry.tx.now)
        complaints.add_complaint(entry.tx.connection, row)
    with ledger.entry("ada", "left") as entry:
        update_person(entry.tx, "eve", status=Status.ENDED)
        forget_person(entry.tx, "eve")
    store.prune(keep=1)
    with store.read() as connection:
        person = get_person(connection, "eve")
        assert (person.name, person.email, person.groups) == ("", "", ())
        assert complaints.load_complaint(connection, "c1") is None
        kept = "".join(repr(one) for one in connection.execute(select(change)))
    assert "Eve Adams" not in kept and "eve@corp.example" not in kept
    assert "Eve Adams" not in repr(store.snapshot())

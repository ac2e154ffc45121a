"""Laws of the change feed (F1 atomic, F2 ordered) under generated histories of the directory."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select
from store_backends import PRODUCTS, new_database

from limen.core.changes import BundleFact, Change, Projection, SecretFact, Snapshot
from limen.core.clock import FakeClock
from limen.core.entities import Status
from limen.core.errors import LimenError
from limen.core.ids import BundleId
from limen.core.secret import Secret
from limen.store import bundles, directory, secrets
from limen.store.database import Store, Transaction
from limen.store.directory import groups, people
from limen.store.sealing import Sealer
from limen.store.tables import app_secret, group, person

SEALER = Sealer(Secret(bytes(32)))
USERS = st.sampled_from(["ada", "bob", "eve"])
GROUPS = st.sampled_from(["staff", "hr", "ops"])
NAMES = st.sampled_from(["", "Ada", "Ångström"])

Step = Callable[[Transaction], object]
Replica = dict[tuple[str, str], tuple[int, Projection]]


def steps() -> st.SearchStrategy[Step]:
    """Return any one thing that can be done to the directory, the bundle or a secret."""
    return st.one_of(
        st.builds(lambda u, n: lambda tx: directory.create_person(tx, u, name=n), USERS, NAMES),
        st.builds(
            lambda u, n, s: lambda tx: directory.update_person(tx, u, name=n, status=s),
            USERS,
            NAMES,
            st.sampled_from(Status),
        ),
        st.builds(
            lambda u, q: lambda tx: directory.update_person(tx, u, quarantined=q), USERS, st.booleans()
        ),
        st.builds(lambda g: lambda tx: directory.create_group(tx, g), GROUPS),
        st.builds(lambda g: lambda tx: directory.delete_group(tx, g), GROUPS),
        st.builds(lambda g, u: lambda tx: directory.add_member(tx, g, u), GROUPS, USERS),
        st.builds(lambda g, u: lambda tx: directory.remove_member(tx, g, u), GROUPS, USERS),
        st.builds(lambda a, b: lambda tx: directory.nest(tx, a, b), GROUPS, GROUPS),
        st.builds(lambda a, b: lambda tx: directory.unnest(tx, a, b), GROUPS, GROUPS),
        st.builds(
            lambda u, g: lambda tx: directory.sync_memberships(tx, u, "oidc:x", g), USERS, st.sets(GROUPS)
        ),
        st.builds(
            lambda u, g: lambda tx: directory.import_csv(tx, f"username,groups\n{u},{g}\n"), USERS, GROUPS
        ),
        st.builds(
            lambda i: lambda tx: bundles.apply(tx, BundleId(i * 8), {"limen.yaml": i}), st.sampled_from("ab")
        ),
        st.builds(
            lambda g: lambda tx: secrets.set_secret(tx, "basic", Secret("x"), SEALER, gateway=g),
            st.booleans(),
        ),
        st.just(lambda tx: secrets.delete_secret(tx, "basic")),
        st.just(lambda tx: secrets.publish_secrets(tx, frozenset({"basic"}))),
    )


HISTORIES = st.lists(st.lists(steps(), min_size=1, max_size=4), max_size=12)
"""Transactions of steps. One refused step rolls its whole transaction back."""


@contextmanager
def new_store(product: str) -> Iterator[Store]:
    with new_database(product) as url, Store.open(url, FakeClock()) as store:
        yield store


def play(store: Store, history: Iterable[list[Step]]) -> Iterator[Snapshot]:
    """Run each transaction, refused ones included; yield the snapshot after each."""
    for transaction in history:
        try:
            with store.transaction("law", "history") as tx:
                for step in transaction:
                    step(tx)
        except LimenError:
            pass
        yield store.snapshot()


def derived(connection: Connection) -> dict[tuple[str, str], Projection]:
    """Return every projection as the rows of the tables say it should be."""
    found: dict[tuple[str, str], Projection] = {}
    usernames = list(connection.scalars(select(person.c.id)))
    for one in people.load_people(connection, usernames).values():
        found["person", one.id] = one.fact
    parents = groups._parents(connection)
    for name in connection.scalars(select(group.c.id)):
        found["group", name] = groups.GroupFact(name, parents.get(name, ()))
    active = bundles.active(connection)
    if active is not None:
        found["bundle", "active"] = BundleFact("active", active.info.id, active.files)
    return found


def sealed(connection: Connection) -> dict[str, str]:
    return {
        row.name: row.value_sealed
        for row in connection.execute(select(app_secret.c.name, app_secret.c.value_sealed))
    }


def as_replica(snapshot: Snapshot, replica: Replica | None = None) -> Replica:
    replica = {} if replica is None else replica
    for version, value in snapshot.values:
        replica[str(value.__struct_config__.tag), value.id] = (version, value)
    return replica


def follow(replica: Replica, changes: Iterable[Change]) -> Replica:
    for one in changes:
        replica.pop((one.kind, one.id), None)
        if one.value is not None:
            replica[one.kind, one.id] = (one.seq, one.value)
    return replica


EXAMPLES = {"sqlite": 40, "postgresql": 8}
"""A database of its own for each example costs more there than the example."""


@pytest.mark.parametrize("product", PRODUCTS)
def test_f1_atomic(product: str) -> None:
    """No row changes without its change record, no record without its row."""

    @settings(max_examples=EXAMPLES[product], deadline=None)
    @given(HISTORIES)
    def holds(history: list[list[Step]]) -> None:
        with new_store(product) as store:
            for snapshot in play(store, history):
                told = {key: value for key, (_, value) in as_replica(snapshot).items()}
                with store.read() as connection:
                    stored = sealed(connection)
                    assert {k: v for k, v in told.items() if k[0] != "secret"} == derived(connection)
                for (kind, name), value in told.items():
                    if kind == "secret":
                        assert isinstance(value, SecretFact)
                        assert stored[name] == value.sealed

    holds()


@pytest.mark.parametrize("product", PRODUCTS)
def test_f2_ordered(product: str) -> None:
    """A replica that has applied seq N equals the snapshot at N."""

    @settings(max_examples=EXAMPLES[product], deadline=None)
    @given(HISTORIES, st.integers(1, 7))
    def holds(history: list[list[Step]], limit: int) -> None:
        with new_store(product) as store:
            snapshots = {0: store.snapshot()} | {s.seq: s for s in play(store, history)}
            changes = store.changes_since(0)
            assert [c.seq for c in changes] == list(range(1, store.head() + 1))
            for start in snapshots.values():
                replica, at = as_replica(start), start.seq
                while page := store.changes_since(at, limit):
                    follow(replica, page)
                    at = page[-1].seq
                    assert at == page[-1].tx
                    if at in snapshots:
                        assert replica == as_replica(snapshots[at])
                assert at == store.head()

    holds()


@pytest.mark.parametrize("product", PRODUCTS)
def test_f2_the_version_of_an_entity_is_the_seq_of_its_last_change(product: str) -> None:
    @settings(max_examples=EXAMPLES[product], deadline=None)
    @given(HISTORIES)
    def holds(history: list[list[Step]]) -> None:
        with new_store(product) as store:
            for _ in play(store, history):
                pass
            last = {(c.kind, c.id): c for c in store.changes_since(0)}
            live = {key: (c.seq, c.value) for key, c in last.items() if c.value is not None}
            assert live == as_replica(store.snapshot())

    holds()

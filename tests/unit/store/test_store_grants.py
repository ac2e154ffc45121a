"""Grants at rest: each ends by itself, and gateways are told of every step."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from limen.core.clock import FakeClock
from limen.core.errors import Invalid, NotFound
from limen.core.ids import EntityRef
from limen.store.database import Store
from limen.store.grants import (
    GRANT_MAX_S,
    HISTORY_S,
    GrantFilter,
    StoredGrant,
    add_grant,
    find_grant,
    list_grants,
    revoke_grant,
    sweep_grants,
)

ADA, DBA = EntityRef("User", "ada"), EntityRef("Group", "dba")
DB, PAYROLL = EntityRef("Service", "ledger-db"), EntityRef("App", "payroll")
EXPORTS = EntityRef("Route", "payroll/exports")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "limen.db", clock) as opened:
        yield opened


def give(
    store: Store,
    clock: FakeClock,
    who: EntityRef = ADA,
    what: EntityRef = DB,
    *actions: str,
    for_s: float = 60,
) -> StoredGrant:
    with store.transaction("user:root", "incident 7") as tx:
        return add_grant(
            tx, principal=who, actions=actions or ("connect",), resource=what, expires_at=clock.now() + for_s
        )


def listed(store: Store, where: GrantFilter) -> list[str]:
    with store.read() as connection:
        return [one.id for one in list_grants(connection, where)]


def test_a_grant_is_stored_with_who_gave_it_and_why_and_told_to_gateways(
    store: Store, clock: FakeClock
) -> None:
    given = give(store, clock, DBA, PAYROLL, "write", "read")
    assert (given.actor, given.reason, given.created_at) == ("user:root", "incident 7", clock.now())
    assert given.actions == ("read", "write"), "in one order, so that equal grants look alike"
    with store.read() as connection:
        assert find_grant(connection, given.id) == given
    [(_, fact)] = store.snapshot().values
    assert fact == given.render_fact()
    assert (fact.principal, fact.resource) == (("Group", "dba"), ("App", "payroll"))


@pytest.mark.parametrize(
    ("what", "actions", "for_s", "says"),
    [
        (DB, ("read",), 60, "no action 'read'"),
        (DB, ("connect", "write"), 60, "no action 'write'"),
        (PAYROLL, ("connect",), 60, "no action 'connect'"),
        (EXPORTS, ("access",), 60, "no action 'access'"),
        (PAYROLL, ("read",), 0, "is past"),
        (PAYROLL, ("read",), -1, "is past"),
        (PAYROLL, ("read",), GRANT_MAX_S + 1, "too far"),
        (PAYROLL, ("read",), float("nan"), "too far"),
        (PAYROLL, ("read",), float("inf"), "too far"),
    ],
)
def test_a_grant_that_cannot_be_is_refused_and_leaves_nothing(
    store: Store, clock: FakeClock, what: EntityRef, actions: tuple[str, ...], for_s: float, says: str
) -> None:
    with pytest.raises(Invalid, match=says) as refused:
        give(store, clock, ADA, what, *actions, for_s=for_s)
    assert refused.value.remedy
    assert (listed(store, GrantFilter()), store.head()) == ([], 0)


def test_a_grant_may_last_ninety_days_to_the_second(store: Store, clock: FakeClock) -> None:
    assert give(store, clock, for_s=GRANT_MAX_S).expires_at == clock.now() + GRANT_MAX_S


def test_a_revoked_grant_is_a_tombstone_at_once_and_history_afterwards(
    store: Store, clock: FakeClock
) -> None:
    given = give(store, clock)
    clock.advance(5)
    with store.transaction("user:eve", "mistake") as tx:
        assert revoke_grant(tx, given.id) == given
    assert store.snapshot().values == ()
    assert listed(store, GrantFilter(live_at=clock.now())) == []
    assert listed(store, GrantFilter()) == [given.id]
    with store.read() as connection:
        ended = find_grant(connection, given.id)
    assert ended is not None
    assert ended.expires_at == clock.now()
    for name in (given.id, "grt_none"):
        with pytest.raises(NotFound), store.transaction("user:eve", "again") as tx:
            revoke_grant(tx, name)


def test_an_expired_grant_cannot_be_revoked(store: Store, clock: FakeClock) -> None:
    given = give(store, clock, for_s=10)
    clock.advance(10)
    with pytest.raises(NotFound), store.transaction("user:eve", "late") as tx:
        revoke_grant(tx, given.id)


def test_grants_are_listed_by_whom_they_reach_and_by_what_they_open(store: Store, clock: FakeClock) -> None:
    db = give(store, clock, ADA, DB, for_s=30)
    app = give(store, clock, DBA, PAYROLL, "read", for_s=20)
    route = give(store, clock, ADA, EXPORTS, "admin", for_s=10)
    near = give(store, clock, ADA, EntityRef("App", "payroll2"), "read", for_s=5)
    assert listed(store, GrantFilter()) == [near.id, route.id, app.id, db.id]
    assert listed(store, GrantFilter(principals={ADA})) == [near.id, route.id, db.id]
    assert listed(store, GrantFilter(principals={ADA, DBA}, resources={DB, PAYROLL})) == [app.id, db.id]
    assert listed(store, GrantFilter(resources={PAYROLL}, parts_of="payroll")) == [route.id, app.id]
    assert listed(store, GrantFilter(principals=())) == []
    many = {EntityRef("Group", f"g{n}") for n in range(3000)} | {DBA}
    assert listed(store, GrantFilter(principals=many)) == [app.id]


def test_the_sweep_ends_each_expired_grant_once_and_forgets_it_later(store: Store, clock: FakeClock) -> None:
    short, long = give(store, clock, for_s=10), give(store, clock, for_s=1000)
    clock.advance(10)
    with store.transaction("limen", "sweep") as tx:
        assert sweep_grants(tx, tx.now) == (short,)
    assert [fact.id for _, fact in store.snapshot().values] == [long.id]
    head = store.head()
    with store.transaction("limen", "sweep") as tx:
        assert sweep_grants(tx, tx.now) == ()
    assert store.head() == head, "nothing to tell"
    clock.advance(HISTORY_S)
    with store.transaction("limen", "sweep") as tx:
        assert sweep_grants(tx, tx.now) == (long,)
    assert listed(store, GrantFilter()) == [long.id]
    assert store.snapshot().values == ()


def test_a_grant_that_nobody_swept_for_long_is_still_told_to_have_ended(
    store: Store, clock: FakeClock
) -> None:
    given = give(store, clock, for_s=10)
    clock.advance(10 + HISTORY_S)
    with store.transaction("limen", "sweep") as tx:
        assert sweep_grants(tx, tx.now) == (given,)
    assert (listed(store, GrantFilter()), store.snapshot().values) == ([], ())

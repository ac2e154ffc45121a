"""Laws F2, F3 and F4 of the replica."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limen.administrator.active import ActiveBundle
from limen.administrator.feed_reader import FeedReader
from limen.administrator.feed_wire import (
    Pong,
    Ready,
    Resume,
    Rows,
    Start,
    Tx,
    parse_from_control,
    render_line,
)
from limen.administrator.projections import KINDS
from limen.administrator.replica import Replica
from limen.core.catalogue import Catalogue
from limen.core.changes import (
    AppSessionFact,
    BundleFact,
    Change,
    GrantFact,
    GroupFact,
    PersonFact,
    Projection,
    SecretFact,
    SessionFact,
    Snapshot,
    WorkloadFact,
)
from limen.core.errors import Invalid
from limen.core.ids import EntityRef

IDS = ("a", "b", "c")
REFS = [EntityRef(kind, name) for kind in ("User", "Workload", "Group") for name in IDS]


def load(fact: BundleFact) -> ActiveBundle:
    return ActiveBundle(fact.bundle_id, Catalogue(domain="limen.test"), object(), {})  # type: ignore[arg-type]


names = st.sampled_from(IDS)
some_names = st.lists(names, max_size=2, unique=True).map(tuple)
instants = st.sampled_from((1.0, 2.0, 3.0))
values: st.SearchStrategy[Projection] = st.one_of(
    st.builds(PersonFact, id=names, name=names, email=names, quarantined=st.booleans(), groups=some_names),
    st.builds(WorkloadFact, id=names, owner=names, groups=some_names),
    st.builds(GroupFact, id=names, parents=some_names),
    st.builds(
        SessionFact,
        id=names,
        person=names,
        aal=st.integers(1, 3),
        phishing_resistant=st.booleans(),
        methods=some_names,
        started_at=instants,
        auth_at=instants,
        expires_at=instants,
    ),
    st.builds(AppSessionFact, id=names, parent=names, app=names, expires_at=instants),
    st.builds(
        GrantFact,
        id=names,
        principal=st.tuples(st.sampled_from(("User", "Group")), names),
        actions=st.just(("read",)),
        resource=st.tuples(st.just("App"), names),
        expires_at=instants,
    ),
    st.builds(BundleFact, id=st.just("active"), bundle_id=names, files=st.just({})),
    st.builds(SecretFact, id=names, sealed=names),
)
steps = st.one_of(values, st.tuples(st.sampled_from(sorted(KINDS.values())), names))
transactions = st.lists(st.lists(steps, min_size=1, max_size=4), max_size=8)


def feed_of(parts: Sequence[Sequence[object]]) -> list[tuple[Change, ...]]:
    """Number the steps: a projection is written, a (kind, id) pair is a tombstone."""
    feed, seq = [], 0
    for steps_of_tx in parts:
        last = seq + len(steps_of_tx)
        changes = []
        for step in steps_of_tx:
            seq += 1
            if isinstance(step, tuple):
                changes.append(Change(seq, last, step[0], step[1], None, "t", "t", 1.0))
            else:
                assert isinstance(step, Projection)
                changes.append(Change(seq, last, KINDS[type(step)], step.id, step, "t", "t", 1.0))
        feed.append(tuple(changes))
    return feed


def snapshot_at(feed: Sequence[tuple[Change, ...]], epoch: str = "e") -> Snapshot:
    """The model: what is live after the transactions of `feed`."""
    live: dict[tuple[str, str], tuple[int, Projection]] = {}
    seq = 0
    for change in (change for changes in feed for change in changes):
        seq = change.seq
        live.pop((change.kind, change.id), None)
        if change.value is not None:
            live[change.kind, change.id] = (change.seq, change.value)
    return Snapshot(epoch, seq, tuple(live.values()))


def rows(snapshot: Snapshot) -> set[tuple[int, str]]:
    return {(version, repr(value)) for version, value in snapshot.values}


def from_snapshot(snapshot: Snapshot) -> Replica:
    replica = Replica(load)
    replica.apply_snapshot(snapshot)
    return replica


@given(transactions, st.data())
def test_f2_a_replica_at_n_equals_the_snapshot_at_n_in_any_batching(
    parts: list[list[object]], data: st.DataObject
) -> None:
    feed = feed_of(parts)
    start = data.draw(st.integers(0, len(feed)))
    tailed = from_snapshot(snapshot_at(feed[:start]))
    at = start
    while at < len(feed):
        for ref in REFS:
            tailed.closure(ref)  # cached closures must not survive what touches them
        until = data.draw(st.integers(at + 1, len(feed)))
        again = data.draw(st.integers(0, at))  # some of it was applied before
        tailed.apply([change for changes in feed[again:until] for change in changes])
        at = until

    direct = from_snapshot(snapshot_at(feed))
    assert tailed.seq == direct.seq
    assert rows(tailed.snapshot()) == rows(direct.snapshot()) == rows(snapshot_at(feed))
    assert [tailed.closure(ref) for ref in REFS] == [direct.closure(ref) for ref in REFS]
    assert tailed._rows.grants == direct._rows.grants
    assert (tailed.active is None) == (direct.active is None)


@given(transactions, st.data())
def test_f2_a_cut_transaction_is_never_applied_in_part(
    parts: list[list[object]], data: st.DataObject
) -> None:
    feed = feed_of(parts)
    replica = from_snapshot(Snapshot("e", 0, ()))
    flat = [change for changes in feed for change in changes]
    cut = data.draw(st.integers(0, len(flat)))
    whole = cut == 0 or flat[cut - 1].seq == flat[cut - 1].tx
    if whole:
        replica.apply(flat[:cut])
    else:
        with pytest.raises(Invalid):
            replica.apply(flat[:cut])
        assert replica.seq == 0 and rows(replica.snapshot()) == set()


@given(transactions)
def test_f2_the_wire_changes_nothing(parts: list[list[object]]) -> None:
    feed = feed_of(parts)
    reader = FeedReader(replica := Replica(load))
    half = len(feed) // 2
    snapshot = snapshot_at(feed[:half])
    lines = [Start("e", snapshot.seq), Rows(snapshot.values), Ready(snapshot.seq)]
    for message in [*lines, *(Tx(changes) for changes in feed[half:])]:
        reader.read(parse_from_control(render_line(message)))
    assert rows(replica.snapshot()) == rows(snapshot_at(feed))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ping"), st.floats(0.1, 10)),
            st.tuples(st.just("pong"), st.integers(0, 3)),
            st.tuples(st.just("commit"), st.just(0)),
            st.tuples(st.just("deliver"), st.just(0)),
        ),
        max_size=40,
    )
)
def test_f3_age_runs_from_the_sending_of_a_ping_whose_head_was_reached(
    script: list[tuple[str, float]],
) -> None:
    """Whatever the order of pings, answers, commits and deliveries: at the instant that the age counts
    from, control had nothing that the replica lacks."""
    reader = FeedReader(replica := from_snapshot(Snapshot("e", 0, ())))
    reader.read(Resume("e"))
    now, head, sent = 100.0, 0, {}
    commits: list[tuple[float, int]] = []
    for n, (step, argument) in enumerate(script):
        now += argument if step == "ping" else 0.5
        if step == "ping":
            reader.note_ping(n, now)
            sent[n] = now
        elif step == "pong" and sent:
            reader.read(Pong(sorted(sent)[min(int(argument), len(sent) - 1)], head))
        elif step == "commit":
            head += 1
            commits.append((now, head))
        elif step == "deliver" and replica.seq < head:
            seq = replica.seq + 1
            person = PersonFact(id="a", name=str(seq), email="")
            reader.read(Tx((Change(seq, seq, "person", "a", person, "t", "t", now),)))
        if replica.confirmed_at is not None:
            assert replica.confirmed_at in sent.values()
            assert all(seq <= replica.seq for at, seq in commits if at <= replica.confirmed_at)
            assert replica.age_s(now) >= now - max(sent.values())


def test_f3_a_pong_ahead_of_the_replica_counts_only_once_it_is_reached() -> None:
    reader = FeedReader(replica := from_snapshot(Snapshot("e", 0, ())))
    reader.read(Resume("e"))
    reader.note_ping(1, 50.0)
    reader.read(Pong(1, 1))
    assert replica.confirmed_at is None
    reader.read(Tx((Change(1, 1, "group", "a", GroupFact("a"), "t", "t", 1.0),)))
    assert replica.age_s(60.0) == 10.0


def test_f3_a_snapshot_has_no_age_until_confirmed() -> None:
    replica = from_snapshot(Snapshot("e", 0, ()))
    replica.confirm(10.0, 0)
    assert replica.age_s(11.0) == 1.0
    replica.apply_snapshot(Snapshot("e2", 0, ()))
    assert replica.confirmed_at is None


@given(transactions)
def test_f4_nothing_older_than_a_tombstone_brings_a_session_back(parts: list[list[object]]) -> None:
    """Whatever is sent again from before the tombstone, the session stays ended."""
    born = AppSessionFact("gone", "a", "wiki", 9.0)
    feed = feed_of([[born], *parts, [("app_session", "gone")]])
    replica = from_snapshot(snapshot_at(feed))
    assert replica.app_session("gone") is None
    for changes in feed:
        replica.apply(changes)
        assert replica.app_session("gone") is None

"""Laws F1 to F4 over the feed itself: any order of commits, requests, losses, delays and repetitions.

The model is control as a list of transactions with the instant of each, and a network that carries whole
lines in order on one connection (TCP reorders nothing), may deliver a line twice (a proxy that answers
from its memory), may lose everything from some line on, and may be slow. A lost line ends the connection.
"""

import math
from collections import deque
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from limen.administrator.active import ActiveBundle
from limen.administrator.feed_reader import UNANSWERED_MAX, FeedReader
from limen.administrator.feed_wire import (
    Answer,
    Ping,
    Pong,
    Ready,
    Resume,
    Rows,
    Start,
    Tx,
    Unknown,
    parse_from_control,
    render_line,
)
from limen.administrator.replica import Replica
from limen.core.catalogue import Catalogue
from limen.core.changes import AppSessionFact, BundleFact, Change, GroupFact, Projection, Snapshot
from limen.core.errors import Invalid
from limen.core.tokens import mint_token, verify_token

IDS = ("a", "b", "c")


def load(fact: BundleFact) -> ActiveBundle:
    return ActiveBundle(fact.bundle_id, Catalogue(domain="limen.test"), object(), {})  # type: ignore[arg-type]


class Control:
    """Control and its database: the epoch, the transactions, and what is live."""

    def __init__(self) -> None:
        self.epoch = "e0"
        self.feed: list[tuple[Change, ...]] = []
        self.live: dict[tuple[str, str], tuple[int, Projection]] = {}
        self.committed_at: list[tuple[float, int]] = []

    @property
    def head(self) -> int:
        return self.feed[-1][-1].seq if self.feed else 0

    def commit(self, now: float, changes: list[tuple[str, str, bool]]) -> None:
        first = self.head + 1
        last = first + len(changes) - 1
        done = []
        for seq, (kind, row, alive) in enumerate(changes, first):
            value = _value(kind, row, seq) if alive else None
            done.append(Change(seq, last, kind, row, value, "t", "t", now))
            if value is None:
                self.live.pop((kind, row), None)
            else:
                self.live[kind, row] = (seq, value)
        self.feed.append(tuple(done))
        self.committed_at.append((now, last))

    def snapshot(self) -> list[Start | Rows | Ready]:
        return [Start(self.epoch, self.head), Rows(tuple(self.live.values())), Ready(self.head)]

    def tail(self, after: int) -> Iterator[Tx]:
        for changes in self.feed:
            if changes[-1].seq > after:
                yield Tx(changes)

    def restore(self, keep: int) -> None:
        """Go back to a backup, as `limen.store.restore` does: a new epoch, all sessions ended."""
        self.feed, self.committed_at = self.feed[:keep], self.committed_at[:keep]
        self.live = {}
        for changes in self.feed:
            for one in changes:
                if one.value is None:
                    self.live.pop((one.kind, one.id), None)
                else:
                    self.live[one.kind, one.id] = (one.seq, one.value)
        self.epoch = f"e{int(self.epoch[1:]) + 1}"


def _value(kind: str, row: str, seq: int) -> Projection:
    if kind == "app_session":
        return AppSessionFact(row, f"s{seq}", "wiki", 9e9)
    return GroupFact(row, (str(seq),))


changes = st.lists(
    st.tuples(st.sampled_from(("app_session", "group")), st.sampled_from(IDS), st.booleans()),
    min_size=1,
    max_size=3,
    unique_by=lambda change: change[:2],
)


class FeedMachine(RuleBasedStateMachine):
    """One gateway, one control, the network between."""

    @initialize()
    def begin(self) -> None:
        self.now = 100.0
        self.control = Control()
        self.replica = Replica(load)
        self.reader = FeedReader(self.replica)
        self.wire: deque[bytes] = deque()
        self.pings: deque[tuple[int, float]] = deque()  # on their way to control
        self.sent: dict[int, float] = {}
        self.position = -1
        self.numbers = 0
        self.lost = self.connected = False
        self.furthest = ("", -1)
        self.asked: dict[int, int] = {}

    # --- time and control ------------------------------------------------------------------------

    @rule(seconds=st.floats(0.1, 400))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(what=changes)
    def control_commits(self, what: list[tuple[str, str, bool]]) -> None:
        self.now += 0.01
        self.control.commit(self.now, what)

    @rule(share=st.floats(0, 1))
    def the_database_is_restored(self, share: float) -> None:
        self.control.restore(int(share * len(self.control.feed)))
        self.connected = False  # control was stopped for it
        self.wire.clear()

    # --- the connection --------------------------------------------------------------------------

    @rule()
    def connects(self) -> None:
        self.reader = FeedReader(self.replica)
        self.wire.clear()
        self.pings.clear()
        self.sent, self.lost, self.connected = {}, False, True
        control, replica = self.control, self.replica
        if replica.epoch == control.epoch and 0 <= replica.seq <= control.head:
            self.position = replica.seq
            self.wire.append(render_line(Resume(control.epoch)))
        else:
            self._snapshot()

    @precondition(lambda self: self.connected)
    @rule()
    def control_sends_a_snapshot_again(self) -> None:
        """It does, when the gateway lags too far behind."""
        self._snapshot()

    @precondition(lambda self: self.connected)
    @rule()
    def control_sends_the_tail(self) -> None:
        self._tail()

    @precondition(lambda self: self.connected)
    @rule()
    def the_gateway_pings(self) -> None:
        self.now += 0.01
        self.numbers += 1
        self.reader.note_ping(self.numbers, self.now)
        self.sent[self.numbers] = self.now
        self.pings.append((self.numbers, self.now))

    @precondition(lambda self: self.connected and self.pings)
    @rule(late=st.floats(0, 20))
    def control_answers_a_ping(self, late: float) -> None:
        self.now += late
        n, _ = self.pings.popleft()
        head = self.control.head
        self._tail()
        self.wire.append(render_line(Pong(n, head)))

    @precondition(lambda self: self.connected)
    @rule()
    def the_gateway_asks_and_control_answers(self) -> None:
        self.numbers += 1
        self.asked[self.numbers] = self.control.head
        self._tail()
        self.wire.append(render_line(Answer(self.numbers, self.control.head)))

    @precondition(lambda self: self.wire)
    @rule()
    def a_line_is_lost(self) -> None:
        """And with it everything behind it, as on a half-open connection."""
        self.lost = True

    @precondition(lambda self: self.wire and not self.lost)
    @rule(count=st.integers(1, 8), twice=st.booleans())
    def lines_arrive(self, count: int, twice: bool) -> None:
        for _ in range(count):
            if not self.wire:
                return
            line = self.wire.popleft()
            for _ in range(2 if twice else 1):
                self._arrive(line)

    def _arrive(self, line: bytes) -> None:
        message = parse_from_control(line)
        try:
            self.reader.read(message)
        except Invalid:
            self.connected = False  # a repeated line of a snapshot; the gateway connects again
            self.wire.clear()
            return
        if isinstance(message, Answer):
            assert self.replica.seq >= self.asked[message.n]  # F4

    def _snapshot(self) -> None:
        self.wire.extend(render_line(message) for message in self.control.snapshot())
        self.position = self.control.head

    def _tail(self) -> None:
        self.wire.extend(render_line(tx) for tx in self.control.tail(self.position))
        self.position = max(self.position, self.control.head)

    # --- the laws --------------------------------------------------------------------------------

    @invariant()
    def f1_whole_transactions(self) -> None:
        if self.replica.epoch == self.control.epoch:
            ends = {0, *(tx[-1].seq for tx in self.control.feed)}
            assert self.replica.seq in ends

    @invariant()
    def f2_equals_the_snapshot_at_its_position(self) -> None:
        if self.replica.epoch != self.control.epoch or self.replica.seq < 0:
            return
        there: dict[tuple[str, str], tuple[int, Projection]] = {}
        for tx in self.control.feed:
            for one in tx:
                if one.seq <= self.replica.seq:
                    there.pop((one.kind, one.id), None)
                    if one.value is not None:
                        there[one.kind, one.id] = (one.seq, one.value)
        assert set(self.replica.snapshot().values) == set(there.values())

    @invariant()
    def f3_age_is_never_less_than_the_truth(self) -> None:
        """Everything that was committed before the instant that the age counts from is here."""
        age = self.replica.age_s(self.now)
        if math.isinf(age) or self.replica.epoch != self.control.epoch:
            return
        known_of = self.now - age + 1e-9
        for at, seq in self.control.committed_at:
            if at < known_of - 1e-6 and seq <= self.control.head:
                assert seq <= self.replica.seq

    @invariant()
    def f4_what_ended_stays_ended(self) -> None:
        """Within an epoch the position never falls: with F2, no older answer brings back what ended."""
        epoch, seq = self.furthest
        assert self.replica.epoch != epoch or self.replica.seq >= seq
        self.furthest = (self.replica.epoch, self.replica.seq)


FeedMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestFeedLaws = FeedMachine.TestCase


# --- single laws -----------------------------------------------------------------------------------


def follower(seq: int = 0, epoch: str = "e") -> tuple[FeedReader, Replica]:
    replica = Replica(load)
    replica.apply_snapshot(Snapshot(epoch, seq, ()))
    reader = FeedReader(replica)
    reader.read(Resume(epoch))
    return reader, replica


@given(st.integers(0, 50), st.integers(1, 50))
def test_f4_a_snapshot_from_before_what_was_applied_is_refused(behind: int, more: int) -> None:
    reader, replica = follower(seq=behind + more)
    try:
        reader.read(Start("e", behind))
    except Invalid as error:
        assert error.code == "FEED_BEHIND"
    else:
        raise AssertionError("taken")
    assert replica.seq == behind + more


@given(st.integers(0, 50), st.integers(0, 50))
def test_f4_a_restored_epoch_takes_the_place_of_everything(before: int, after: int) -> None:
    reader, replica = follower(seq=before)
    replica.confirm(10.0, before)
    for message in (Start("e2", after), Rows(((1, GroupFact("a")),)), Ready(after)):
        reader.read(message)
    assert (replica.epoch, replica.seq, replica.groups()) == ("e2", after, frozenset({"a"}))
    assert replica.confirmed_at is None  # what was confirmed was of another database


@given(st.integers(0, 50), st.integers(0, 50))
def test_f3_catching_up_by_a_snapshot_of_the_same_epoch_keeps_the_age(seq: int, more: int) -> None:
    reader, replica = follower(seq=seq)
    replica.confirm(10.0, seq)
    for message in (Start("e", seq + more), Rows(()), Ready(seq + more)):
        reader.read(message)
        assert replica.confirmed_at == 10.0


def test_f3_pings_that_nobody_answers_are_given_up() -> None:
    reader, replica = follower()
    for n in range(3 * UNANSWERED_MAX):
        reader.note_ping(n, float(n))
    reader.read(Pong(0, 0))
    assert replica.confirmed_at is None
    reader.read(Pong(3 * UNANSWERED_MAX - 1, 0))
    assert replica.confirmed_at == 3 * UNANSWERED_MAX - 1


@given(st.binary(max_size=60), st.integers(0, 10**15))
def test_f4_a_token_without_our_mac_never_reaches_control(rubbish: bytes, seq: int) -> None:
    key = b"k" * 32
    token = mint_token(key, seq)[0].reveal()
    assert verify_token(key, token).seq == seq
    text = rubbish.decode("latin-1")
    for forged in (text, f"l1.{seq + 1}.{token.split('.', 2)[2]}", token[:-1], token + "A"):
        try:
            verify_token(key, forged)
        except Invalid:
            continue
        raise AssertionError(f"{forged!r} was taken")


@given(st.text(min_size=1, max_size=20), st.integers(1, 5))
def test_f2_kinds_of_a_later_release_count_and_are_left_out(kind: str, at: int) -> None:
    reader, replica = follower()
    known = {"person", "workload", "group", "session", "app_session", "grant", "bundle", "secret"}
    kind = f"x{kind}" if kind in known else kind
    parts = []
    for seq in range(1, 6):
        value: object = {"type": "group", "id": f"g{seq}", "parents": []}
        name = "group"
        if seq == at:
            value, name = {"type": kind, "id": "n", "more": 1}, kind
        parts.append(
            {"seq": seq, "tx": 5, "kind": name, "id": f"g{seq}", "value": value}
            | {"actor": "t", "reason": "t", "at": 1.0}
        )
    import msgspec

    message = parse_from_control(msgspec.json.encode({"type": "tx", "changes": parts}))
    assert isinstance(message, Tx)
    reader.read(message)
    assert replica.seq == 5 and len(replica.groups()) == 4
    rows = parse_from_control(
        msgspec.json.encode({"type": "rows", "rows": [[part["seq"], part["value"]] for part in parts]})
    )
    assert isinstance(rows, Rows) and len(rows.rows) == 4
    assert parse_from_control(b'{"type":"song","n":1}') == Unknown("song")
    assert isinstance(parse_from_control(render_line(Pong(1, 2))), Pong)
    assert Ping(1).seq == -1

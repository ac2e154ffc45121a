"""Laws R1 to R5 of re-assessment, as one machine: whatever happens, in whatever order.

Requests, streams, every kind of change, delays, lost, doubled and reordered messages of the feed, restarts
of gateway and control, restored databases, clocks that jump. After every step the reassessor does what is
due, and the whole gateway is compared with the model (`tests/kit/reassess_model.py`) at that instant.

A snapshot is lost or delivered as a whole: the real feed is one ordered byte stream.
"""

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from reassess_gateway import Control, Gateway, new_token
from reassess_model import BUNDLES, HOUR_S, Ask, allows, rules_of
from structlog.testing import capture_logs

from limen.administrator.feed_wire import Pong, Tx
from limen.administrator.streams import FINISHED, Cause, Ending
from limen.core.changes import AppSessionFact, GrantFact, GroupFact, PersonFact, SessionFact
from limen.core.clock import FakeClock
from limen.core.entities import Status

PEOPLE = {"ada": ("dba", "staff"), "bob": ("night",)}
SESSIONS = {"s1": "ada", "s2": "ada", "s3": "bob"}
PLACES = (
    ("wiki.limen.test", "/live", "http"),
    ("wiki.limen.test", "/board/x", "sse"),
    ("wiki.limen.test", "/news", "sse"),
    ("chat.limen.test", "/", "websocket"),
    ("chat.limen.test", "/", "grpc"),
    ("db.limen.test", "", "connect"),
)
APPS = (("wiki", "cookie"), ("wiki", "token"), ("chat", "cookie"), ("@connect", "token"))
SOON_S = (0.5, 1.0, 14.0, 29.0, 45.0, 299.0, 895.0, 1_795.0, HOUR_S, 5 * HOUR_S)
FEW = 6  # live streams below which more are opened
SLIVER_S = 0.002  # edges are whole milliseconds

people = st.sampled_from(sorted(PEOPLE))
sessions = st.sampled_from(sorted(SESSIONS))


class ReassessLaws(RuleBasedStateMachine):
    """One control, one gateway, and a model that knows what control committed."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.folder = tempfile.TemporaryDirectory()
        self.control = Control(self.clock)
        self.gateway = Gateway(Path(self.folder.name), self.clock)
        self.tokens: dict[str, tuple[str, str, str, str]] = {}  # name -> session, app, kind, text
        self.open: dict[str, Ask] = {}
        self.hearing = True

    def teardown(self) -> None:
        self.gateway.file.close()
        self.folder.cleanup()

    @initialize()
    def begin(self) -> None:
        rows: list[Any] = [BUNDLES["usual"].fact, GroupFact("staff"), GroupFact("dba")]
        rows += [GroupFact("night", ("staff",))]
        rows += [PersonFact(id=name, name=name, email="", groups=PEOPLE[name]) for name in PEOPLE]
        for name in SESSIONS:
            rows += self._signed_in(name)
        self.control.commit(*rows)
        self.gateway.connect(self.control)
        self.gateway.ping(self.control)
        self.gateway.deliver(self.control, 99)
        self._open_all()

    def _signed_in(self, name: str) -> list[Any]:
        now = self.clock.now()
        rows: list[Any] = [
            SessionFact(name, SESSIONS[name], 2, False, ("password", "totp"), now, now, now + 12 * HOUR_S)
        ]
        return rows + [self._token(name, app, kind) for app, kind in APPS]

    def _token(self, session: str, app: str, kind: str) -> AppSessionFact:
        text, hashed = new_token(self.control)
        self.tokens[hashed] = (session, app, kind, text)
        return AppSessionFact(hashed, session, app, self.clock.now() + 12 * HOUR_S, kind)

    def _commit(self, *values: Any) -> None:
        """Commit, with streams live that may mind; the gateway hears of it at once, or later."""
        if len(self.open) < FEW:
            self._open_all()
        self.gateway.wire.append(self.control.commit(*values))
        if self.hearing:
            self.be_told_everything()

    def _open_all(self) -> None:
        for name in SESSIONS:
            self.open_streams(name)

    def _person(self, name: str) -> PersonFact:
        found: PersonFact = self.control.rows["person", name]
        return found

    # --- changes -----------------------------------------------------------------------------------

    @rule(name=people, status=st.sampled_from((Status.SUSPENDED, Status.ACTIVE)), quarantined=st.booleans())
    def change_a_person(self, name: str, status: Status, quarantined: bool) -> None:
        self._commit(msgspec.structs.replace(self._person(name), status=status, quarantined=quarantined))

    @rule(name=people, groups=st.sampled_from(((), ("staff",), ("dba", "night"), ("dba", "staff"))))
    def change_the_groups_of_a_person(self, name: str, groups: tuple[str, ...]) -> None:
        self._commit(msgspec.structs.replace(self._person(name), groups=groups))

    @rule(name=people, in_s=st.sampled_from((*SOON_S, None)))
    def let_a_person_expire(self, name: str, in_s: float | None) -> None:
        ends = None if in_s is None else self.clock.now() + in_s
        self._commit(msgspec.structs.replace(self._person(name), expires_at=ends))

    @rule(group=st.sampled_from(("night", "night", "dba")))
    def nest_a_group_or_not(self, group: str) -> None:
        nested = bool(self.control.rows["group", group].parents)
        self._commit(GroupFact(group, () if nested else ("staff",)))

    @rule(
        n=st.integers(1, 3),
        who=st.sampled_from((("User", "ada"), ("User", "bob"), ("Group", "staff"), ("Group", "night"))),
        resource=st.sampled_from((("App", "wiki"), ("App", "wiki"), ("App", "chat"), ("Service", "db"))),
        in_s=st.sampled_from(SOON_S),
        alone=st.booleans(),
    )
    def grant(
        self, n: int, who: tuple[str, str], resource: tuple[str, str], in_s: float, alone: bool
    ) -> None:
        """Grant something; `alone`: under a bundle that permits nobody the wiki."""
        given = GrantFact(f"g{n}", who, ("access",), resource, self.clock.now() + in_s)
        self._commit(given, *([BUNDLES["closed"].fact] if alone else []))
        self._open_all()

    @precondition(lambda self: any(kind == "grant" for kind, _ in self.control.rows))
    @rule()
    def revoke_the_grants(self) -> None:
        self._commit(*[key for key in self.control.rows if key[0] == "grant"])

    @rule(bundle=st.sampled_from(("usual", *sorted(BUNDLES))))
    def apply_a_bundle(self, bundle: str) -> None:
        self._commit(BUNDLES[bundle].fact)

    # --- sessions ----------------------------------------------------------------------------------

    @rule(name=sessions)
    def sign_in(self, name: str) -> None:
        self._commit(*self._signed_in(name))

    @rule(name=sessions)
    def end_a_session(self, name: str) -> None:
        children = [key for key, row in self.control.rows.items() if _is_child(key, row, name)]
        self._commit(*children, ("session", name))

    @rule(name=sessions, aal=st.integers(1, 3), overlap_s=st.sampled_from((0.0, 15.0)))
    def step_up(self, name: str, aal: int, overlap_s: float) -> None:
        """Raise a session: its wiki cookie is replaced, and the old one is gone at once or soon."""
        session = self.control.rows.get(("session", name))
        if session is None:
            return
        now = self.clock.now()
        raised = msgspec.structs.replace(session, aal=aal, auth_at=now)
        old: list[Any] = self._wiki_cookies(name)
        if overlap_s:
            old = [
                msgspec.structs.replace(row, expires_at=min(row.expires_at, now + overlap_s))
                for row in (self.control.rows[key] for key in old)
            ]
        self._commit(raised, *old, self._token(name, "wiki", "cookie"))

    @rule(name=sessions, stepped_up=st.booleans())
    def leave_the_wiki(self, name: str, stepped_up: bool) -> None:
        """End the app sessions of a browser there, the first or a later one; its sign-on goes on."""
        if stepped_up:
            self.step_up(name, 2, 0.0)
            self.r2_r4_r5_those_live_that_the_model_allows()
        gone = self._wiki_cookies(name)
        if gone:
            self._commit(*gone)

    @rule(data=st.data())
    def end_an_app_session(self, data: st.DataObject) -> None:
        self._commit(("app_session", data.draw(st.sampled_from(tuple(self.tokens)))))

    def _wiki_cookies(self, session: str) -> list[tuple[str, str]]:
        return [
            key
            for key, row in self.control.rows.items()
            if _is_child(key, row, session) and (row.app, row.kind) == ("wiki", "cookie")
        ]

    # --- the wire ----------------------------------------------------------------------------------

    @rule(hearing=st.booleans())
    def hear_at_once_or_later(self, hearing: bool) -> None:
        self.hearing = hearing
        self.be_told_everything()

    def be_told_everything(self) -> None:
        """Read what is on the wire, connecting again as often as that needs; then ask for the head."""
        for _ in range(2):
            while self.gateway.wire:
                self.gateway.deliver(self.control, 99)
            self.gateway.ping(self.control)

    @rule(count=st.integers(1, 3))
    def be_told_some(self, count: int) -> None:
        self.gateway.ping(self.control)
        self.gateway.deliver(self.control, count)

    @precondition(lambda self: self.gateway.wire and isinstance(self.gateway.wire[0], Tx | Pong))
    @rule(how=st.sampled_from(("lose", "double", "reorder")))
    def trouble_the_wire(self, how: str) -> None:
        first = self.gateway.wire.popleft()
        at = {"lose": (), "double": (0, 1), "reorder": (1,)}[how]
        for position in at:
            self.gateway.wire.insert(position, first)

    @rule(how=st.sampled_from(("resume", "snapshot", "epoch", "gateway")))
    def restart(self, how: str) -> None:
        """Restart control, restore its database, or restart the gateway, whose streams end with it."""
        if how == "epoch":
            self.control.restore()
        if how == "gateway":
            self.gateway.file.close()
            self.gateway = Gateway(Path(self.folder.name), self.clock)
            self.open = {}
        self.gateway.connect(self.control, snapshot=how == "snapshot")

    # --- time --------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from(SOON_S), moved=st.booleans())
    def time_passes_unheard(self, seconds: float, moved: bool) -> None:
        """`moved`: just after a bundle with tighter bounds of age."""
        if moved:
            self._commit(BUNDLES["moved"].fact)
            self.r2_r4_r5_those_live_that_the_model_allows()
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from(SOON_S))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.be_told_everything()

    @rule(
        seconds=st.sampled_from((-5 * HOUR_S, -HOUR_S, -20.0, -1.0, 1.0, 600.0, 3 * HOUR_S)),
        by_day=st.booleans(),
    )
    def the_clock_jumps(self, seconds: float, by_day: bool) -> None:
        """Of the wall, as NTP or an operator sets it; `by_day`: where policies look at the hour."""
        if by_day:
            self._commit(BUNDLES["day"].fact)
            self._open_all()
            self.r2_r4_r5_those_live_that_the_model_allows()
        self.clock.jump(seconds)

    @precondition(lambda self: len(self.gateway.streams))
    @rule()
    def reach_the_next_deadline(self) -> None:
        nearest = min(stream.deadline_at or 0.0 for stream in self.gateway.streams.all())
        self.clock.advance(max(0.0, nearest - self.clock.now()))
        self.be_told_everything()

    # --- requests and streams ----------------------------------------------------------------------

    @rule(name=sessions)
    def open_streams(self, name: str) -> None:
        """Open one of each kind, by the newest tokens of a session, and one for nobody."""
        for host, path, protocol in PLACES:
            kind = "token" if protocol in {"http", "connect"} else "cookie"
            ask = Ask(host, path, "", kind, protocol)
            fitting = [t for t, (*made_for, _) in self.tokens.items() if made_for == [name, ask.app, kind]]
            self._open(ask._replace(token=fitting[-1]))
        self._open(Ask("wiki.limen.test", "/news", "", "cookie"))

    @rule(place=st.sampled_from(PLACES), data=st.data())
    def open_a_stream(self, place: tuple[str, str, str], data: st.DataObject) -> None:
        """By any token that there ever was."""
        self._open(self._draw(place, data))

    def _open(self, ask: Ask) -> None:
        allowed = self._allowed(ask)
        stream = self.gateway.open(ask, self._text(ask))
        assert (stream is not None) == allowed
        if stream is not None:
            subject = stream.question.subject
            self.open[stream.id] = ask._replace(
                person="" if subject is None else subject.id,
                session=stream.question.session_id or "",
                opened_at=self.clock.now(),
            )

    @rule(place=st.sampled_from(PLACES), data=st.data())
    def ask(self, place: tuple[str, str, str], data: st.DataObject) -> None:
        """R1: after a gateway applied a change, no request is allowed that it denies."""
        ask = self._draw(place, data)._replace(protocol="http")
        if ask.app == "@connect":
            return  # services are reached through the leash alone
        reply = self.gateway.request(ask, self._text(ask))
        assert (reply is not None and reply.answer.allows) == self._allowed(ask)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), by_us=st.booleans())
    def end_a_stream(self, data: st.DataObject, by_us: bool) -> None:
        stream_id = data.draw(st.sampled_from(tuple(self.open)))
        if by_us:
            assert self.gateway.streams.end(stream_id, Ending(Cause.OPERATOR, "An operator ended it."))
        else:
            assert self.gateway.streams.remove(stream_id, FINISHED) is not None
        del self.open[stream_id]

    def _draw(self, place: tuple[str, str, str], data: st.DataObject) -> Ask:
        host, path, protocol = place
        app = Ask(host, path, "", "").app
        fitting = [name for name, (_, of, _, _) in self.tokens.items() if of == app]
        name = data.draw(st.sampled_from((*fitting[-6:], "")))
        kind = self.tokens[name][2] if name else "cookie"
        return Ask(host, path, name, kind, protocol)

    def _text(self, ask: Ask) -> str:
        return self.tokens[ask.token][3] if ask.token else ""

    # --- the model ---------------------------------------------------------------------------------

    def _rows(self) -> dict[tuple[str, str], Any]:
        replica = self.gateway.replica
        return self.control.history.get((replica.epoch, replica.seq), {})

    def _allowed(self, ask: Ask) -> bool:
        age_s = self.gateway.replica.age_s(self.clock.boot_s())
        return allows(self._rows(), ask, self.clock.now(), age_s)

    @invariant()
    def r2_r4_r5_those_live_that_the_model_allows(self) -> None:
        """R2, R4, and R5: no innocent is closed. Slices of nothing, so that each holds one stream."""
        self.gateway.settle(0.0)
        live = {stream.id for stream in self.gateway.streams.all()}
        assert live.isdisjoint(self.gateway.closed)
        for stream_id, ask in list(self.open.items()):
            assert (stream_id in live) == self._allowed(ask), (ask, self.gateway.closed.get(stream_id))
            if stream_id not in live:
                assert self.gateway.closed[stream_id].cause is not Cause.FINISHED
                del self.open[stream_id]
        assert live == set(self.open)

    @invariant()
    def r3_each_stream_has_a_deadline_before_which_time_flips_nothing(self) -> None:
        now, rows = self.clock.now(), self._rows()
        rules = rules_of(rows)
        for stream in self.gateway.streams.all():
            deadline_at = stream.deadline_at
            assert deadline_at is not None and deadline_at > now
            for at in (now, (now + deadline_at) / 2, deadline_at - SLIVER_S):
                assert allows(rows, self.open[stream.id], max(now, at), 0.0)
            if rules is not None and rules.odd and stream.question.host.startswith("chat"):
                assert deadline_at <= now + 1.0

    @invariant()
    def r4_nothing_lives_by_what_was_revoked_too_long_ago(self) -> None:
        """Said without the replica's own age: what control committed longer ago than the bound is applied."""
        boot_s, replica = self.clock.boot_s(), self.gateway.replica
        for stream in self.gateway.streams.all():
            for committed_at, epoch, seq in self.control.committed_at:
                if boot_s - committed_at > stream.staleness_max_s:
                    assert (_number(epoch), seq) <= (_number(replica.epoch), replica.seq)


def _number(epoch: str) -> int:
    return int(epoch[1:] or 0)


def _is_child(key: tuple[str, str], row: Any, session: str) -> bool:
    return key[0] == "app_session" and row.parent == session


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Any:
    """Restarts and broken feeds are logged; here they come by the hundred."""
    with capture_logs():
        yield


TestReassessLaws = ReassessLaws.TestCase
TestReassessLaws.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)

"""A small world for re-assessment: real engine, real replica, streams whose `close` is noted.

`commit` writes as control does: whole transactions, numbered. Nothing here sleeps.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from limen.administrator.active import ActiveBundle, load_bundle
from limen.administrator.projections import KINDS
from limen.administrator.reassess import Reassessor
from limen.administrator.replica import Replica, session_facts
from limen.administrator.streams import Ending, LiveStream, Streams, reads_of
from limen.core.changes import (
    AppSessionFact,
    BundleFact,
    Change,
    GroupFact,
    PersonFact,
    Projection,
    SessionFact,
    Snapshot,
)
from limen.core.clock import FakeClock
from limen.core.decision import AccessRequest, Network
from limen.core.errors import Unavailable
from limen.core.ids import EntityRef, new_decision_id
from limen.core.record import DecisionRecord, EventRecord, Record
from limen.engine.bundle import parse_bundle
from limen.engine.memo import Memo
from limen.journal.writer import Once

NOW = 1_800_000_000.0  # Friday 15 January 2027, 08:00 UTC
HOUR = 3_600.0

YAML = """\
domain: limen.test
apps:
  wiki:
    upstream: http://127.0.0.1:1
    routes:
      - {name: board, path: /board/**, action: admin}
      - {name: news, path: /news, public: true}
  chat: {upstream: "http://127.0.0.1:2", allow: [group:staff]}
services:
  db: {address: "db.internal:5432", protocol: postgres, allow: [group:dba]}
"""
PERMITS = """\
@id("staff-wiki") @reason("Staff use the wiki.")
permit(principal in Group::"staff", action, resource in App::"wiki");
"""
FACTOR = """\
@id("factor") @reason("Sign in with a second factor.")
forbid(principal is User, action, resource) unless { context has session && context.session.aal >= 2 };
"""


def files(yaml: str = YAML, permits: str = PERMITS, guardrails: str = FACTOR) -> dict[str, str]:
    """The files of a bundle."""
    found = {"limen.yaml": yaml}
    if permits:
        found["policies/entitlements/all.cedar"] = permits
    if guardrails:
        found["policies/guardrails/all.cedar"] = guardrails
    return found


def bundle_fact(**parts: str) -> BundleFact:
    """A bundle as the feed carries it."""
    content = files(**parts)
    return BundleFact("active", _bundle_id(tuple(sorted(content.items()))), content)


@cache
def _bundle_id(content: tuple[tuple[str, str], ...]) -> str:
    return parse_bundle(dict(content)).id


@cache
def _compiled(content: tuple[tuple[str, str], ...]) -> ActiveBundle:
    return load_bundle(BundleFact("active", "", dict(content)))


def load_cached(fact: BundleFact) -> ActiveBundle:
    """Compile each bundle once for all tests: what it keeps never changes an answer."""
    return _compiled(tuple(sorted(fact.files.items())))


class Journal:
    """Keeps records, unless it is told to be full."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.full = False

    def append(self, record: Record, *, urgent: bool = False) -> object:
        if self.full:
            raise Unavailable("The disk is full.", code="JOURNAL_FULL")
        self.records.append(record)
        return None

    def append_many(self, items: Sequence[Record | Once], *, urgent: bool = False) -> object:
        for item in items:
            self.append(item.make() if isinstance(item, Once) else item, urgent=urgent)
        return None

    def salted(self, content: bytes) -> str:
        return f"{hash(content):x}"

    @property
    def decisions(self) -> list[DecisionRecord]:
        return [record for record in self.records if isinstance(record, DecisionRecord)]

    @property
    def events(self) -> list[EventRecord]:
        return [record for record in self.records if isinstance(record, EventRecord)]


class ReassessWorld:
    """Ada of staff, signed in at the wiki and the chat, with a program's token; her streams are watched."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.replica = Replica(load_cached)
        self.journal = Journal()
        self.memo = Memo()
        self.closed: dict[str, Ending] = {}
        self.ended: list[tuple[str, Ending]] = []
        self.streams = Streams(
            self.clock, on_end=lambda stream, ending: self.ended.append((stream.id, ending))
        )
        self.ticks = 0.0
        self.reassessor = self.watch()
        rows: list[Projection] = [
            bundle_fact(),
            GroupFact("staff"),
            GroupFact("dba"),
            PersonFact(id="ada", name="Ada", email="", groups=("dba", "staff")),
            self.session(),
            self.cookie("c1"),
            self.cookie("c2", app="chat"),
            AppSessionFact("t1", "s1", "@connect", NOW + 12 * HOUR, "token"),
        ]
        self.replica.apply_snapshot(Snapshot("e", 100, tuple(enumerate(rows, 1))))
        self.confirm()

    def watch(self) -> Reassessor:
        return Reassessor(
            self.replica,
            self.streams,
            self.memo,
            self.journal,
            self.clock,
            node="gw",
            ticks_s=self._tick,
        )

    def _tick(self) -> float:
        """A clock by which each look at it takes a millisecond."""
        self.ticks += 0.001
        return self.ticks

    def session(self, name: str = "s1", person: str = "ada", **changes: Any) -> SessionFact:
        values = {
            "aal": 2,
            "phishing_resistant": False,
            "methods": ("password", "totp"),
            "started_at": NOW,
            "auth_at": NOW,
            "expires_at": NOW + 12 * HOUR,
        }
        return SessionFact(id=name, person=person, **{**values, **changes})

    def cookie(
        self, name: str, app: str = "wiki", session: str = "s1", expires_at: float = NOW + 12 * HOUR
    ) -> AppSessionFact:
        return AppSessionFact(name, session, app, expires_at)

    def confirm(self) -> None:
        self.replica.confirm(self.clock.boot_s(), self.replica.seq)

    def commit(self, *values: Projection | tuple[str, str]) -> None:
        """Apply one transaction: projections, or (kind, id) tombstones. The replica stays fresh."""
        first = self.replica.seq + 1
        last = first + len(values) - 1
        self.replica.apply(
            Change(first + n, last, value[0], value[1], None, "t", "t", NOW)
            if isinstance(value, tuple)
            else Change(first + n, last, KINDS[type(value)], value.id, value, "t", "t", NOW)
            for n, value in enumerate(values)
        )
        self.confirm()

    def open(
        self,
        host: str = "wiki.limen.test",
        path: str = "/live",
        *,
        token: str = "c1",
        person: str | None = "ada",
        protocol: str = "sse",
        **changes: Any,
    ) -> LiveStream:
        """Open a stream as the leash does, and let the reassessor look at it; it must be allowed."""
        now = self.clock.now()
        app, action, resource = _place(host, path)
        fact = self.replica.app_session(token)
        question = AccessRequest(
            id=new_decision_id(now),
            at=now,
            subject=None if person is None else EntityRef("User", person),
            action=action,
            resource=resource,
            session_id=None if fact is None or person is None else fact.parent,
            method="CONNECT" if action == "connect" else "GET",
            host=host,
            path=path,
        )
        stream = LiveStream(
            question=question,
            network=Network(),
            app=app,
            token_hash=token if person is not None else "",
            token_kind="" if person is None or fact is None else fact.kind,
            staleness_max_s=300.0,
            protocol=protocol,
            opened_at=now,
            max_at=now + 12 * HOUR,
            close=lambda ending: self.closed.update({question.id: ending}),
        )
        for name, value in changes.items():
            setattr(stream, name, value)
        self.streams.add(stream)
        self.settle()
        return stream

    def opened_fresh(self, stream: LiveStream) -> LiveStream:
        """Give a stream that is not added yet the reads and the stamp of a decision made just now."""
        question = stream.question
        session = self.replica.session(question.session_id or "")
        assert session is not None
        facts = self.replica.facts(
            question.subject, question.resource, at=question.at, session=session_facts(session)
        )
        assert facts is not None
        stream.reads, stream.stamp = reads_of(facts), self.replica.stamp
        return stream

    def settle(self) -> float:
        """Let the reassessor do all that is due now."""
        return self.reassessor.work(math.inf)

    def is_live(self, stream: LiveStream) -> bool:
        """Say whether a stream is live; one that is not was closed."""
        live = self.streams.get(stream.id) is not None
        assert live != (stream.id in self.closed)
        return live


def _place(host: str, path: str) -> tuple[str, str, EntityRef]:
    name = host.partition(".")[0]
    if name == "db":
        return "@connect", "connect", EntityRef("Service", "db")
    if path.startswith("/board/"):
        return name, "admin", EntityRef("Route", "wiki/board")
    if path == "/news":
        return name, "read", EntityRef("Route", "wiki/news")
    return name, "read", EntityRef("App", name)

"""Both ends of a feed for the laws of re-assessment: a control that writes rows, and a whole gateway.

Control keeps every state that it was in. The gateway is real but for its sockets: replica, feed reader,
replica file, check, registry, reassessor. Between them stands a wire that a test may trouble.
"""

import itertools
import math
from collections import deque
from pathlib import Path
from typing import Any

from check_world import KEY, NONCE, FakeExplainer, FakePages, FakeSigner
from reassess_model import Ask
from reassess_world import Journal, load_cached

from limen.administrator.feed_reader import FeedReader
from limen.administrator.feed_wire import FromControl, Pong, Ready, Resume, Rows, Start, Tx
from limen.administrator.projections import KINDS
from limen.administrator.reassess import Reassessor
from limen.administrator.replica import Replica
from limen.administrator.replica_file import ReplicaFile
from limen.administrator.streams import Ending, LiveStream, Streams
from limen.core.changes import Change
from limen.core.clock import FakeClock
from limen.core.errors import Invalid
from limen.core.secret import Secret
from limen.core.tokens import mint_token
from limen.enforcement.check.case import Reply
from limen.enforcement.check.check import Check
from limen.enforcement.check.parts import CheckParts
from limen.enforcement.check.ports import Pages
from limen.enforcement.check.request import CheckRequest
from limen.engine.memo import Memo

BOOT_ID = "boot"


class Control:
    """What is committed, position by position, of one epoch after the other."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.epoch = "e1"
        self.head = 0
        self.rows: dict[tuple[str, str], Any] = {}
        self.versions: dict[tuple[str, str], int] = {}
        self.history: dict[tuple[str, int], dict[tuple[str, str], Any]] = {("e1", 0): {}}
        self.log: list[Tx] = []
        self.committed_at: list[tuple[float, str, int]] = [(clock.boot_s(), "e1", 0)]

    def commit(self, *values: Any) -> Tx:
        """Write one transaction: projections, or (kind, id) tombstones."""
        last = self.head + len(values)
        changes = []
        for seq, value in enumerate(values, self.head + 1):
            gone = isinstance(value, tuple)
            key = value if gone else (KINDS[type(value)], value.id)
            self.rows.pop(key, None)
            if not gone:
                self.rows[key] = value
                self.versions[key] = seq
            changes.append(Change(seq, last, *key, None if gone else value, "t", "t", self._clock.now()))
        self.head = last
        self._note()
        self.log.append(Tx(tuple(changes)))
        return self.log[-1]

    def restore(self) -> None:
        """Be restored from a backup: another epoch, in which no session lives."""
        self.epoch = f"e{int(self.epoch[1:]) + 1}"
        self.rows = {key: value for key, value in self.rows.items() if "session" not in key[0]}
        self.log = []
        self._note()

    def greet(self, epoch: str, seq: int, *, snapshot: bool) -> list[FromControl]:
        """Answer a gateway's hello."""
        if epoch == self.epoch and seq >= 0 and not snapshot:
            return [Resume(epoch), *(tx for tx in self.log if tx.changes[0].tx > seq)]
        rows = tuple((self.versions[key], value) for key, value in self.rows.items())
        return [Start(self.epoch, self.head), Rows(rows), Ready(self.head)]

    def _note(self) -> None:
        self.history[self.epoch, self.head] = dict(self.rows)
        self.committed_at.append((self._clock.boot_s(), self.epoch, self.head))


class Gateway:
    """One gateway's brain. `closed` holds the endings of its streams."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self._clock = clock
        self.replica = Replica(load_cached)
        self.file = ReplicaFile(folder, clock, BOOT_ID)
        self.file.load(self.replica)
        self.streams = Streams(clock)
        self.journal = Journal()
        memo = Memo()
        self.check = Check(self._parts(memo))
        ticks = itertools.count()
        self.reassessor = Reassessor(
            self.replica,
            self.streams,
            memo,
            self.journal,
            clock,
            node="gw",
            ticks_s=lambda: next(ticks) / 1000,
        )
        self.closed: dict[str, Ending] = {}
        self.wire: deque[FromControl] = deque()
        self._numbers = itertools.count(1)
        self._restart = False

    def _parts(self, memo: Memo) -> CheckParts:
        return CheckParts(
            replica=self.replica,
            engine=memo,
            journal=self.journal,
            signer=FakeSigner(),
            explainer=FakeExplainer(),
            pages=Pages(FakePages().render, {}),
            unseal=lambda fact: Secret(fact.sealed),
            clock=self._clock,
            token_key=KEY,
            node="gw",
            make_nonce=lambda: NONCE,
            note_seen=lambda _session, _at: None,
        )

    # --- the feed ----------------------------------------------------------------------------------

    def connect(self, control: Control, *, snapshot: bool = False) -> None:
        """Begin a new connection: what was under way on the old one is gone."""
        self.reader = FeedReader(self.replica)
        hello = ("", -1) if self._restart else (self.replica.epoch, self.replica.seq)
        self.wire = deque(control.greet(*hello, snapshot=snapshot))
        self._restart = False

    def ping(self, control: Control) -> None:
        """Ask for the head; the answer is on the wire behind everything up to it."""
        n = next(self._numbers)
        self.reader.note_ping(n, self._clock.boot_s())
        self.wire.append(Pong(n, control.head))

    def deliver(self, control: Control, count: int) -> None:
        """Read from the wire, as the real client does: what does not fit makes it connect again."""
        for _ in range(min(count, len(self.wire))):
            message = self.wire.popleft()
            try:
                self.reader.read(message)
            except Invalid:
                self._restart = True
                self.connect(control)
                return
            if isinstance(message, Tx):
                self.file.append(message, self.replica)
            elif isinstance(message, Ready):
                self.file.save(self.replica)
            elif isinstance(message, Pong):
                self.file.note_age(self.replica)

    # --- requests and streams ----------------------------------------------------------------------

    def request(self, ask: Ask, text: str, *, leashed: bool = False) -> Reply | None:
        """Answer a request; None when control would have to be asked first, which is no allow either."""
        headers = {b"host": ask.host.encode(), b"x-limen-peer": b"203.0.113.7"}
        method, target = b"GET", ask.path.encode()
        if text and ask.kind == "cookie":
            headers[b"cookie"] = f"__Host-limen={text}".encode()
        elif text:
            headers[b"authorization"] = f"Bearer {text}".encode()
        if ask.protocol == "websocket":
            headers[b"upgrade"] = b"websocket"
        if ask.app == "@connect":
            method, target = b"CONNECT", b""
            headers[b"host"] += b":443"
        outcome = self.check.answer(CheckRequest(method.decode(), target, headers), leashed=leashed)
        if not isinstance(outcome, Reply):
            return None
        self.check.settle(outcome)
        return outcome

    def open(self, ask: Ask, text: str) -> LiveStream | None:
        """Open a stream as the leash does; None when it was refused."""
        reply = self.request(ask, text, leashed=True)
        if reply is None or reply.opening is None or not reply.answer.allows:
            return None
        case = reply.opening.case
        question, seat, place = case.question, case.seat, case.asked.place
        stream = LiveStream(
            question=question,
            network=case.asked.network,
            app=place.session_app,
            token_hash="" if seat is None else seat.token_hash,
            token_kind="" if seat is None else seat.token_kind,
            staleness_max_s=place.staleness_max_s(case.asked.match),
            protocol=ask.protocol,
            opened_at=question.at,
            max_at=question.at + place.streams.max_s,
            close=lambda ending: self.closed.update({question.id: ending}),
        )
        self.streams.add(stream)
        return stream

    def settle(self, budget_s: float = math.inf) -> None:
        """Let the reassessor do all that is due now, slice by slice."""
        while self.reassessor.work(budget_s) == 0.0:
            pass


def new_token(control: Control) -> tuple[str, str]:
    """Return the text of a new token and its hash."""
    token, hashed = mint_token(KEY, control.head + 1)
    return token.reveal(), hashed

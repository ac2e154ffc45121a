"""Authorizations decided again, whenever what they were decided by changes, as live streams are.

Laws:
    V1 whatever ends a session ends the authorizations below it.
    V2 an authorization that policy would not give any more ends, with all its tokens; its client is told.
    V3 an outage ends nothing: without a bundle, or when the engine fails, the next round looks again.
       Whatever is asked for meanwhile is refused anyway.

What changed says whom to look at: a person, or everybody. Time is looked at by the deadlines of decisions.
"""

import threading
from collections.abc import Iterable

import structlog
from sqlalchemy import Connection

from limen.administrator.authority import ISSUE_POINT, Answer
from limen.administrator.oauth.issuing import SIGN_IN, Issuing, Live, known_ip
from limen.administrator.replica import session_facts
from limen.core.changes import Change
from limen.core.decision import ENGINE_CODES
from limen.core.errors import LimenError
from limen.core.ids import EntityRef, Instant
from limen.store import oauth as rows
from limen.store.oauth import Authorization

UNREDEEMED_S = 120.0  # a code lives one minute
ENDED_KEPT_S = 7 * 86_400.0
EVERYBODY = frozenset({"bundle", "group", "grant"})
"""Kinds of changes after which anybody's decision may be another."""

OF_ONE = frozenset({"person", "session"})
"""Kinds that concern one person."""

log = structlog.get_logger("limen.oauth")


class ClientLeash:
    """Ends authorizations whose reason to be has ended. `look` is for a thread: it waits for the database."""

    def __init__(self, issuing: Issuing) -> None:
        self._issuing = issuing
        self._due: dict[str, Instant | None] = {}  # authorization -> when its decision may change by itself
        self._people: set[str] = set()
        self._all = True
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def hear(self, changes: Iterable[Change]) -> bool:
        """Note what a commit changed; return whether `look` has something to do. Never waits."""
        relevant = [change for change in changes if change.kind in EVERYBODY or change.kind in OF_ONE]
        with self._lock:
            self._all = self._all or any(change.kind in EVERYBODY for change in relevant)
            self._people.update(change.id for change in relevant if change.kind == "person")
        return bool(relevant)

    def look(self) -> int:
        """End what has to end because of what was heard; return how many authorizations."""
        return self._round(complete=False)

    def _round(self, *, complete: bool) -> int:
        with self._turn:
            with self._lock:
                everybody, people = self._all, frozenset(self._people)
                self._all = False
                self._people.clear()
            try:
                return self._end_bereft() + self._decide(everybody, people, complete=complete)
            except BaseException:
                with self._lock:
                    self._all = True  # nothing that was heard is forgotten (law V3)
                raise

    def sweep(self) -> int:
        """Look at everything that time may have changed, and forget what is long over."""
        ended = self._round(complete=True)
        with self._issuing.desk.ledger.store.transaction("limen", "sweep tokens of clients") as tx:
            rows.purge_tokens(tx, tx.now - ENDED_KEPT_S)
        return ended

    # --- law V1 ------------------------------------------------------------------------------------

    def _end_bereft(self) -> int:
        now = self._issuing.desk.clock.now()
        with self._issuing.desk.ledger.store.read() as connection:
            found = rows.list_bereft(connection, now, now - UNREDEEMED_S)
        # The device flow never leaves one without tokens: only a code can have been left unused.
        over = [one for one in found if one.redeemed_at is not None]
        unused = [one for one in found if one.redeemed_at is None]
        ended = self._issuing.end_all(over, actor="limen", why="the session is over")
        return ended + self._issuing.end_all(unused, actor="limen", why="its code was not redeemed")

    # --- law V2 ------------------------------------------------------------------------------------

    def _decide(self, everybody: bool, people: frozenset[str], *, complete: bool) -> int:
        clients = self._issuing.desk.catalogue().clients
        there = {name for name, client in clients.items() if client.oidc is not None}
        with self._issuing.desk.ledger.store.read() as connection:
            if everybody or complete:
                chosen = self._of_all(connection, everybody, people)
            else:
                chosen = [one for who in people for one in rows.list_authorizations(connection, person=who)]
            live = [found for one in chosen if (found := self._issuing.find_live(connection, one.id))]
        orphans = [one for one in chosen if one.client not in there]
        ended = self._issuing.end_all(orphans, actor="limen", why="the client is not in the bundle any more")
        return ended + sum(self._stands(one) for one in live)

    def _of_all(self, connection: Connection, everybody: bool, people: frozenset[str]) -> list[Authorization]:
        """Return whom to look at, of everybody; forget the deadlines of those who are gone."""
        now, there = self._issuing.desk.clock.now(), rows.list_authorizations(connection)
        known = {one.id for one in there}
        self._due = {id_: at for id_, at in self._due.items() if id_ in known}
        return [one for one in there if everybody or one.person in people or self._is_due(one, now)]

    def _is_due(self, one: Authorization, now: Instant) -> bool:
        if one.id not in self._due:
            return True
        at = self._due[one.id]
        return at is not None and at <= now

    def _stands(self, live: Live) -> bool:
        """Decide an authorization again; end it when it would not be given. Return whether it ended."""
        answers = []
        try:
            for client in (live.client, *self._issuing.audiences(live.authorization.audiences)):
                answers.append(self._answer(live, client.ref))
        except LimenError as error:
            log.warning("oauth.not_decided", why=error.message)
            return False
        denial = next((answer for answer in answers if not answer.decision.allowed), None)
        if denial is None:
            deadlines = [a.decision.deadline_at for a in answers if a.decision.deadline_at is not None]
            self._due[live.authorization.id] = min(deadlines, default=None)
            return False
        if denial.decision.code in ENGINE_CODES:
            return False
        self._issuing.authority.record(denial, ISSUE_POINT)
        code = denial.decision.code
        why = f"decided again: {code}"
        with self._issuing.desk.ledger.entry("limen", why) as entry:
            ended = self._issuing.end(entry, live.authorization, why)
            if ended:
                entry.note(
                    "client.cut",
                    target=live.client.name,
                    person=live.authorization.person,
                    code=code.value,
                    decision=denial.request.id,
                )
        return ended

    def _answer(self, live: Live, client: EntityRef) -> Answer:
        subject = EntityRef("User", live.session.person)
        facts = session_facts(live.session.render_fact())
        return self._issuing.authority.stands(subject, SIGN_IN, client, facts, known_ip(live.session.ip))

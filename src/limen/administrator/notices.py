"""Telling people: a notice is queued in the caller's transaction, and sent later by somebody else.

Laws:
    N1 queued with what it tells of: notice and change are committed together, or neither is.
    N2 nobody waits for a mail server: queueing writes rows, and nothing else.
    N3 nothing in clear: address and facts (links among them) are sealed until they are sent.
    N4 told where they were: the address is the person's at the time of queueing, so that who changes it
       does not get what was meant for who had it.

How to use it, inside an entry: `desk.notices.queue(entry, "ada", "expiry", what="Your account", at=...)`.
The answer names the channels that will carry it. Empty: there is none for this person, so a link is shown to
the administrator instead. Who is given a link to hand over never learns it when it was sent.
"""

from collections.abc import Callable

import msgspec

from limen.administrator.ledger import Entry
from limen.administrator.notice_words import KINDS, Fact, NoticeKind
from limen.core.catalogue import Catalogue
from limen.core.errors import Unavailable
from limen.core.identity_config import NoticeConfig
from limen.core.ids import Instant, new_id
from limen.core.secret import Secret
from limen.store import directory
from limen.store.database import Transaction
from limen.store.notices import StoredNotice, add_notice
from limen.store.sealing import Sealer

SMTP, WEBHOOK = "smtp", "webhook"
LIFE_S = 259_200.0  # three days: a mail server that is away over a weekend
NOW = 0.0


class Told(msgspec.Struct, frozen=True):
    """What a notice says, and to whom: sealed in its row."""

    username: str
    name: str
    email: str
    facts: dict[str, Fact]


class Notices:
    """Queues notices. `services.notices` sends them. Threads may share it."""

    def __init__(self, sealer: Sealer, catalogue: Callable[[], Catalogue]) -> None:
        self._sealer = sealer
        self._catalogue = catalogue

    def channels(self, email: str) -> tuple[str, ...]:
        """Return what would carry a notice to a person with this address."""
        config = self.config()
        found = [SMTP] if config.smtp is not None and email else []
        return (*found, WEBHOOK) if config.webhook is not None else tuple(found)

    def config(self) -> NoticeConfig:
        """Return what the bundle in force says; nothing is configured without one."""
        try:
            return self._catalogue().sources.notices
        except Unavailable:
            return NoticeConfig()

    def queue(
        self,
        inside: Entry | Transaction,
        to_person: str,
        kind: NoticeKind,
        *,
        until: Instant | None = None,
        **facts: Fact,
    ) -> tuple[str, ...]:
        """Queue a notice on every channel that reaches a person; return the channels.

        Args:
            inside: what the caller writes in.
            to_person: a username. Whoever is not there, or has ended, is told nothing.
            kind: says which words; `notice_words.KINDS` lists the facts of each.
            until: when it is worthless (a link's end); three days by default.
            facts: what the words need. Links are secrets: here they are sealed.
        """
        tx = inside.tx if isinstance(inside, Entry) else inside
        assert set(facts) <= KINDS[kind].facts, f"{kind} knows {sorted(KINDS[kind].facts)}"
        person = directory.find_person(tx.connection, to_person)
        if person is None or person.status.value == "ended":
            return ()
        channels = self.channels(person.email)
        told = Told(person.id, person.name, person.email, dict(facts))
        notice = new_id("ntc")
        sealed = self._sealer.seal(Secret(msgspec.json.encode(told).decode()), seal_context(notice))
        for channel in channels:
            row = StoredNotice(
                id=notice,
                channel=channel,
                person=person.id,
                kind=kind,
                sealed=sealed,
                queued_at=tx.now,
                expires_at=tx.now + LIFE_S if until is None else until,
                next_at=NOW,
            )
            add_notice(tx.connection, row)
        return channels

    def open(self, row: StoredNotice) -> Told:
        """Return what a queued notice says.

        Raises:
            Invalid: it does not open with this state folder's key.
        """
        opened = self._sealer.open(row.sealed, seal_context(row.id))
        return msgspec.json.decode(opened.reveal(), type=Told)


def seal_context(notice: str) -> str:
    """Return what a notice's words are sealed for."""
    return f"notice:{notice}"

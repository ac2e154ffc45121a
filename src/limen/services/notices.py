"""Sending what is queued: again and again until it was taken, or is worthless. Laws N1, N2 and Q1 meet here.

Each pass claims due rows one by one, sends outside of any transaction, and writes what came of it. A
channel whose server is away is left alone for the rest of the pass, so that a dead server costs one timeout
and not one for each notice.
"""

import asyncio
from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from limen.administrator.desk import Desk
from limen.administrator.notice_words import write_notice
from limen.administrator.notices import SMTP, WEBHOOK
from limen.administrator.recovery import Recovery
from limen.core.errors import LimenError, Unavailable
from limen.core.identity_config import NoticeConfig
from limen.core.secret import Secret
from limen.services.notice_senders import (
    NotTaken,
    Outgoing,
    Sender,
    SmtpSender,
    WebhookSender,
)
from limen.store import notices as queue
from limen.store.notices import StoredNotice

EVERY_S = 1.0
BATCH = 50
LEASE_S = 120.0  # longer than any one send; who dies with one leaves it to others after that
RETRY_MIN_S, RETRY_MAX_S = 15.0, 1_800.0

SecretOf = Callable[[str], Secret[str]]

log = structlog.get_logger("limen.notices")


class NoticePump:
    """Announces recoveries, and sends notices. `run` never returns by itself."""

    def __init__(self, desk: Desk, secret: SecretOf, registry: CollectorRegistry) -> None:
        self._desk, self._secret = desk, secret
        self._recovery = Recovery(desk)
        self._waiting = Gauge("limen_notices_waiting", "Notices that wait to be sent.", registry=registry)
        self._sent = Counter("limen_notices_sent", "Notices that were taken.", ["channel"], registry=registry)
        self._failed = Counter(
            "limen_notices_failed", "Attempts that failed.", ["channel"], registry=registry
        )

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.send_due)
            except (LimenError, OSError) as error:  # the next pass tries again
                log.error("notices.failed", why=str(error))
            except Exception:  # a fault in one pass must not end all notices for good
                log.exception("notices.broken")
            await asyncio.sleep(EVERY_S)

    def send_due(self) -> int:
        """Make one pass; return how many were taken."""
        self._recovery.announce()
        store, now = self._desk.ledger.store, self._desk.clock.now()
        with store.read() as connection:
            due = queue.list_due(connection, now, BATCH)
            self._waiting.set(queue.count_notices(connection))
        if not due:
            return 0
        senders = _Senders(self._desk.notices.config(), self._secret)
        try:
            return sum(self._send(row, senders) for row in due if row.channel not in senders.away)
        finally:
            senders.close()

    def _send(self, row: StoredNotice, senders: "_Senders") -> bool:
        now = self._desk.clock.now()
        if row.expires_at <= now:
            self._give_up(row, row.error or "its time is over")
            return False
        with self._desk.ledger.store.transaction("limen", "claim a notice") as tx:
            if not queue.claim(tx.connection, row, now + LEASE_S):
                return False
        try:
            senders.find(row.channel).send(self._outgoing(row))
        except NotTaken as error:
            self._failed.labels(row.channel).inc()
            self._give_up(row, error.message)
            return False
        except LimenError as error:
            senders.away.add(row.channel)
            self._failed.labels(row.channel).inc()
            self._put_off(row, error)
            return False
        except Exception:  # one that cannot be written keeps no other waiting
            log.exception("notice.broken", notice=row.id)
            self._failed.labels(row.channel).inc()
            self._give_up(row, "it cannot be written: see control's log")
            return False
        self._sent.labels(row.channel).inc()
        with self._desk.ledger.entry("limen", "send notices") as entry:
            if queue.remove_notice(entry.tx.connection, row):
                entry.note("notice.sent", target=row.person, notice=row.id, about=row.kind, by=row.channel)
        return True

    def _outgoing(self, row: StoredNotice) -> Outgoing:
        told = self._desk.notices.open(row)
        domain = self._desk.catalogue().domain
        words = write_notice(row.kind, told.name, told.facts, domain)  # type: ignore[arg-type]
        return Outgoing(row.id, row.kind, told, words, domain, row.queued_at)

    def _put_off(self, row: StoredNotice, error: LimenError) -> None:
        wait_s = min(RETRY_MIN_S * 2.0 ** min(row.attempts, 16), RETRY_MAX_S)
        until = min(self._desk.clock.now() + wait_s, row.expires_at)
        why = f"{error.message} {error.remedy}".strip()
        log.warning("notice.put_off", channel=row.channel, why=why)
        with self._desk.ledger.store.transaction("limen", "put a notice off") as tx:
            queue.put_off(tx.connection, row, until, why)

    def _give_up(self, row: StoredNotice, why: str) -> None:
        with self._desk.ledger.entry("limen", "give a notice up") as entry:
            if queue.remove_notice(entry.tx.connection, row):
                entry.note(
                    "notice.undelivered", target=row.person, notice=row.id, about=row.kind, by=row.channel,
                    why=why,
                )  # fmt: skip


class _Senders:
    """The senders of one pass: made when first needed, from the bundle in force."""

    def __init__(self, config: NoticeConfig, secret: SecretOf) -> None:
        self._config, self._secret = config, secret
        self._made: dict[str, Sender] = {}
        self.away: set[str] = set()

    def find(self, channel: str) -> Sender:
        if channel not in self._made:
            self._made[channel] = self._make(channel)
        return self._made[channel]

    def _make(self, channel: str) -> Sender:
        if channel == SMTP and self._config.smtp is not None:
            return SmtpSender(self._config.smtp, self._secret)
        if channel == WEBHOOK and self._config.webhook is not None:
            return WebhookSender(self._config.webhook, self._secret)
        raise Unavailable(
            f"The bundle in force has no {channel} any more.", remedy="Add it to `notices:`.",
            code="NOTICE_CHANNEL_GONE",
        )  # fmt: skip

    def close(self) -> None:
        for sender in self._made.values():
            sender.close()

"""One sink: read what was written, send it, remember how far. Laws K1 to K3 of the package are kept here."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from limen.core.catalogue import ExportConfig
from limen.core.clock import Clock
from limen.core.errors import LimenError
from limen.core.secret import Secret
from limen.journal.export.formats import ENCODERS
from limen.journal.export.pseudonyms import Pseudonyms, check_key
from limen.journal.export.rows import Joiner, Row, Wanted
from limen.journal.export.text import spell_out
from limen.journal.follow import Follower, Stored
from limen.services.sinks.cursor import CursorFile, Kept
from limen.services.sinks.https import HttpsSender
from limen.services.sinks.otlp import OtlpSender
from limen.services.sinks.ports import Away, Message, NotTaken, Sender
from limen.services.sinks.syslog import Closings, SyslogSender
from limen.services.sinks.tls import collector_context

BATCH = 1_000  # records read at once; two batches are the most that a sink holds (law K2)
CHUNK = 250  # messages confirmed at once
REFUSED_IN_A_ROW_MAX = 10  # more of them mean the collector, not the content

SecretOf = Callable[[str], Secret[str]]

log = structlog.get_logger("limen.sinks")


class Pace(NamedTuple):
    """How often a sink looks, and how long it waits after a failure (seconds)."""

    look_every_s: float = 1.0
    retry_min_s: float = 0.5
    retry_max_s: float = 60.0


class SinkStatus(msgspec.Struct):
    """What is known of a sink.

    Attributes:
        state: `sending`, `idle` (all is sent) or `failing`.
        sent, refused, missed: as in `Kept`.
        failures: attempts that failed since this process began.
        lag_s: age of the oldest record that waits.
        error: why the last attempt failed; empty after one that did not.
    """

    name: str
    kind: str
    url: str
    state: str = "idle"
    sent: int = 0
    refused: int = 0
    missed: int = 0
    failures: int = 0
    lag_s: float = 0.0
    last_sent_at: float | None = None
    error: str = ""
    cursor: dict[str, tuple[str, int]] = {}


class _Batch(NamedTuple):
    records: list[Stored]
    cursor: dict[str, tuple[str, int]]  # behind them


class Pump:
    """Sends one journal root's records to one collector. `run` never returns by itself."""

    def __init__(
        self, root: Path, folder: Path, config: ExportConfig, *, secret: SecretOf, clock: Clock, pace: Pace
    ) -> None:
        self.config = config
        self._root, self._secret, self._clock, self._pace = root, secret, clock, pace
        self._file = CursorFile(folder, config.name)
        self._kept = Kept()
        self._joiner = Joiner(Wanted(config.classes))
        self._sender: Sender | None = None
        self._pseudonyms: Pseudonyms | None = None
        self._waiting_since: float | None = None
        self._closings = Closings()
        self._refused_in_a_row = 0
        self._retry_s = pace.retry_min_s
        self._status = SinkStatus(config.name, config.kind, config.url.partition("?")[0])

    def status(self) -> SinkStatus:
        """Return how it goes."""
        waiting = self._waiting_since
        kept = self._kept
        return msgspec.structs.replace(
            self._status,
            sent=kept.sent,
            refused=kept.refused,
            missed=kept.missed,
            lag_s=0.0 if waiting is None else max(0.0, self._clock.now() - waiting),
            cursor=dict(kept.cursor),
        )

    async def run(self) -> None:
        """Send until cancelled."""
        self._kept = await asyncio.to_thread(self._file.load)
        follower = Follower(self._root, self._kept.cursor)
        batch = await self._poll(follower)
        try:
            while True:
                if batch.records:
                    self._waiting_since = _oldest(batch.records)
                    self._status.state = "failing" if self._status.error else "sending"
                else:
                    self._waiting_since, self._status.state, self._status.error = None, "idle", ""
                if len(batch.records) < BATCH:  # time for outcomes to come, too
                    await asyncio.sleep(self._pace.look_every_s)
                ahead = await self._poll(follower)
                if batch.records:
                    await self._deliver(self._joiner.rows(batch.records, ahead.records))
                    await self._commit(batch)
                batch = ahead
        finally:
            await self._let_go()

    # --- reading -----------------------------------------------------------------------------------

    async def _poll(self, follower: Follower) -> _Batch:
        while True:
            try:
                return await asyncio.to_thread(lambda: _Batch(follower.poll(BATCH), follower.cursor))
            except (LimenError, OSError) as error:
                await self._wait(str(error))

    async def _commit(self, batch: _Batch) -> None:
        missed = _missing(batch.records, self._kept.cursor)
        self._kept = msgspec.structs.replace(
            self._kept, cursor=batch.cursor, missed=self._kept.missed + missed
        )
        if missed:
            log.error("sink.missed", sink=self.config.name, records=missed)
        while True:
            try:
                await asyncio.to_thread(self._file.save, self._kept)
            except OSError as error:  # a full disk: what was sent is sent again after a restart, no more
                await self._wait(f"The cursor could not be kept: {error.strerror}.")
            else:
                return

    # --- sending -----------------------------------------------------------------------------------

    async def _deliver(self, rows: Sequence[Row]) -> None:
        """Return once the collector has everything, or has refused it for good."""
        waiting = deque(chunks(rows))
        while waiting:
            chunk = waiting.popleft()
            self._waiting_since = chunk[0].at
            try:
                await self._send(chunk)
            except NotTaken as error:
                waiting.extendleft(reversed(await self._divide(chunk, error)))
            except LimenError as error:
                waiting.appendleft(chunk)
                await self._wait(error.message, error.after_s if isinstance(error, Away) else 0.0)
            else:
                self._succeeded(len(chunk))

    async def _send(self, chunk: Sequence[Row]) -> None:
        if self._sender is None:
            self._sender = await asyncio.to_thread(self._connect)
        messages = await asyncio.to_thread(self._encode, chunk)
        await self._sender.send(messages)

    def _connect(self) -> Sender:
        """Return a new sender; secrets are read anew. Without its pseudonym key a sink sends nothing."""
        config = self.config
        if config.pseudonyms is not None:
            key = self._secret(config.pseudonyms).reveal().encode()
            self._pseudonyms = Pseudonyms(check_key(key, f"The secret {config.pseudonyms}"))
        context = collector_context(config.ca_pem)
        if config.kind == "syslog":
            return SyslogSender(config.url, context, self._closings)
        token = None if config.secret is None else self._secret(config.secret)
        if config.kind == "otlp":
            return OtlpSender(config.url, context, token)
        return HttpsSender(config.url, context, token, as_array=config.format == "ocsf")

    def _encode(self, chunk: Sequence[Row]) -> list[Message]:
        encode = ENCODERS[self.config.format]
        if self._pseudonyms is None:
            return [Message(row, encode(row)) for row in chunk]
        hidden = [msgspec.structs.replace(row, fields=self._pseudonyms.apply(row.fields)) for row in chunk]
        return [Message(row, encode(row)) for row in hidden]

    async def _divide(self, chunk: Sequence[Row], error: NotTaken) -> list[Sequence[Row]]:
        """Return what is sent instead of a chunk that was refused: its halves; nothing, of a single one."""
        if len(chunk) > 1:
            middle = len(chunk) // 2
            return [chunk[:middle], chunk[middle:]]
        if self._refused_in_a_row >= REFUSED_IN_A_ROW_MAX:
            await self._wait(error.message)
            return [chunk]
        self._refused_in_a_row += 1
        await asyncio.to_thread(self._file.set_aside, chunk[0].uid, spell_out(error.message))
        self._kept = msgspec.structs.replace(self._kept, refused=self._kept.refused + 1)
        log.error("sink.refused", sink=self.config.name, record=chunk[0].uid, why=error.message)
        return []

    def _succeeded(self, count: int) -> None:
        self._refused_in_a_row = 0
        self._retry_s = self._pace.retry_min_s
        self._kept = msgspec.structs.replace(self._kept, sent=self._kept.sent + count)
        self._status.error, self._status.state = "", "sending"
        self._status.last_sent_at = self._clock.now()

    async def _wait(self, why: str, after_s: float = 0.0) -> None:
        """Note a failure, drop the connection, and wait: longer each time, with jitter."""
        why = spell_out(why)  # a collector may have had a hand in it, and a terminal shows it
        if why != self._status.error:
            log.warning("sink.failing", sink=self.config.name, why=why)
        self._status.error, self._status.state = why, "failing"
        self._status.failures += 1
        await self._let_go()
        await asyncio.sleep(max(after_s, self._retry_s * random.uniform(0.5, 1.0)))  # noqa: S311 (jitter)
        self._retry_s = min(self._retry_s * 2, self._pace.retry_max_s)

    async def _let_go(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            with contextlib.suppress(OSError):
                await sender.close()


def chunks(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """Return rows in pieces, each of one boot of one node, so that its first and last place name it."""
    found: list[Sequence[Row]] = []
    for _, run in groupby(rows, key=lambda row: (row.node, row.boot)):
        whole = list(run)
        found += [whole[start : start + CHUNK] for start in range(0, len(whole), CHUNK)]
    return found


def _oldest(records: Sequence[Stored]) -> float | None:
    """Return the instant of the first record that has one."""
    return next((at for stored in records if (at := getattr(stored.record, "at", None)) is not None), None)


def _missing(records: Sequence[Stored], cursor: dict[str, tuple[str, int]]) -> int:
    """Return how many records were gone before they were read: positions that were passed over."""
    expected = dict(cursor)
    missing = 0
    for node, boot, position, _ in records:
        known = expected.get(node)
        if known is not None:
            missing += position - (known[1] if known[0] == boot else 0)
        expected[node] = (boot, position + 1)
    return missing

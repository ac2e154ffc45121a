"""The writer: one per node and folder. A record is in the file before `append` returns.

Laws:
    J3 acknowledged. Once `append` has returned, the record survives the death of this process; once
        the next sync has run (each half second, or at once with `sync`), the death of the machine.
        Where a full disk is to be bridged (`on_full: buffer`), what waits in memory survives neither; that
        it waits, and how much of it, is itself recorded, and so is its loss.
    J4 refused, not lost. A record that cannot be written, nor wait, raises; no half of it stays behind.
        Records that are appended together are acknowledged or refused together.
    J5 self-contained. The inputs and the bundle that a decision needs are in the decision's own segment,
        so removing a segment breaks no decision of another.
"""

import hmac
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NewType, Self

import structlog

from limen.core.catalogue import JournalConfig
from limen.core.clock import Clock
from limen.core.errors import Unavailable
from limen.core.ids import new_id
from limen.core.record import EventRecord, Record
from limen.journal.buffer import Buffer, find_lost
from limen.journal.chain import Chain
from limen.journal.intake import Intake, Once
from limen.journal.keys import Keys
from limen.journal.note import Signer
from limen.journal.opening import load_salt, lock_node, recover
from limen.journal.options import SEGMENT_BYTES, JournalOptions
from limen.journal.reserve import Reserve
from limen.journal.segment_file import Write
from limen.journal.segments import Loss, SegmentName, check_sealed, list_segments

__all__ = ["SEGMENT_BYTES", "Journal", "JournalOptions", "Once", "Position"]

SYNC_EVERY_S = 0.5  # so that a record is on the disk within a second, the sync itself included
DEFAULT = JournalOptions()

Position = NewType("Position", int)
"""Place of a record among those of this boot of this node."""

log = structlog.get_logger("limen.journal")


class Journal:
    """The append-only record of one node. Safe to use from several threads.

    Attributes:
        boot: name of this opening.
        losses: what the checks at start found missing; complete once `wait_checked` returns True.
        full: the disk is full: only events (revocation, administration) are written.
    """

    @classmethod
    def open(
        cls,
        root: Path,
        node: str,
        clock: Clock,
        *,
        options: JournalOptions = DEFAULT,
        keys: Keys | None = None,
        signer: Signer | None = None,
        write: Write = os.write,
    ) -> Self:
        """Open the journal of `node` under `root` for writing, after checking what is there.

        Segments that were not sealed are checked and sealed before this returns; sealed ones are
        checked by a thread meanwhile. Whatever is lost is logged, kept in `losses` and written as an
        event of kind `journal.loss`.

        Args:
            keys: what records about people are sealed under; by default, the keys of this folder.
            signer: signs checkpoints; none are written without it.

        Raises:
            Invalid: the node's name is not a DNS label, or the journal was written by a newer release.
            Conflict: another process writes this node's journal.
        """
        directory, lock_file = lock_node(root, node)
        reserve = Reserve(directory / "reserve", options.reserve_bytes)
        try:
            reserve.release()  # a full disk must not keep the journal from opening
            names = list_segments(directory)
            losses = (*recover(names, clock), *find_lost(directory))
            chain = Chain(directory, clock, options.segment_bytes, write, signer)
            parts = chain, reserve, Buffer(directory), keys or Keys.open(root)
            journal = cls(*parts, clock, options=options, salt=load_salt(root))
        except BaseException:
            os.close(lock_file)
            raise
        journal._start(lock_file, names, losses)
        return journal

    def __init__(
        self,
        chain: Chain,
        reserve: Reserve,
        buffer: Buffer,
        keys: Keys,
        clock: Clock,
        *,
        options: JournalOptions,
        salt: bytes,
    ) -> None:
        """Use `open`."""
        self.boot = chain.boot
        self.losses: tuple[Loss, ...] = ()
        self._chain, self._keys, self._clock, self._salt = chain, keys, clock, salt
        self._intake = Intake(chain, reserve, buffer, keys, clock, options=options, tell=self._tell)
        self._lock = chain.lock
        self._syncing = threading.Lock()
        self._closed = threading.Event()
        self._checked = threading.Event()

    @property
    def full(self) -> bool:
        """Whether the disk is full: only events (revocation, administration) are written."""
        return self._intake.full

    @property
    def waiting(self) -> int:
        """How many records wait in memory for space."""
        with self._lock:
            return len(self._intake.buffer)

    def configure(self, config: JournalConfig) -> None:
        """Go on as the bundle says. What waits in memory goes on waiting, whatever it says."""
        with self._lock:
            self._intake.options = self._intake.options.under(config)

    def append(self, record: Record, *, urgent: bool = False) -> Position | None:
        """Write one record. `urgent` ones, and events, may use the reserve of a full disk.

        Returns its position; None while it waits in memory for space.

        Raises:
            Unavailable: it was not written (`JOURNAL_FULL`, `JOURNAL_FAILED`, `JOURNAL_CLOSED`).
        """
        return self.append_many((record,), urgent=urgent)

    def append_many(self, items: Sequence[Record | Once], *, urgent: bool = False) -> Position | None:
        """Write records with one write and, with `sync`, one wait for the disk: all of them, or none.

        Returns the position of the last. Never starts a new segment between them (law J5).

        Raises:
            Unavailable: as `append`.
        """
        if isinstance(items[0], EventRecord):
            urgent = urgent or all(isinstance(item, EventRecord) for item in items)
        with self._lock:
            position = self._intake.take(items, urgent=urgent)
            sync = self._intake.options.sync
        if sync:
            self.flush()
        return None if position is None else Position(position)

    def salted(self, content: bytes) -> str:
        """Return the salted hash (32 hex digits) under which inputs of this content are stored.

        The salt is the journal's own, so the hash tells nobody outside what the content was.
        """
        return hmac.digest(self._salt, content, "sha256").hex()[:32]

    def flush(self) -> None:
        """Wait until every record appended so far is on the disk.

        Raises:
            Unavailable: the disk did not take them (`JOURNAL_FAILED`).
        """
        intake = self._intake
        with self._syncing:  # whoever finds nothing to do has waited for the one who did it
            if intake.failure:
                raise intake.unavailable()
            try:
                self._chain.sync()
            except OSError as error:
                # After a failed sync the kernel may have dropped the pages: nothing since the last good
                # one can be vouched for, so nothing more is acknowledged.
                intake.failure = f"The journal could not be synced: {error.strerror}."
                raise intake.unavailable() from error

    def tend(self) -> None:
        """Do what is due: sync, retention, a daily new segment, the end of a full disk.

        The journal's own thread calls this each `SYNC_EVERY_S`.
        """
        self.flush()
        self._chain.tend(self._intake.options.retention)
        self._intake.recover()
        while self._intake.buffer and not self._intake.full:
            with self._lock:  # once for each piece: decisions go on between them
                self._intake.drain()

    def wait_checked(self, timeout_s: float | None = None) -> bool:
        """Wait for the check of sealed segments. Returns whether it is done."""
        return self._checked.wait(timeout_s)

    def close(self) -> None:
        """Seal the segment, sync, and let go. A second call does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._syncer.join()
        self._checker.join()
        try:
            with self._lock:
                self._drain_last()
                self._intake.closed = True
                self._chain.seal()
            if not self._intake.failure:
                self.flush()
        finally:
            self._chain.close()
            self._keys.close()
            os.close(self._lock_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drain_last(self) -> None:
        """Write what still waits. What does not fit is lost; the marker stays, and the next start says so."""
        intake = self._intake
        try:
            while intake.buffer and intake.drain():
                pass
        except Unavailable as error:
            log.error("journal.failed", why=error.message)
        if intake.buffer:
            log.error("journal.buffer_lost", node=self._chain.node, records=len(intake.buffer))

    # --- the journal's own threads ----------------------------------------------------------------

    def _start(self, lock_file: int, names: tuple[SegmentName, ...], losses: tuple[Loss, ...]) -> None:
        self._lock_file = lock_file
        self._report(losses)
        self._chain.prune(self._intake.options.retention)
        self._syncer = threading.Thread(target=self._keep_synced, name="limen-journal-sync", daemon=True)
        self._checker = threading.Thread(
            target=self._check, args=(names,), name="limen-journal-check", daemon=True
        )
        self._syncer.start()
        self._checker.start()

    def _keep_synced(self) -> None:
        while not self._closed.wait(SYNC_EVERY_S):
            try:
                self.tend()
            except Unavailable as error:
                log.error("journal.failed", why=error.message)
                return
            except OSError as error:  # retention or the reserve; what is recorded is safe
                log.error("journal.not_tended", why=str(error))

    def _check(self, names: tuple[SegmentName, ...]) -> None:
        for name in names:
            if self._closed.is_set():
                return
            if name.path.exists():  # retention may have removed it meanwhile
                self._report(check_sealed(name.path))
        self._checked.set()

    def _report(self, losses: tuple[Loss, ...]) -> None:
        self.losses += losses
        for loss in losses:
            found = {"offset": loss.offset, "bytes": loss.size, "records": loss.records}
            log.error("journal.loss", segment=loss.segment, **found)
            self._tell("journal.loss", found, target=Path(loss.segment).name)

    def _tell(self, kind: str, data: dict[str, Any], target: str = "") -> None:
        """Record an event of the journal's own. One that cannot be written is logged."""
        event = EventRecord(
            id=new_id("evt"),
            at=self._clock.now(),
            node=self._chain.node,
            kind=kind,
            actor="journal",
            target=target,
            data=data,
        )
        try:
            self.append(event)
        except Unavailable as error:
            log.error("journal.event_not_recorded", event_kind=kind, why=error.message)

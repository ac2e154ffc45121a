"""The writer: one per node and folder. A record is in the file before `append` returns.

Laws:
    J3 acknowledged. Once `append` has returned, the record survives the death of this process; once
        the next sync has run (each half second, or at once with `sync`), the death of the machine.
    J4 refused, not lost. A record that cannot be written raises; no half of it stays behind.
    J5 self-contained. The inputs and the bundle that `append_once` stores before a decision are in
        the decision's own segment, so removing a segment breaks no decision of another.
"""

import hmac
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NewType, Self

import msgspec
import structlog

from limen.core.clock import Clock
from limen.core.errors import Unavailable
from limen.core.ids import new_id
from limen.core.record import BundleRecord, EventRecord, InputsRecord, Record
from limen.journal.chain import Chain
from limen.journal.opening import load_salt, lock_node, recover
from limen.journal.records import KIND_OF, encode_record
from limen.journal.reserve import NO_SPACE, RESERVE_BYTES, Reserve
from limen.journal.retention import Retention
from limen.journal.segment_file import Write
from limen.journal.segments import (
    Loss,
    SegmentName,
    check_sealed,
    list_segments,
)

SYNC_EVERY_S = 0.5  # so that a record is on the disk within a second, the sync itself included
SEGMENT_BYTES = 64 * 1024 * 1024

Position = NewType("Position", int)
"""Place of a record among those of this boot of this node."""

log = structlog.get_logger("limen.journal")


class JournalOptions(msgspec.Struct, frozen=True):
    """How a journal is kept. By default every segment is kept for ever: see `Retention`.

    Attributes:
        sync: wait for the disk before `append` returns.
        segment_bytes: size at which the next segment starts.
        reserve_bytes: space held back for a full disk; 0 holds none.
    """

    sync: bool = False
    segment_bytes: int = SEGMENT_BYTES
    reserve_bytes: int = RESERVE_BYTES
    retention: Retention = Retention()


DEFAULT = JournalOptions()


class Journal:
    """The append-only record of one node. Safe to use from several threads.

    Attributes:
        boot: name of this opening.
        losses: what the checks at start found missing; complete once `wait_checked` returns True.
        full: the disk is full: only events (revocation, administration) are taken.
    """

    @classmethod
    def open(
        cls,
        root: Path,
        node: str,
        clock: Clock,
        *,
        options: JournalOptions = DEFAULT,
        write: Write = os.write,
    ) -> Self:
        """Open the journal of `node` under `root` for writing, after checking what is there.

        Segments that were not sealed are checked and sealed before this returns; sealed ones are
        checked by a thread meanwhile. Whatever is lost is logged, kept in `losses` and written as an
        event of kind `journal.loss`.

        Raises:
            Invalid: the node's name is not a DNS label, or the journal was written by a newer release.
            Conflict: another process writes this node's journal.
        """
        directory, lock_file = lock_node(root, node)
        reserve = Reserve(directory / "reserve", options.reserve_bytes)
        try:
            reserve.release()  # a full disk must not keep the journal from opening
            names = list_segments(directory)
            losses = recover(names, clock)
            chain = Chain(directory, clock, options.segment_bytes, write)
            journal = cls(chain, clock, options, reserve, load_salt(root))
        except BaseException:
            os.close(lock_file)
            raise
        journal._start(lock_file, names, losses)
        return journal

    def __init__(
        self, chain: Chain, clock: Clock, options: JournalOptions, reserve: Reserve, salt: bytes
    ) -> None:
        """Use `open`."""
        self.boot = chain.boot
        self.losses: tuple[Loss, ...] = ()
        self.full = not reserve.take()
        self._chain, self._clock, self._options, self._reserve = chain, clock, options, reserve
        self._salt = salt
        self._lock = chain.lock
        self._known: set[tuple[str, str]] = set()
        self._failure = ""
        self._closed = threading.Event()
        self._checked = threading.Event()

    def append(self, record: Record, *, urgent: bool = False) -> Position:
        """Write one record. `urgent` ones, and events, may use the reserve of a full disk.

        Raises:
            Unavailable: it was not written (`JOURNAL_FULL`, `JOURNAL_FAILED`, `JOURNAL_CLOSED`).
        """
        payload = encode_record(record)
        with self._lock:
            position = self._put(record, payload, urgent)
            if self._chain.rotate_if_due():
                self._known.clear()
                if self._options.sync:
                    self.flush()
        return Position(position)

    def append_once(
        self, kind: str, record_id: str, make: Callable[[], Record], *, urgent: bool = False
    ) -> bool:
        """Write the record that `make` returns unless this segment has it. `kind` is `inputs` or `bundle`.

        Call it before the decision that needs it. Returns whether something was written. Never
        starts a new segment (law J5).

        Raises:
            Unavailable: as `append`.
        """
        key = (kind, record_id)
        if key in self._known:
            return False
        record = make()
        assert isinstance(record, InputsRecord | BundleRecord)
        assert record.id == record_id
        with self._lock:
            if key in self._known:
                return False
            self._put(record, encode_record(record), urgent)
            self._known.add(key)
        return True

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
        try:
            self._chain.sync()
        except OSError as error:
            # After a failed sync the kernel may have dropped the pages: nothing since the last good
            # one can be vouched for, so nothing more is acknowledged.
            self._failure = f"The journal could not be synced: {error.strerror}."
            raise self._unavailable() from error

    def tend(self) -> None:
        """Do what is due: sync, retention, a daily new segment, the end of a full disk.

        The journal's own thread calls this each `SYNC_EVERY_S`.
        """
        self.flush()
        self._chain.tend(self._options.retention)
        if self.full and self._reserve.take():
            self.full = False
            log.info("journal.space_again", node=self._chain.node)

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
                self._chain.seal()
            if not self._failure:
                self.flush()
        finally:
            self._chain.close()
            os.close(self._lock_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- writing ----------------------------------------------------------------------------------

    def _put(self, record: Record, payload: bytes, urgent: bool) -> int:
        urgent = urgent or isinstance(record, EventRecord)
        if self._failure or self._closed.is_set() or (self.full and not urgent):
            raise self._unavailable()
        kind = KIND_OF[type(record)]
        try:
            position = self._chain.append(kind, payload)
        except OSError as error:
            self._note(error)
            if not (self.full and urgent):
                raise self._unavailable() from error
            try:
                position = self._chain.append(kind, payload)
            except OSError as again:
                raise self._unavailable() from again
        if self._options.sync:
            self.flush()
        return position

    def _note(self, error: OSError) -> None:
        if error.errno in NO_SPACE:
            self.full = True
            self._reserve.release()
        else:
            self._failure = f"The journal could not be written: {error.strerror}."
        log.error("journal.not_written", why=error.strerror, node=self._chain.node)

    def _unavailable(self) -> Unavailable:
        if self._closed.is_set():
            return Unavailable(
                "The journal is closed.", remedy="Start the process again.", code="JOURNAL_CLOSED"
            )
        if self._failure:
            return Unavailable(
                self._failure, remedy="Repair the disk, then start the process again.", code="JOURNAL_FAILED"
            )
        return Unavailable(
            "The journal's disk is full, so nothing is allowed that could not be recorded.",
            remedy="Free some space; decisions go on by themselves.",
            code="JOURNAL_FULL",
        )

    # --- the journal's own threads ----------------------------------------------------------------

    def _start(self, lock_file: int, names: tuple[SegmentName, ...], losses: tuple[Loss, ...]) -> None:
        self._lock_file = lock_file
        self._report(losses)
        self._chain.prune(self._options.retention)
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
            event = EventRecord(
                id=new_id("evt"),
                at=self._clock.now(),
                node=self._chain.node,
                kind="journal.loss",
                actor="journal",
                target=Path(loss.segment).name,
                data=found,
            )
            try:
                self.append(event)
            except Unavailable as error:
                log.error("journal.loss_not_recorded", why=error.message)

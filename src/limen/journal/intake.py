"""Where a record goes: into the file, into memory until there is space, or back to whoever wanted it kept.

Law:
    J4 refused, not lost. A record that cannot be written, nor wait, raises; no half of it stays behind.
        Records that are appended together are acknowledged or refused together.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import structlog

from limen.core.clock import Clock
from limen.core.errors import Unavailable
from limen.core.record import BundleRecord, EventRecord, InputsRecord, Record
from limen.journal.buffer import Buffer, Entries, Name
from limen.journal.chain import Chain
from limen.journal.frame import Kind
from limen.journal.keys import FULL, Keys
from limen.journal.options import BUFFER, JournalOptions
from limen.journal.owners import event_owners
from limen.journal.records import KIND_OF, encode_record
from limen.journal.reserve import NO_SPACE, Reserve

log = structlog.get_logger("limen.journal")


class Once(NamedTuple):
    """A record that each segment needs once: `make` is called where it is not there yet.

    `kind` is `inputs` or `bundle`. It stands before the decision that needs it.
    """

    kind: str
    id: str
    make: Callable[[], Record]


class Intake:
    """Takes records. The chain's lock guards all of it.

    Attributes:
        options: how the journal is kept now.
        full: the disk is full: only urgent records are written.
        failure: why nothing is written any more; empty while the disk works.
        closed: the journal takes nothing any more.
        known: which inputs and bundles the open segment has.
        buffer: what waits for space.
    """

    def __init__(
        self,
        chain: Chain,
        reserve: Reserve,
        buffer: Buffer,
        keys: Keys,
        clock: Clock,
        *,
        options: JournalOptions,
        tell: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """Take records for `chain`. `tell` records an event of the journal's own."""
        self.options = options
        self.full = not reserve.take()
        self.failure = ""
        self.closed = False
        self.known: set[Name] = set()
        self.buffer = buffer
        self._chain, self._reserve, self._keys = chain, reserve, keys
        self._clock, self._tell = clock, tell

    def take(self, items: Sequence[Record | Once], *, urgent: bool) -> int | None:
        """Write records with one write, what is urgent before what waits. Returns the last one's position.

        None if they wait in memory, or are there already.

        Raises:
            Unavailable: neither (`JOURNAL_FULL`, `JOURNAL_FAILED`, `JOURNAL_CLOSED`, `KEYS_FAILED`).
        """
        entries, fresh = self._encode(items, urgent)
        if not entries:
            return None
        if self.failure or self.closed:
            raise self.unavailable()
        first = self._put(entries, urgent)
        if first is None:
            self._hold(entries, fresh)
            return None
        self.known |= fresh
        self._rotate()
        return first + len(entries) - 1

    def drain(self) -> bool:
        """Write some of what waits, in order. Returns whether that was possible.

        Raises:
            Unavailable: the disk failed.
        """
        buffer = self.buffer
        entries, groups = buffer.first()
        try:
            self._chain.append_many(entries)
        except OSError as error:
            self.note(error)
            if self.failure:
                raise self.unavailable() from error
            return False
        known = buffer.drop(groups)
        if not buffer:
            self.known |= known
            self._rotate()
            about = {"since": buffer.since, "until": self._clock.now(), "records": buffer.held}
            self._tell("journal.drained", {**about, "bytes": buffer.held_bytes})
            log.info("journal.drained", node=self._chain.node, **about)
        return True

    def fill(self) -> None:
        """Note that the disk is full, and give the reserve back."""
        self.full = True
        self._reserve.release()

    def recover(self) -> None:
        """Find out whether a full disk has space again."""
        if self.full and self._reserve.take():
            self.full = False
            log.info("journal.space_again", node=self._chain.node)

    def note(self, error: OSError) -> None:
        """Note that the disk did not take something."""
        if error.errno in NO_SPACE:
            self.fill()
        else:
            self.failure = f"The journal could not be written: {error.strerror}."
        log.error("journal.not_written", why=error.strerror, node=self._chain.node)

    def unavailable(self) -> Unavailable:
        """Return the error that says why nothing is written."""
        if self.closed:
            return Unavailable(
                "The journal is closed.", remedy="Start the process again.", code="JOURNAL_CLOSED"
            )
        if self.failure:
            return Unavailable(
                self.failure, remedy="Repair the disk, then start the process again.", code="JOURNAL_FAILED"
            )
        return Unavailable(
            "The journal's disk is full, so nothing is allowed that could not be recorded.",
            remedy="Free some space; decisions go on by themselves.",
            code="JOURNAL_FULL",
        )

    # --- inside -----------------------------------------------------------------------------------

    def _put(self, entries: Entries, urgent: bool) -> int | None:
        """Write, and return the first position; None if the disk is full and it may wait."""
        if not urgent and (self.full or self.buffer):
            return None
        try:
            return self._chain.append_many(entries)
        except OSError as error:
            self.note(error)
            if not self.full:
                raise self.unavailable() from error
        if not urgent:
            return None
        try:
            return self._chain.append_many(entries)  # in the space that was held back
        except OSError as error:
            raise self.unavailable() from error

    def _hold(self, entries: Entries, fresh: set[Name]) -> None:
        """Keep records in memory, if the bundle wants it and there is room."""
        options, begins = self.options, not self.buffer
        wanted = options.on_full == BUFFER
        if not wanted or not self.buffer.hold(entries, options.buffer_bytes, self._clock.now()):
            raise self.unavailable()
        self.buffer.known |= fresh
        if begins:
            log.error("journal.buffered", node=self._chain.node, bytes_max=options.buffer_bytes)
            self._tell("journal.buffered", {"since": self.buffer.since, "bytes_max": options.buffer_bytes})

    def _rotate(self) -> None:
        """Start the next segment if one is due, and nothing waits that leans on this one (law J5)."""
        if not self.buffer and self._chain.rotate_if_due():
            self.known.clear()

    def _encode(self, items: Sequence[Record | Once], urgent: bool) -> tuple[Entries, set[Name]]:
        """Return what is to be written, and the names of the inputs and bundles in it."""
        try:
            return self._encoded(items, urgent)
        except Unavailable as error:
            if error.code != FULL:
                raise
            self.fill()  # the key of somebody new may fit into the space that was held back
            if not urgent and self.options.on_full != BUFFER:
                raise self.unavailable() from error
            return self._encoded(items, urgent)

    def _encoded(self, items: Sequence[Record | Once], urgent: bool) -> tuple[Entries, set[Name]]:
        entries: list[tuple[Kind, bytes]] = []
        fresh: set[Name] = set()
        self._keys.make_for(_new_owners(items))
        for item in items:
            record = self._missing(item, fresh, urgent) if isinstance(item, Once) else item
            if record is not None:
                entries.append((KIND_OF[type(record)], encode_record(record, self._keys)))
        return entries, fresh

    def _missing(self, once: Once, fresh: set[Name], urgent: bool) -> Record | None:
        """Make a record that the segment has not. An urgent one may not lean on what waits (law J5)."""
        name = (once.kind, once.id)
        if name in self.known or name in fresh or (not urgent and name in self.buffer.known):
            return None
        fresh.add(name)
        record = once.make()
        assert isinstance(record, InputsRecord | BundleRecord)
        assert record.id == once.id
        return record


def _new_owners(items: Sequence[Record | Once]) -> set[str]:
    """Return whom several events tell of: an import has an event for each of thousands of new people."""
    events = [item for item in items if isinstance(item, EventRecord)] if len(items) > 1 else ()
    clear = (event for event in events if not event.key and not event.actor_key)
    return {owner for event in clear for owner in event_owners(event) if owner is not None}

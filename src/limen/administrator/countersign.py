"""Control's countersigner: it vouches for a node's newest checkpoint once it has seen that the tree grew.

For each node under the journal's folder, at each tick:

1. the checkpoint is signed by the node's key: the first that it ever showed (table `journal_node`);
2. the records in the segments have the root that it states;
3. that tree goes on from the one that was countersigned last, boot after boot.

Then it is countersigned (C2SP tlog-cosignature, with control's time), kept in `STATE/checkpoints/<node>`,
apart from the journal, and copied to the witness folder. What does not fit is an event of the journal
(`journal.inconsistent`, `journal.key_changed`), told once, and is not countersigned.

Laws:
    K2 grown. Of two countersigned checkpoints of one boot, the later tree has grown out of the earlier.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from limen.administrator.ledger import EventSink
from limen.administrator.node_trust import row_of
from limen.core.clock import Clock
from limen.core.errors import Invalid, LimenError
from limen.core.ids import new_id
from limen.core.record import EventRecord
from limen.journal import stored
from limen.journal.checkpoints import (
    CHECKPOINTS,
    KEY_FILE,
    Checkpoint,
    SignedCheckpoint,
    append_note,
    open_checkpoint,
    read_notes,
)
from limen.journal.growth import Inconsistent, Place, boots_between, first_header
from limen.journal.note import Algorithm, Note, Signer, verify_note
from limen.journal.removals import REMOVED
from limen.journal.statements import SKEW_S, removed_until
from limen.store.database import Store
from limen.store.journal_nodes import keep_node_key, load_node_key

PAUSE_S = 0.002  # between slices, so that what serves is not kept waiting
AGAIN_AFTER_S = 600.0  # a node that was inconsistent is read again after this
TAIL_BYTES = 64 * 1024  # of a file of checkpoints: the newest

log = structlog.get_logger("limen.journal")


def _pause() -> None:
    time.sleep(PAUSE_S)


class _Seen(NamedTuple):
    """The last checkpoint of a node that was countersigned.

    Attributes:
        place: how far its segments were read; None when they are not what was countersigned, or retention
            has removed them.
    """

    checkpoint: Checkpoint
    place: Place | None


class Countersigner:
    """Countersigns the checkpoints of all nodes. Call `tick` from one thread."""

    def __init__(
        self,
        journal: Path,
        folder: Path,
        signer: Signer,
        *,
        store: Store,
        clock: Clock,
        note: EventSink,
        witness: Callable[[], str] = lambda: "",
        pause: Callable[[], None] = _pause,
        node: str = "control",
    ) -> None:
        """Countersign what lies under `journal`, and keep it in `folder`.

        Args:
            witness: the folder that copies go to, as configured now; empty for none.
            pause: called between slices of work.
        """
        self._journal, self._folder, self._signer = journal, folder, signer
        self._store, self._clock, self._note = store, clock, note
        self._witness, self._pause, self._node = witness, pause, node
        self._seen: dict[str, _Seen] = {}
        self._told: dict[str, str] = {}
        self._rest_until_s: dict[str, float] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / KEY_FILE).write_text(f"{signer.key(Algorithm.COSIGNATURE)}\n", "utf-8")

    def tick(self) -> None:
        """Countersign what is new of every node. What is wrong with one does not keep the others waiting."""
        for node in stored.list_nodes(self._journal):
            if self._clock.boot_s() < self._rest_until_s.get(node, 0.0):
                continue
            try:
                self._countersign_new(node)
            except Invalid as error:
                self._rest_until_s[node] = self._clock.boot_s() + AGAIN_AFTER_S
                self._tell(node, "journal.inconsistent", str(error))
            except (LimenError, OSError) as error:  # control's own trouble: the next tick tries again
                self._lament(node, str(error))
            except Exception as error:  # fail-closed: what one node wrote must not end the others' witness
                log.exception("journal.countersigner_failed", about=node)
                self._rest_until_s[node] = self._clock.boot_s() + AGAIN_AFTER_S
                self._tell(node, "journal.inconsistent", f"It cannot be read: {type(error).__name__}.")

    # --- one node ---------------------------------------------------------------------------------

    def _countersign_new(self, node: str) -> None:
        notes = _newest_notes(self._journal / node / CHECKPOINTS)
        if not notes:
            if node in self._seen or _newest_notes(self._folder / node):
                raise Inconsistent("The node's checkpoints are gone.")
            return
        seen = self._seen.get(node) or self._restore(node)
        last: dict[str, SignedCheckpoint] = {}
        for data in notes if seen is None else [one for one in notes if _names_boot_from(one, seen)]:
            signed = open_checkpoint(data)
            last[signed.checkpoint.boot] = signed
        newest = open_checkpoint(notes[-1]).checkpoint
        if seen is not None and _order(newest) < _order(seen.checkpoint):
            size = seen.checkpoint.size
            raise Inconsistent(f"The node's checkpoints end at {newest.size}; {size} was countersigned.")
        for signed in last.values():
            seen = self._countersign(node, signed, seen)

    def _countersign(self, node: str, signed: SignedCheckpoint, seen: _Seen | None) -> _Seen | None:
        """Verify one checkpoint against the one before, and countersign it. Returns what was seen last."""
        checkpoint = signed.checkpoint
        if seen is not None and _order(checkpoint) == _order(seen.checkpoint):
            if checkpoint.root != seen.checkpoint.root:
                raise Inconsistent(f"Two trees of size {checkpoint.size} are signed: the log was forked.")
            return seen
        if checkpoint.node != node:
            raise Inconsistent(f"The checkpoint is of node {checkpoint.node}.")
        if not self._is_known(node, checkpoint):
            return seen
        place = self._grow(node, checkpoint, seen)
        if place.tree.root() != checkpoint.root:
            first = seen.checkpoint.size if seen and seen.checkpoint.boot == checkpoint.boot else 0
            which = f"Records {first} to {checkpoint.size - 1} of boot {checkpoint.boot}"
            raise Inconsistent(f"{which} are not those that were signed for.")
        self._check_clock(node, checkpoint, seen)
        self._keep(node, signed.note)
        self._seen[node] = _Seen(checkpoint, place)
        self._told.pop(node, None)
        return self._seen[node]

    def _is_known(self, node: str, checkpoint: Checkpoint) -> bool:
        """Whether the key is the node's. The first that it shows is; another is an alarm."""
        row, shown = self.row_of(node), str(checkpoint.key)
        with self._store.read() as connection:
            known = load_node_key(connection, row)
        if known is None:
            with self._store.transaction("limen", "the first checkpoint of this node") as tx:
                keep_node_key(tx, row, shown)
            self._event(node, "journal.key_trusted", key=shown)
        elif known != shown:
            self._tell(node, "journal.key_changed", f"Checkpoints are signed by {shown} instead of {known}.")
            return False
        return True

    def _grow(self, node: str, checkpoint: Checkpoint, seen: _Seen | None) -> Place:
        """Read the records from the last countersigned tree on, to the one that is signed now.

        Raises:
            Inconsistent: they did not grow out of it.
        """
        directory, boot = self._journal / node, checkpoint.boot
        header = first_header(directory, boot)
        if header is not None and header.after != checkpoint.after:
            raise Inconsistent(f"Boot {boot} goes on from another boot than was signed.")
        if seen is None or self._is_removed(node, seen):  # what is oldest is believed as it is signed
            place = Place.at_start(directory, boot)
        elif seen.checkpoint.boot == boot:
            if seen.place is None:
                raise Inconsistent(f"The first {seen.checkpoint.size} records are not those countersigned.")
            place = seen.place.copy()
        else:
            self._check_chain(node, seen, boot)
            place = Place.at_start(directory, boot)
        place.grow(checkpoint.size, self._pause)
        return place

    def _check_chain(self, node: str, seen: _Seen, until: str) -> None:
        """Read the boots that ended meanwhile; each must go on from the one before it.

        A chain that is broken is told, and the boot that comes after is countersigned all the same: it is
        a log of its own, and what is recorded from now on must be kept from being changed.
        """
        directory, place = self._journal / node, seen.place and seen.place.copy()
        try:
            if place is None:
                raise Inconsistent(f"The first {seen.checkpoint.size} records are not those countersigned.")
            for boot in boots_between(directory, seen.checkpoint.boot, until):
                place.grow_to_end(self._pause)
                header = first_header(directory, boot)
                if header is None or header.after != place.ended():
                    raise Inconsistent(f"Boot {boot} does not go on from boot {place.boot} as that is now.")
                place = Place.at_start(directory, boot)
        except Inconsistent as error:
            self._tell(node, "journal.inconsistent", error.message)

    def _is_removed(self, node: str, seen: _Seen) -> bool:
        """Whether the node has signed that what was read last may be gone."""
        key, own = seen.checkpoint.key, self._signer.key(Algorithm.COSIGNATURE)
        removed, _ = removed_until(self._journal / node / REMOVED, node, (key,), own)
        place = seen.place
        size = place.tree.size if place is not None else seen.checkpoint.size
        return removed > (seen.checkpoint.boot, size)

    def _check_clock(self, node: str, checkpoint: Checkpoint, seen: _Seen | None) -> None:
        """Say that a clock was set back. The tree grew all the same: it is countersigned."""
        back_s = seen.checkpoint.at - checkpoint.at if seen is not None else 0.0
        if back_s > SKEW_S:
            self._event(node, "journal.inconsistent", why=f"The node's clock was set back by {back_s:.0f} s.")

    def _restore(self, node: str) -> _Seen | None:
        """Return what was countersigned last before this process, from its own file and the segments.

        Raises:
            NoteRefused: the file holds a note that this control did not sign.
        """
        notes = _newest_notes(self._folder / node)
        if not notes:
            return None
        signed = open_checkpoint(notes[-1])
        verify_note(signed.note, self._signer.key(Algorithm.COSIGNATURE))
        checkpoint = signed.checkpoint
        place: Place | None
        try:
            place = Place.at(self._journal / node, checkpoint.boot, checkpoint.size)
            place.grow(checkpoint.size, self._pause)
        except Inconsistent:
            place = None
        if place is not None and place.tree.root() != checkpoint.root:
            place = None
        self._seen[node] = _Seen(checkpoint, place)
        return self._seen[node]

    # --- keeping ----------------------------------------------------------------------------------

    def _keep(self, node: str, note: Note) -> None:
        cosigned = Note(note.text, (*note.signatures, self._signer.cosign(note.text, int(self._clock.now()))))
        append_note(self._folder / node, cosigned)
        witness = self._witness()
        if not witness:
            return
        try:
            append_note(Path(witness) / node, cosigned)
            if not (key := Path(witness) / KEY_FILE).exists():
                key.write_text(f"{self._signer.key(Algorithm.COSIGNATURE)}\n", "utf-8")
        except OSError as error:  # the second place is away; the first has it
            self._tell(witness, "journal.witness_away", error.strerror or str(error))
        else:
            if self._told.pop(witness, None) is not None:
                self._event(witness, "journal.witness_back")

    def row_of(self, node: str) -> str:
        """Return the name of a node in the database."""
        return row_of(self._signer.name.partition("/")[0], node)

    def _tell(self, node: str, kind: str, why: str) -> None:
        """Tell a finding once, until the node is as it should be again."""
        if self._told.get(node) != why:
            self._told[node] = why
            self._event(node, kind, why=why)

    def _lament(self, node: str, why: str) -> None:
        """Log once what keeps control from countersigning a node."""
        if self._told.get(node) != why:
            self._told[node] = why
            log.error("journal.not_countersigned", node=node, why=why)

    def _event(self, node: str, kind: str, **data: str) -> None:
        (log.info if kind.endswith(("trusted", "back")) else log.error)(kind, about=node, **data)
        now = self._clock.now()
        self._note(EventRecord(new_id("evt"), now, self._node, kind, "journal", target=node, data=data))


def _order(checkpoint: Checkpoint) -> tuple[str, int]:
    return checkpoint.boot, checkpoint.size


def _newest_notes(path: Path) -> tuple[bytes, ...]:
    return read_notes(path, tail_bytes=TAIL_BYTES).notes


def _names_boot_from(note: bytes, seen: _Seen) -> bool:
    """Whether a note is of the boot that was countersigned last, or of a later one."""
    return note.split(b"\n", 1)[0].rpartition(b"/")[2].decode(errors="replace") >= seen.checkpoint.boot

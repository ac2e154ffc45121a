"""A joined gateway's end of shipping: its journals go to control, from wherever control says that it is.

Of the brains of one machine one ships, for both slots: the one that holds `JOURNAL/ship.lock`. What control
acknowledged is kept in `JOURNAL/shipped`, by which retention knows what may go. Control's own word of where
it is counts for what is sent next: so each of several control nodes gets what it has not got.
"""

import asyncio
import contextlib
import fcntl
import os
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from limen import __version__
from limen.administrator.feed_client import BACKOFF_S, SPREAD, Dial
from limen.administrator.feed_lines import LineReader, drop, send_line
from limen.administrator.feed_wire import Bye, Unknown, render_line
from limen.administrator.ship_prune import prune_acknowledged
from limen.administrator.ship_source import Source, key_ids, notes_after
from limen.administrator.ship_wire import (
    NOTES_PER_LINE,
    SHIP_ANSWER_MAX_BYTES,
    Batch,
    Beat,
    Erased,
    Heard,
    Kept,
    Notes,
    Place,
    Places,
    ShipHello,
    ShippedKey,
    is_journal_of,
    parse_to_shipper,
)
from limen.core.clock import Clock
from limen.core.errors import Invalid, LimenError, Unavailable
from limen.journal import stored
from limen.journal.keys import Keys
from limen.journal.note import Signer
from limen.journal.private_file import write_private
from limen.journal.retention import Retention

LOOK_EVERY_S = 0.5  # so that a decision is found at control within two seconds
DIAL_TIMEOUT_S = 5.0
ANSWER_MAX_S = 30.0
ALARM_WAIT_S = 60.0  # control takes nothing for so long after one
PRUNE_EVERY_S = 60.0
CURSOR, LOCK = "shipped", "ship.lock"

log = structlog.get_logger("limen.ship")


class Shipper:
    """Ships the journals below `root` that are of the gateway `node`.

    Attributes:
        shipping: control takes what is sent, right now.
        left_bytes: what control has yet to get; None while another brain ships.
    """

    def __init__(
        self,
        dial: Dial,
        root: Path,
        node: str,
        keys: Keys,
        clock: Clock,
        *,
        retention: Callable[[], Retention] = Retention,
        signer: Callable[[str], Signer | None] = lambda journal: None,
    ) -> None:
        self._dial, self._root, self._node, self._keys, self._clock = dial, root, node, keys, clock
        self._retention, self._signer = retention, signer
        self._source = Source(root)
        self._places = self._load()
        self._saved = dict(self._places)
        self._saved_s = self._pruned_s = clock.boot_s()
        self._sent_keys: set[str] = set()
        self.shipping = False
        self.left_bytes: int | None = None

    async def run(self) -> None:
        """Ship until cancelled; wait while another brain does."""
        lock = os.open(self._root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _locked(lock):  # noqa: ASYNC110  # another process has it
                await asyncio.sleep(LOOK_EVERY_S)
            self._places = self._load()
            await self._ship_always()
        finally:
            os.close(lock)
            self.shipping = False

    async def _ship_always(self) -> None:
        failures = 0
        while True:
            wait_s = 0.0
            try:
                await self._ship()
            except (OSError, LimenError) as error:
                if self.shipping or failures == 0:
                    log.warning("ship.ended", why=getattr(error, "message", "") or str(error))
                refused = getattr(error, "code", "")
                wait_s = ALARM_WAIT_S if refused.startswith(("JOURNAL_", "SHIP_PENALTY", "KEY_")) else 0.0
            failures = 0 if self.shipping else failures + 1
            self.shipping = False
            delay = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            await asyncio.sleep(max(wait_s, delay * random.uniform(*SPREAD)))  # noqa: S311  # no secret

    # --- one connection -----------------------------------------------------------------------------

    async def _ship(self) -> None:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            reader, writer = await self._dial()
        lines = LineReader(reader, max_bytes=SHIP_ANSWER_MAX_BYTES, silence_s=ANSWER_MAX_S)
        talk = _Talk(lines, writer)
        self._sent_keys.clear()
        try:
            places = await talk.ask(ShipHello(self._node, release=__version__))
            if not isinstance(places, Places):
                raise Invalid("Control does not say where it is.", code="SHIP_BROKEN")
            if places.erase:
                await talk.ask(await asyncio.to_thread(self._erase, places.erase))
            self._places = dict(places.places)
            self.shipping = True
            log.info("ship.begun", journals=len(places.places))
            while True:
                if not await self._turn(talk):
                    await asyncio.to_thread(self._save)
                    await talk.ask(Beat(await self._left()))
                    await asyncio.sleep(LOOK_EVERY_S)
        finally:
            drop(writer)
            with contextlib.suppress(OSError):
                self._save()

    async def _turn(self, talk: "_Talk") -> bool:
        """Send a line of each journal that has something new; return whether there was one."""
        moved = False
        for journal in self._journals():
            place = self._places.get(journal, Place())
            notes = await asyncio.to_thread(self._source.notes, journal)
            batch = await asyncio.to_thread(self._next, journal, place)
            message: Batch | Notes | None = batch
            if batch is None and place.boot:
                new = notes_after(notes, place.notes)[:NOTES_PER_LINE]
                texts = tuple(note.decode(errors="replace") for note in new)
                message = Notes(journal, texts) if texts else None
            if message is None:
                continue
            kept = await talk.ask(message)
            if not isinstance(kept, Kept) or kept.journal != journal or kept.place == place:
                raise Invalid("Control does not say that it has kept what it got.", code="SHIP_BROKEN")
            self._places[journal] = kept.place
            moved = True
        if moved and self._clock.boot_s() - self._saved_s > LOOK_EVERY_S:
            await asyncio.to_thread(self._save)
        return moved

    def _next(self, journal: str, place: Place) -> Batch | None:
        batch = self._source.next(journal, place)
        if batch is None:
            return None
        keys = []
        for key_id in key_ids(batch):
            key = None if key_id in self._sent_keys else self._keys.find(key_id)
            if key is not None:
                keys.append(ShippedKey.of(key.id, key.owner, key.material))
                self._sent_keys.add(key_id)
        left = self._source.left(journal, place)
        return msgspec.structs.replace(batch, keys=tuple(keys), left=left)

    async def _left(self) -> int:
        def count() -> int:
            return sum(self._source.left(name, self._places.get(name, Place())) for name in self._journals())

        self.left_bytes = await asyncio.to_thread(count)
        return self.left_bytes

    def _erase(self, owners: tuple[str, ...]) -> Erased:
        return Erased(owners, tuple(key for owner in owners for key in erase_owner(self._keys, owner)))

    def _journals(self) -> list[str]:
        return [name for name in stored.list_nodes(self._root) if is_journal_of(self._node, name)]

    # --- what is kept -------------------------------------------------------------------------------

    def _load(self) -> dict[str, Place]:
        try:
            return msgspec.json.decode((self._root / CURSOR).read_bytes(), type=dict[str, Place])
        except (FileNotFoundError, msgspec.MsgspecError):  # then control says it
            return {}

    def _save(self) -> None:
        """Keep what was acknowledged, and let retention have it."""
        now_s = self._clock.boot_s()
        if self._places != self._saved:
            write_private(self._root / CURSOR, msgspec.json.encode(self._places))
            self._saved = dict(self._places)
        self._saved_s = now_s
        if now_s - self._pruned_s > PRUNE_EVERY_S:
            self._pruned_s = now_s
            self._prune()

    def _prune(self) -> None:
        for journal, place in self._saved.items():
            try:
                prune_acknowledged(
                    self._root / journal, place, self._retention(), self._signer(journal), self._clock.now()
                )
            except OSError as error:
                log.warning("ship.not_pruned", journal=journal, why=error.strerror)


class _Talk:
    """One line, one answer."""

    def __init__(self, lines: LineReader, writer: asyncio.StreamWriter) -> None:
        self._lines, self._writer = lines, writer

    async def ask(self, message: msgspec.Struct) -> Places | Kept | Heard:
        """Send a line and return its answer.

        Raises:
            Unavailable: control says good-bye.
        """
        await send_line(self._writer, render_line(message))
        while True:
            answer = parse_to_shipper(await self._lines.line())
            if isinstance(answer, Bye):
                raise Unavailable(answer.reason, remedy=answer.remedy, code=answer.code)
            if not isinstance(answer, Unknown):
                return answer


def erase_owner(keys: Keys, owner: str) -> list[str]:
    """Erase the keys of an owner on this machine, and return their ids."""
    found = [key.id for key in keys.keys_of(owner)]
    keys.erase(owner)
    return found


def erase_commands(keys: Keys) -> dict[str, Callable[..., dict[str, list[str]]]]:
    """Return the command `journal.erase` (`limen.administrator.feed_wire`)."""
    return {"journal.erase": lambda args: {"keys": erase_owner(keys, str(args["owner"]))}}


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

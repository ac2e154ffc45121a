"""The keys under which the journal seals what tells of a person: one for each owner and machine.

    JOURNAL/keys.db    SQLite; made at the first key; readable by its owner alone

Erasing a person is deleting their keys: what was sealed under them can then be read by nobody, while the
bytes of the journal, and so its proofs, stay as they are.

Laws:
    K1 one key. All processes of a machine seal under the same key of an owner, as long as it stands.
    K2 gone. After `erase` the file holds nothing of the material, and `add` never brings it back.
    K3 heard. A process seals nothing under an erased key later than `LOOK_EVERY_S` after the erasure.
"""

import errno
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from time import monotonic

from limen.core.errors import Invalid, Unavailable
from limen.journal.key import KEY_BYTES, Key

FILE = "keys.db"
LOOK_EVERY_S = 1.0
BUSY_S = 5.0  # how long another process may keep the file, which it does for one commit
VALUES_KEPT = 32_768  # sealed values that are not sealed again: sessions, addresses, paths that come back
FULL = "KEYS_FULL"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS key (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, material BLOB NOT NULL, own INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS key_owner ON key (owner);
CREATE TABLE IF NOT EXISTS erased (id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
"""`own` says that this machine seals under it; the others came with `add`. `erased` names no owner."""


class Keys:
    """The keys of one journal folder. Safe to use from several threads and processes.

    `for_owner` and `find` answer from memory; each `LOOK_EVERY_S`, the next call asks the file whether
    another process changed it.

    Attributes:
        seal: `Key.seal` of a key, a field and a text, remembered: most values come again and again.
        opened: `Key.open` likewise.
    """

    @classmethod
    def open(cls, root: Path) -> "Keys":
        """Open the keys of the journal under `root`. Nothing is made before the first key is needed."""
        return cls(root / FILE)

    def __init__(self, path: Path) -> None:
        """Use `open`."""
        self._path = path
        self._lock = threading.RLock()
        self._file: sqlite3.Connection | None = None
        self._by_owner: dict[str, Key] = {}
        self._by_id: dict[str, Key | None] = {}
        self._looked_s = monotonic()
        self._version = -1
        self.seal = lru_cache(VALUES_KEPT)(Key.seal)
        self.opened = lru_cache(VALUES_KEPT)(Key.open)

    def for_owner(self, owner: str) -> Key:
        """Return the key of an owner, made at first use; after `erase`, one with another id.

        Raises:
            Unavailable: the file cannot be written (`KEYS_FULL`, `KEYS_FAILED`).
        """
        if monotonic() - self._looked_s > LOOK_EVERY_S:
            self._look()
        return self._by_owner.get(owner) or self._load_or_make((owner,))[owner]

    def make_for(self, owners: Iterable[str]) -> None:
        """Have the keys of many owners at hand, those that are missing made with one wait for the disk.

        It saves `for_owner` that wait for each; what it answers is the same.

        Raises:
            Unavailable: as `for_owner`; then none of them was made.
        """
        if monotonic() - self._looked_s > LOOK_EVERY_S:
            self._look()
        unknown = {owner for owner in owners if owner not in self._by_owner}
        if unknown:
            self._load_or_make(unknown)

    def find(self, key_id: str) -> Key | None:
        """Return a key by its id; None when it was erased or never came here."""
        if monotonic() - self._looked_s > LOOK_EVERY_S:
            self._look()
        if key_id in self._by_id:
            return self._by_id[key_id]
        with self._reading() as file:
            row = file and file.execute("SELECT owner, material FROM key WHERE id = ?", (key_id,)).fetchone()
            self._by_id[key_id] = Key(key_id, *row) if row else None
            return self._by_id[key_id]

    def owner(self, key_id: str) -> str | None:
        """Return whose key it is, `User::"ada"`; None when it was erased or never came here."""
        key = self.find(key_id)
        return None if key is None else key.owner

    def keys_of(self, owner: str) -> tuple[Key, ...]:
        """Return every key of an owner, those of other machines too."""
        with self._reading() as file:
            rows = file.execute(
                "SELECT id, owner, material FROM key WHERE owner = ? ORDER BY id", (owner,)
            ) if file else ()  # fmt: skip
            return tuple(Key(*row) for row in rows)

    def all(self) -> tuple[Key, ...]:
        """Return every key there is: for shipping, and for exports that need the owners at once."""
        with self._reading() as file:
            rows = file.execute("SELECT id, owner, material FROM key ORDER BY id") if file else ()
            return tuple(Key(*row) for row in rows)

    def add(self, key_id: str, owner: str, material: bytes) -> bool:
        """Take a key of another machine. Returns whether it is kept: one that was erased here is not.

        Raises:
            Invalid: the material is no key, or the id is that of another one (`KEY_FORGED`).
            Unavailable: the file cannot be written.
        """
        if len(material) != KEY_BYTES:
            raise Invalid(f"The key {key_id} has {len(material)} bytes.", remedy="Send it again, whole.")
        with self._writing() as file:
            if file.execute("SELECT 1 FROM erased WHERE id = ?", (key_id,)).fetchone():
                return False
            file.execute(
                "INSERT INTO key VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING", (key_id, owner, material)
            )
            kept = file.execute("SELECT owner, material FROM key WHERE id = ?", (key_id,)).fetchone()
            self._by_id.pop(key_id, None)
        if kept != (owner, material):
            raise Invalid(
                f"The key {key_id} is here already, and is another one.",
                remedy="Find out which machine sent it: ids are never given twice.",
                code="KEY_FORGED",
            )
        return True

    def erase(self, owner: str) -> int:
        """Delete every key of an owner, and return how many there were. Nothing brings them back.

        Raises:
            Unavailable: the file cannot be written; then nothing was erased.
        """
        with self._lock:
            with self._writing() as file:
                file.execute("INSERT OR IGNORE INTO erased SELECT id FROM key WHERE owner = ?", (owner,))
                count = file.execute("DELETE FROM key WHERE owner = ?", (owner,)).rowcount
            self._forget()
            return count

    def erase_ids(self, key_ids: tuple[str, ...]) -> int:
        """Delete keys by their ids, whether they came here or will: erasure of another machine."""
        rows = [(one,) for one in key_ids]
        with self._lock:
            with self._writing() as file:
                file.executemany("INSERT OR IGNORE INTO erased VALUES (?)", rows)
                count = file.executemany("DELETE FROM key WHERE id = ?", rows).rowcount
            self._forget()
            return count

    def erased_ids(self) -> tuple[str, ...]:
        """Return the ids of all keys that were erased: to be told to other machines."""
        with self._reading() as file:
            return tuple(row[0] for row in file.execute("SELECT id FROM erased ORDER BY id")) if file else ()

    def close(self) -> None:
        """Close the file and forget the keys."""
        with self._lock:
            self._forget()
            if self._file is not None:
                self._file.close()
                self._file = None

    # --- inside -----------------------------------------------------------------------------------

    def _load_or_make(self, owners: Iterable[str]) -> dict[str, Key]:
        with self._lock:
            with self._writing() as file:
                rows = [_load_row(file, owner) or _make_row(file, owner) for owner in owners]
            keys = {row[1]: Key(*row) for row in rows}  # committed: no record names a key not in the file
            self._by_owner |= keys
            self._by_id |= {key.id: key for key in keys.values()}
            return keys

    def _look(self) -> None:
        """Forget what is known if another process changed the file since the last look (law K3)."""
        with self._reading() as file:
            version = -1 if file is None else file.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version:
                self._forget()
                self._version = version
            self._looked_s = monotonic()

    def _forget(self) -> None:
        self._by_owner.clear()
        self._by_id.clear()
        self.seal.cache_clear()
        self.opened.cache_clear()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """Give the file, or None while there is none."""
        with self._lock, _failures(self._path):
            if self._file is None and self._path.exists():
                self._file = self._connect()
            yield self._file

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Give the file in a transaction of its own, made if need be."""
        with self._lock, _failures(self._path):
            if self._file is None:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                self._file = self._connect()
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield self._file
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise

    def _connect(self) -> sqlite3.Connection:
        """Open the file so that what is deleted is overwritten, and what is written is on the disk.

        No write-ahead log: it would keep an erased key until its next checkpoint.
        """
        file = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        file.execute("PRAGMA journal_mode = DELETE")
        file.execute("PRAGMA synchronous = FULL")
        file.execute("PRAGMA secure_delete = ON")
        if not file.execute("SELECT 1 FROM sqlite_master WHERE name = 'erased'").fetchone():
            file.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        return file


def _load_row(file: sqlite3.Connection, owner: str) -> tuple[str, str, bytes] | None:
    """Return the key under which this machine seals for an owner, as a row; None while there is none."""
    query = "SELECT id, owner, material FROM key WHERE owner = ? AND own = 1"
    row: tuple[str, str, bytes] | None = file.execute(query, (owner,)).fetchone()
    return row


def _make_row(file: sqlite3.Connection, owner: str) -> tuple[str, str, bytes]:
    row = (secrets.token_hex(8), owner, secrets.token_bytes(KEY_BYTES))
    file.execute("INSERT INTO key VALUES (?, ?, ?, 1)", row)
    return row


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = getattr(error, "sqlite_errorcode", 0)
        full = code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT)
        full = full or _no_room(path.parent)  # SQLite calls a rollback journal that has no room CANTOPEN
        raise Unavailable(
            f"The journal's keys {path} cannot be used: {error}.",
            remedy="Free some space." if full else "Repair the disk, or restore the file from a backup.",
            code=FULL if full else "KEYS_FAILED",
        ) from error


def _no_room(folder: Path) -> bool:
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False

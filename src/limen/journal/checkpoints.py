"""Checkpoints: what a node signs of its tree, and the files that keep them.

A checkpoint is a signed note (C2SP tlog-checkpoint) of these lines:

    limen.<system>/<node>/<boot>       the log: the records of one boot of one node
    <size>                             of its tree: so many records
    <root>                             base64
    at <unix seconds>                  the node's own clock
    key <verifier key>                 the node's, so that a countersignature vouches for it
    after <boot> <size> <root or ->    the tree of the boot before; not in a node's first boot

A file holds notes, each followed by an empty line, oldest first. When it has grown to `FILE_BYTES_MAX`,
the last of each boot and the newest `NOTES_KEPT` stay: a tree that grew says all that the others said.

Laws:
    K1 durable first. A checkpoint covers only what has reached the disk.
"""

import base64
import errno
import os
import re
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from limen.core.clock import Clock
from limen.core.ids import Instant
from limen.journal.merkle import HASH_BYTES, Frontier
from limen.journal.note import Note, NoteRefused, Signer, VerifierKey, parse_note, verify_note
from limen.journal.opening import load_salt
from limen.journal.private_file import write_private
from limen.journal.segments import BootTree

CHECKPOINTS = "checkpoints"
KEY_FILE = "countersigner.vkey"  # beside what control has countersigned: its verifier key
COUNTERSIGNER_KEY = "countersigner.key"  # in the folder of keys
SALT = "salt"
CHECKPOINT_EVERY_S = 5.0
FILE_BYTES_MAX = 4 * 1024 * 1024
NOTES_KEPT = 1000

_NOTE = re.compile(rb"((?:(?!\xe2\x80\x94 )[^\n]+\n)+\n(?:\xe2\x80\x94 [^\n]+\n)+)\n")
_BEGINNING = re.compile(rb"\n\n(?!\xe2\x80\x94 )")
_NUMBER = re.compile("0|[1-9][0-9]{0,18}")
_BOOT = re.compile(r"\d{8}-[0-9a-f]{8}")

log = structlog.get_logger("limen.journal")


class Checkpoint(msgspec.Struct, frozen=True):
    """What a node says of one boot's tree. `key` is the node's own; its name ends in the node's."""

    key: VerifierKey
    boot: str
    size: int
    root: bytes
    at: int
    after: BootTree | None = None

    @property
    def node(self) -> str:
        """The node whose tree this is."""
        return self.key.name.rpartition("/")[2]

    def render(self) -> str:
        """Return the text that is signed."""
        lines = [f"{self.key.name}/{self.boot}", str(self.size), _base64(self.root)]
        lines += [f"at {self.at}", f"key {self.key}"]
        if self.after is not None:
            root = _base64(bytes.fromhex(self.after.root)) if self.after.root else "-"
            lines.append(f"after {self.after.boot} {self.after.size} {root}")
        return "\n".join(lines) + "\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint of a note's text.

    Raises:
        NoteRefused: not exactly the form of a checkpoint of Limen.
    """
    lines = text[:-1].split("\n")
    try:
        origin, size, root, at, key = lines[:5]
        name, _, boot = origin.rpartition("/")
        checkpoint = Checkpoint(
            VerifierKey.parse(key.removeprefix("key ")),
            boot,
            int(size),
            base64.b64decode(root),
            int(at.removeprefix("at ")),
            _parse_after(lines[5]) if len(lines) > 5 else None,
        )
    except ValueError:
        raise NoteRefused("A note is no checkpoint of Limen.") from None
    right = checkpoint.key.name == name and _BOOT.fullmatch(boot) and len(checkpoint.root) == HASH_BYTES
    numbers = (size, at.removeprefix("at "), str(checkpoint.after.size if checkpoint.after else 0))
    if not right or checkpoint.render() != text or not all(map(_NUMBER.fullmatch, numbers)):
        raise NoteRefused("A note is no checkpoint of Limen.")
    return checkpoint


def _parse_after(line: str) -> BootTree:
    _, boot, size, root = line.split(" ")
    return BootTree(boot, int(size), "" if root == "-" else base64.b64decode(root).hex())


class SignedCheckpoint(NamedTuple):
    """A checkpoint in its note. Only `open_checkpoint` makes one of bytes: the node's key has signed it."""

    checkpoint: Checkpoint
    note: Note


def open_checkpoint(data: bytes) -> SignedCheckpoint:
    """Return the checkpoint of a note that the key which it names has signed.

    Whether that key is the node's, the caller must know from elsewhere.

    Raises:
        NoteRefused: no checkpoint, or not signed by the key that it names.
    """
    note = parse_note(data)
    checkpoint = parse_checkpoint(note.text)
    verify_note(note, checkpoint.key)
    return SignedCheckpoint(checkpoint, note)


class KeptNotes(NamedTuple):
    """What a file of notes holds: notes as bytes, and the places of what is no note.

    Attributes:
        torn: where a note begins that was not written to its end; the file's size if there is none.
    """

    notes: tuple[bytes, ...]
    damage: tuple[tuple[int, int], ...]
    torn: int
    size: int


def read_notes(path: Path, *, tail_bytes: int | None = None) -> KeptNotes:
    """Read a file of notes; one that is not there holds none. With `tail_bytes`, the newest alone."""
    data = _read(path, tail_bytes) if path.exists() else b""
    notes, damage, end = [], [], 0
    for match in _NOTE.finditer(data):
        if match.start() > end:
            damage.append((end, match.start()))
        notes.append(match[1])
        end = match.end()
    return KeptNotes(tuple(notes), tuple(damage), end, len(data))


def _read(path: Path, tail_bytes: int | None) -> bytes:
    with path.open("rb") as file:
        if tail_bytes is None or file.seek(0, os.SEEK_END) <= tail_bytes:
            file.seek(0)
            return file.read()
        file.seek(-tail_bytes, os.SEEK_END)
        data = file.read()
    start = _BEGINNING.search(data)
    return data[start.end() :] if start else b""


def append_note(path: Path, note: Note) -> None:
    """Append a note and wait for the disk; cut what a torn write has left, and what is too old.

    Raises:
        OSError: it was not kept.
    """
    kept = read_notes(path) if path.exists() and _is_torn_or_large(path) else None
    if kept is not None and kept.size > FILE_BYTES_MAX:
        write_private(path, b"".join(one + b"\n" for one in _thin(kept.notes)))
    elif kept is not None and kept.torn < kept.size:
        os.truncate(path, kept.torn)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    size, data = os.fstat(file).st_size, (str(note) + "\n").encode()
    try:
        if os.write(file, data) < len(data):  # a disk that is full takes a part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(file)
    except OSError:
        os.ftruncate(file, size)
        raise
    finally:
        os.close(file)


def _is_torn_or_large(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2))
        return size > FILE_BYTES_MAX or (size > 0 and file.read() != b"\n\n")


def _thin(notes: tuple[bytes, ...]) -> tuple[bytes, ...]:
    last = {note.split(b"\n", 1)[0]: place for place, note in enumerate(notes)}
    first_kept = len(notes) - NOTES_KEPT
    return tuple(
        note
        for place, note in enumerate(notes)
        if place >= first_kept or last[note.split(b"\n", 1)[0]] == place
    )


class CheckpointWriter:
    """Signs the trees of one boot of one node as they grow, in the journal's own thread and at close."""

    def __init__(
        self, directory: Path, signer: Signer, clock: Clock, boot: str, after: BootTree | None
    ) -> None:
        self._path, self._signer, self._clock = directory / CHECKPOINTS, signer, clock
        self._boot, self._after = boot, after
        self._size = -1  # of the last checkpoint: the first is due at once, so that `after` is signed
        self._written_at_s = 0.0

    def offer(self, tree: Frontier, *, now: Instant, at_once: bool = False) -> None:
        """Write a checkpoint of a tree that is on the disk (law K1), when it has grown and one is due."""
        if tree.size <= self._size:
            return
        waited_s = self._clock.boot_s() - self._written_at_s
        if self._size >= 0 and waited_s < CHECKPOINT_EVERY_S and not at_once:
            return
        text = Checkpoint(
            self._signer.key(), self._boot, tree.size, tree.root(), int(now), self._after
        ).render()
        try:
            append_note(self._path, Note(text, (self._signer.sign(text),)))
        except OSError as error:  # the records are safe; the next turn tries again
            log.warning("journal.no_checkpoint", why=error.strerror)
            return
        self._size, self._written_at_s = tree.size, self._clock.boot_s()


def load_node_signer(keys: Path, journal: Path, node: str) -> Signer:
    """Return the signer of a node's checkpoints; its key `keys/journal-<node>.key` is made at first use.

    Raises:
        Invalid: the key or the journal's salt is damaged.
    """
    return Signer.load(keys / f"journal-{node}.key", f"{system_name(journal)}/{node}")


def load_countersigner(keys: Path, journal: Path) -> Signer:
    """Return control's signer, which countersigns what the nodes have signed.

    Raises:
        Invalid: the key or the journal's salt is damaged.
    """
    return Signer.load(keys / COUNTERSIGNER_KEY, f"{system_name(journal)}/countersigner")


def system_name(journal: Path) -> str:
    """Return what the names of all keys of one journal folder begin with. It tells nothing of the owner."""
    return name_system(load_salt(journal))


def name_system(salt: bytes) -> str:
    """Return the name of the system whose journal has this salt."""
    return f"limen.{sha256(b'limen system' + salt).hexdigest()[:16]}"


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()

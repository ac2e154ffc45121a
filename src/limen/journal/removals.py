"""Signed statements that a node's oldest records were removed on purpose: retention, not somebody.

    JOURNAL/<node>/removed      notes: limen.<system>/<node>/removed, boot, position, at <unix seconds>

Everything of the node before that position of that boot may be missing. Without such a statement a
journal whose beginning is gone is a doubt.
"""

import re
from pathlib import Path
from typing import NamedTuple

from limen.core.ids import Instant
from limen.journal.checkpoints import append_note
from limen.journal.note import Note, NoteRefused, Signer

REMOVED = "removed"
_TEXT = re.compile(
    r"(?P<system>[^\n]+)/(?P<node>[a-z0-9-]+)/removed\n(?P<boot>\d{8}-[0-9a-f]{8})\n(?P<position>\d{1,19})\n"
    r"at (?P<at>\d{1,19})\n"
)


class Removal(NamedTuple):
    """Everything of `node` before `position` of `boot` may be gone."""

    node: str
    boot: str
    position: int
    at: int


def state_removal(directory: Path, signer: Signer, boot: str, position: int, now: Instant) -> None:
    """Say, before it is done, that everything before a position is removed from a node's folder.

    Raises:
        OSError: it could not be kept; then nothing should be removed.
    """
    system = signer.name.rpartition("/")[0]
    text = f"{system}/{directory.name}/removed\n{boot}\n{position}\nat {int(now)}\n"
    append_note(directory / REMOVED, Note(text, (signer.sign(text),)))


def parse_removal(note: Note) -> Removal:
    """Return what a note states. Verify it first.

    Raises:
        NoteRefused: it is no such statement.
    """
    match = _TEXT.fullmatch(note.text)
    if match is None:
        raise NoteRefused("A note is no statement of removal.")
    return Removal(match["node"], match["boot"], int(match["position"]), int(match["at"]))

"""The durable cursor of a sink: `STATE/exports/<name>.json`, replaced as a whole."""

import os
from pathlib import Path

import msgspec
import structlog

from limen.journal.private_file import write_private

log = structlog.get_logger("limen.sinks")


class Kept(msgspec.Struct, frozen=True):
    """What a sink remembers.

    Attributes:
        cursor: node to boot and position of the next record to be sent.
        sent, refused, missed: messages confirmed, set aside, and gone before they could be sent.
    """

    cursor: dict[str, tuple[str, int]] = {}
    sent: int = 0
    refused: int = 0
    missed: int = 0


class CursorFile:
    """Keeps `Kept`, and the places of the records that the collector refuses."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._file = folder / f"{name}.json"
        self._refused = folder / f"{name}.refused.jsonl"

    def load(self) -> Kept:
        """Return what was kept last. A damaged file counts as none: all is sent again, nothing missed."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Kept)
        except FileNotFoundError:
            return Kept()
        except msgspec.MsgspecError as error:
            log.error("sink.cursor_damaged", file=str(self._file), why=str(error))
            return Kept()

    def save(self, kept: Kept) -> None:
        """Replace what is kept; it is on the disk when this returns."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._file, msgspec.json.encode(kept))

    def set_aside(self, record: str, why: str) -> None:
        """Keep the place of a record that the collector refuses, one a line, where people find it.

        Not what it says: here it would outlast its retention, and the key of whom it is about.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._refused, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(file, "ab") as out:
            out.write(msgspec.json.encode({"record": record, "why": why}) + b"\n")
            out.flush()
            os.fsync(out.fileno())

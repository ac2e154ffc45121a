"""What a replay and its process say to each other: one job as JSON, then messages, one a line."""

from collections.abc import Mapping

import msgspec

from limen.core.errors import Finding
from limen.core.ids import Instant
from limen.engine.replay_report import Report


class Job(msgspec.Struct, frozen=True):
    """What is to be replayed. `files` None: each decision under its own bundle."""

    journal: str
    files: Mapping[str, str] | None = None
    since: Instant | None = None


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far it is: decisions read, and the part of the journal that this is, 0 to 1."""

    decisions: int
    part: float


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Why there will be no report."""

    message: str
    remedy: str = ""
    code: str = "ERROR"
    findings: tuple[Finding, ...] = ()


Message = Progress | Report | Failed

parse_job = msgspec.json.Decoder(Job).decode
parse_message = msgspec.json.Decoder(Message).decode


def render_message(message: Message) -> bytes:
    """Return a message as its line."""
    return msgspec.json.encode(message) + b"\n"

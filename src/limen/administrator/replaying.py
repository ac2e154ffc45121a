"""Replay in a process of its own: recorded decisions derived again, while this process goes on serving."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from limen.administrator.apart import Step, follow_apart
from limen.core.errors import BundleRefused, Finding
from limen.core.ids import Instant
from limen.engine.replay_report import Report

__all__ = ["Job", "Progress", "Report", "follow_replay", "replay"]

WORK = "limen.administrator.replay_worker:work"


class Job(msgspec.Struct, frozen=True):
    """What is to be replayed. `files` None: each decision under its own bundle.

    `base` is the bundle that these files are compared with; None is what was recorded.
    """

    journal: str
    files: Mapping[str, str] | None = None
    since: Instant | None = None
    base: Mapping[str, str] | None = None


class Refusal(msgspec.Struct, frozen=True, tag="refused"):
    """The candidate is not a bundle."""

    findings: tuple[Finding, ...]


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far it is: decisions read, and the part of the journal that this is, 0 to 1."""

    decisions: int
    part: float


def replay(
    journal_root: Path,
    files: Mapping[str, str] | None = None,
    since: Instant | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Derive recorded decisions again, and say what differs. Waits until that is done.

    Args:
        journal_root: the folder of all nodes' journals.
        files: a candidate bundle, as text by relative path; None derives each decision under its own.
        since: decisions before it do not count; None is the beginning.
        progress: told how far it is, a few times a second.

    Raises:
        BundleRefused: the files are not a bundle.
        Unavailable: the child died.
    """
    for message in follow_replay(journal_root, files, since):
        if isinstance(message, Report):
            return message
        if progress is not None:
            progress(message)
    raise AssertionError("a replay ends with its report, or raises")


def follow_replay(
    journal_root: Path,
    files: Mapping[str, str] | None = None,
    since: Instant | None = None,
    base: Mapping[str, str] | None = None,
) -> Iterator[Progress | Report]:
    """Yield how far the replay is, and its report at last. Closing the iterator ends the child.

    With `base`, the differences are those between the two bundles, whatever was in force at the time.

    Raises:
        BundleRefused, Unavailable: as `replay`.
    """
    job = msgspec.to_builtins(Job(str(journal_root), files, since, base))
    for message in follow_apart(WORK, job):
        if isinstance(message, Step):
            yield Progress(message.done, message.done / message.of if message.of else 0.0)
            continue
        found = msgspec.convert(message.value, Refusal | Report)
        if isinstance(found, Refusal):
            raise BundleRefused(found.findings)
        yield found

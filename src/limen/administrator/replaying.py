"""Replay in a process of its own: recorded decisions derived again, while this process goes on serving.

The child runs at low priority (`limen.administrator.replay_worker`): it takes what nobody else wants.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from limen.administrator.replay_wire import Failed, Job, Progress, parse_message
from limen.core.errors import BundleRefused, LimenError, Unavailable
from limen.core.ids import Instant
from limen.engine.replay_report import Report

__all__ = ["Progress", "Report", "follow_replay", "replay"]

WORKER = "limen.administrator.replay_worker"


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
    journal_root: Path, files: Mapping[str, str] | None = None, since: Instant | None = None
) -> Iterator[Progress | Report]:
    """Yield how far the replay is, and its report at last. Closing the iterator ends the child.

    Raises:
        BundleRefused, Unavailable: as `replay`.
    """
    with subprocess.Popen(  # noqa: S603  this same program
        (sys.executable, "-m", WORKER),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is for whoever asked, which then ends this
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            with child.stdin as job:
                job.write(msgspec.json.encode(Job(str(journal_root), files, since)))
            for line in child.stdout:
                message = parse_message(line)
                if isinstance(message, Failed):
                    raise _failure(message)
                yield message
                if isinstance(message, Report):
                    return
        except BrokenPipeError:
            pass  # it died before it had read what to do
        finally:
            child.kill()  # done, failed, or nobody listens any more
    raise Unavailable("The replay's process ended early.", remedy="Look at control's log, and try again.")


def _failure(message: Failed) -> LimenError:
    if message.findings:
        return BundleRefused(message.findings)
    return LimenError(message.message, remedy=message.remedy, code=message.code)

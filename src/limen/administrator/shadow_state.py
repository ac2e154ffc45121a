"""What the shadow's process keeps in its folder: the candidate that it was given, and how far it is.

`candidate.json` is written by control, `state.json` by the process, each whole or not at all; so either
may die at any moment, and the other one goes on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from limen.core.ids import Instant
from limen.engine.replay_tally import Tally
from limen.journal.private_file import write_private

T = TypeVar("T")

CANDIDATE = "candidate.json"
STATE = "state.json"


class Candidate(msgspec.Struct, frozen=True):
    """A bundle in shadow, and since when."""

    bundle: str
    files: Mapping[str, str]
    started_at: Instant


class ShadowState(msgspec.Struct):
    """How far the shadow is. Of the candidate of this `bundle` and `started_at`, and of no other.

    Attributes:
        cursor: node to boot and position of the next record.
        seen: records read; `tally` counts the decisions among them.
        cpu_s: processor time used, over all lives of the process; `lives` counts these.
        saved_at: when this was written.
        latest_at: instant of the newest decision read: how old it is says how far behind the shadow is.
        behind: whether more was waiting to be read than this process's share lets it read at once.
        notes: what a reader of its report must know.
    """

    bundle: str
    started_at: Instant
    cursor: dict[str, tuple[str, int]] | None = None
    seen: int = 0
    tally: Tally = msgspec.field(default_factory=Tally)
    cpu_s: float = 0.0
    lives: int = 0
    pid: int = 0
    saved_at: Instant = 0.0
    latest_at: Instant | None = None
    behind: bool = False
    evaluations: int = 0
    notes: tuple[str, ...] = ()


def read_candidate(folder: Path) -> Candidate | None:
    """Return the candidate, or None."""
    return _read(folder / CANDIDATE, Candidate)


def write_candidate(folder: Path, candidate: Candidate) -> None:
    """Hand over a candidate."""
    write_private(folder / CANDIDATE, msgspec.json.encode(candidate))


def read_state(folder: Path, candidate: Candidate) -> ShadowState | None:
    """Return how far the shadow of this candidate is; None when it has not begun."""
    found = _read(folder / STATE, ShadowState)
    if found is None or (found.bundle, found.started_at) != (candidate.bundle, candidate.started_at):
        return None
    return found


def write_state(folder: Path, state: ShadowState) -> None:
    """Keep how far the shadow is."""
    write_private(folder / STATE, msgspec.json.encode(state))


def forget(folder: Path) -> None:
    """Remove both."""
    for name in (CANDIDATE, STATE):
        (folder / name).unlink(missing_ok=True)


def _read(path: Path, kind: type[T]) -> T | None:
    """Return what stands in a file; one that is of another release, or broken, is as good as none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None

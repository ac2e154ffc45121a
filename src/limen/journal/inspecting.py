"""What each record must be besides whole: of its kind, of its node, of its time. No JSON on the good path."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from limen.core.ids import Instant
from limen.journal.frame import Kind
from limen.journal.statements import SKEW_S

_NAMED = re.compile(
    rb'\{"type":"(decision|event)","id":"([^"\\]*)","at":([0-9][0-9.eE+-]*),"node":"([^"\\]*)"'
)
_TYPES = {
    Kind.DECISION: "decision",
    Kind.INPUTS: "inputs",
    Kind.BUNDLE: "bundle",
    Kind.OUTCOME: "outcome",
    Kind.EVENT: "event",
}
_PREFIXES = {int(kind): b'{"type":"%s"' % name.encode() for kind, name in _TYPES.items()}
_NAMED_KINDS = {int(Kind.DECISION): b"decision", int(Kind.EVENT): b"event"}
_DRAINED = b'"kind":"journal.drained"'
_CHANGE = b"chg_"  # what another control node changed is told when it is heard of
SLOTS = ("-a", "-b")  # of a gateway: its records name the gateway


class _Any(msgspec.Struct):
    type: str
    id: str = ""
    at: float | None = None
    node: str | None = None
    data: object = None


class Strange(NamedTuple):
    """A record that is not what it should be."""

    position: int
    id: str
    why: str
    clock: bool = False


class Inspector:
    """Looks at the records of one node's boot as they are read.

    Attributes:
        earliest, latest: between which instants the records that come now were written.
        strange: what was found.
        first_at: time of the first record since that was last set to None.
        removed: how many payloads retention has removed.
    """

    def __init__(self, node: str, strange_max: int = 20) -> None:
        names = [node] + [node.removesuffix(slot) for slot in SLOTS if node.endswith(slot)]
        self._nodes = frozenset(name.encode() for name in names)
        self._strange_max = strange_max
        self.earliest, self.latest = 0.0, float("inf")
        self._began = 0.0  # before which nothing of this boot was written
        self.strange: list[Strange] = []
        self.late: list[tuple[Strange, Instant]] = []
        self.first_at: Instant | None = None
        self.removed = 0

    def __call__(self, kind: int, position: int, payload: bytes | None) -> None:
        """Look at one record."""
        if payload is None:
            self.removed += 1
            return
        wanted = _NAMED_KINDS.get(kind)
        if wanted is None:
            prefix = _PREFIXES.get(kind)
            if prefix is None or not payload.startswith(prefix):
                self._look_closer(kind, position, payload)
            return
        match = _NAMED.match(payload)
        if match is None or match[1] != wanted or match[4] not in self._nodes:
            self._look_closer(kind, position, payload)
            return
        at = float(match[3])
        if self.first_at is None:
            self.first_at = at
        if not self.earliest <= at <= self.latest:
            self._note_time(position, match[2], at, is_event=wanted == b"event")
        if wanted == b"event" and _DRAINED in payload:
            self._forgive(payload)

    def found(self) -> Sequence[Strange]:
        """Return what was found, those included whose times nothing explains. Then begin anew."""
        found = [*self.strange, *(strange for strange, _ in self.late)]
        self.strange, self.late = [], []
        self._began = self.earliest
        return found

    def _look_closer(self, kind: int, position: int, payload: bytes) -> None:
        """Decode a record that is written in an unusual way, or is not what it should be."""
        try:
            record = msgspec.json.decode(payload, type=_Any)
        except msgspec.MsgspecError:
            self._add(Strange(position, "", "is not a record"))
            return
        right_type = kind in _PREFIXES and record.type == _TYPES[Kind(kind)]
        named = kind in _NAMED_KINDS
        if not right_type:
            self._add(Strange(position, record.id, f"is framed as kind {kind} and is {record.type!r}"))
        elif named and (record.node is None or record.node.encode() not in self._nodes):
            self._add(Strange(position, record.id, f"says that node {record.node!r} wrote it"))
        elif named and record.at is not None and not self.earliest <= record.at <= self.latest:
            self._note_time(position, record.id.encode(), record.at, is_event=record.type == "event")

    def _note_time(self, position: int, record_id: bytes, at: Instant, *, is_event: bool) -> None:
        name = record_id.decode(errors="replace")
        if at > self.latest:
            why = f"is {at - self.latest:.0f} s ahead of the checkpoint that covers it"
            self._add(Strange(position, name, why, clock=True))
        elif not (is_event and record_id.startswith(_CHANGE)) and len(self.late) < 100_000:
            why = f"is {self.earliest - at:.0f} s older than the checkpoint that it follows"
            self.late.append((Strange(position, name, why, clock=True), at))

    def _forgive(self, payload: bytes) -> None:
        """Records waited in memory while the disk was full: those of that time are not late."""
        data = msgspec.json.decode(payload, type=_Any).data
        since = data.get("since") if isinstance(data, dict) else None
        if isinstance(since, int | float):
            waited = max(since - SKEW_S, self._began)  # in this boot's memory
            self.late = [one for one in self.late if one[1] < waited]

    def _add(self, strange: Strange) -> None:
        if len(self.strange) < self._strange_max:
            self.strange.append(strange)

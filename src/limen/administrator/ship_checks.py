"""What a shipped record is checked by, and the alarm that is raised when it cannot be true."""

from collections.abc import Collection
from typing import Any, TypeVar

import msgspec

from limen.core.errors import Invalid, Refused
from limen.journal.merkle import Frontier
from limen.journal.records import KIND_OF, decode_payload
from limen.journal.segments import Seal, SegmentHeader


class Alarm(Refused):
    """A gateway sent what its journal cannot hold. `facts` say where; they hold nothing that it typed."""

    def __init__(self, message: str, *, code: str, **facts: Any) -> None:
        super().__init__(
            message,
            remedy="Find out who can write on that gateway. Nothing that was stored is changed; "
            "to begin anew, remove the gateway and join it again.",
            code=code,
        )
        self.facts = facts


def fork(message: str, **facts: Any) -> Alarm:
    """Return the alarm of a journal that tells two stories."""
    return Alarm(message, code="JOURNAL_FORK", **facts)


class Gap(msgspec.Struct, frozen=True):
    """What a gateway says that it cannot send: from one place to another, in records if that is known."""

    journal: str
    boot: str
    after: str  # boot and number of what control had before
    records: int | None


def verify_record(kind: int, position: int, payload: bytes, nodes: Collection[str]) -> None:
    """Check that a payload is a record of its kind, written by one of `nodes`.

    Raises:
        Alarm: it is another's, or none.
    """
    try:
        record = decode_payload(payload, position)
    except Invalid:
        record = None
    if record is None or KIND_OF[type(record)] != kind:
        raise Alarm("What was sent is no record of its kind.", code="JOURNAL_INVALID", position=position)
    if getattr(record, "node", None) not in (None, *nodes):
        raise Alarm("A record names another node.", code="JOURNAL_FORGED", position=position)


def frontier_of(size: int, roots: tuple[str, ...] | None) -> Frontier | None:
    """Return the tree that a header or a seal tells; None when it tells none, or one that cannot be."""
    try:
        return None if roots is None else Frontier.parse(size, roots)
    except ValueError:
        return None


_Edge = TypeVar("_Edge", SegmentHeader, Seal)


def parse_edge(payload: bytes, edge: type[_Edge]) -> _Edge:
    """Parse a header or a seal, or raise an alarm."""
    try:
        return msgspec.json.decode(payload, type=edge)
    except msgspec.MsgspecError:
        raise Alarm("A header or a seal cannot be read.", code="JOURNAL_INVALID") from None

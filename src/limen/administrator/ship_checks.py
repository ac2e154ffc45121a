"""What a shipped record is checked by, and the alarm that is raised when it cannot be true."""

from collections.abc import Collection
from typing import Any, TypeVar

import msgspec

from limen.core.errors import Invalid, Refused
from limen.core.record import BundleRecord
from limen.engine.bundle import bundle_id
from limen.journal.merkle import Frontier
from limen.journal.records import KIND_OF, decode_payload
from limen.journal.segments import Seal, SegmentHeader

INSTANT_MAX = 253_402_300_799  # the end of the year 9999
NUMBER_MAX = 2**63 - 1


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
    if isinstance(record, BundleRecord) and bundle_id(record.files) != record.id:
        raise Alarm(
            "A bundle is of another content than its name says.", code="JOURNAL_FORGED", position=position
        )
    if not all(_can_be(name, getattr(record, name)) for name in record.__struct_fields__):
        raise Alarm("A record holds a number that none can.", code="JOURNAL_INVALID", position=position)


def _can_be(name: str, value: object) -> bool:
    """Whether a calendar, a table and a collector can take a number: one that cannot stops them all."""
    if not isinstance(value, int | float):
        return True
    return 0 <= value <= (INSTANT_MAX if name == "at" else NUMBER_MAX)


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

"""A case: one understood request on its way through the check, and how a case can end."""

import msgspec

from limen.administrator.recording import Entry
from limen.core.decision import AccessRequest, Decision, Facts
from limen.enforcement.check.answer import Answer
from limen.enforcement.check.asked import Asked
from limen.enforcement.check.seats import Seat


class Outage(Exception):
    """This gateway cannot decide now. Its text is for the log."""


class Case(msgspec.Struct, frozen=True):
    """A request with who asks and what is asked. `seat` is None on public paths."""

    asked: Asked
    question: AccessRequest
    seat: Seat | None
    started_ns: int


class Opening(msgspec.Struct, frozen=True):
    """What a leashed request was allowed for: all that its live stream is kept with.

    `facts` is None on public paths, for which no engine was asked.
    """

    case: Case
    decision: Decision
    facts: Facts | None = None


class Reply(msgspec.Struct, frozen=True):
    """The answer, what must be recorded before it leaves, and its kind for the metrics.

    `opening` is there when a leashed request was allowed.
    """

    answer: Answer
    kind: str
    entry: Entry | None = None
    opening: Opening | None = None


class AskControl(msgspec.Struct, frozen=True):
    """A token of ours that is newer than the replica: ask control once, then answer again (law F4)."""


class Pending(msgspec.Struct, frozen=True):
    """A denial by policy that still lacks its explanation."""

    case: Case
    facts: Facts
    decision: Decision


Outcome = Reply | AskControl | Pending

"""What the journal keeps of a live stream's end."""

from limen.administrator.streams import Cause, Ending, LiveStream
from limen.core.ids import Instant, new_id
from limen.core.record import EventRecord

KIND = "stream.ended"
BRIEF_S = 5.0
"""A request that might have become a live stream, and ended by itself within this time, was none: its
decision and its outcome say all there is."""

_MAYBE = frozenset({"http", "sse", "grpc"})
"""Protocols that any answer could turn out to be."""


def was_live(stream: LiveStream, ending: Ending, at: Instant) -> bool:
    """Say whether a stream was one that deserves a record of its end."""
    brief = at - stream.opened_at < BRIEF_S
    return not (ending.cause is Cause.FINISHED and stream.protocol in _MAYBE and brief)


def ended_record(stream: LiveStream, ending: Ending, at: Instant, node: str) -> EventRecord:
    """Return the event of a stream's end. Bytes are those that Envoy told last."""
    question = stream.question
    return EventRecord(
        id=new_id("evt"),
        at=at,
        node=node,
        kind=KIND,
        actor="" if question.subject is None else question.subject.id,
        target=stream.id,
        reason=ending.sentence,
        ip=question.ip,
        data={
            "cause": ending.cause.value,
            "resource": str(question.resource),
            "session": question.session_id or "",
            "protocol": stream.protocol,
            "bytes_in": stream.bytes_in,
            "bytes_out": stream.bytes_out,
            "duration_ms": max(0, round((at - stream.opened_at) * 1_000)),
            "decision_id": ending.decision_id,
        },
    )

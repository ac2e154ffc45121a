"""The values of live streams: what each was allowed for, how it is shown, how it ended.

A live stream is an upgrade, a CONNECT, or a response that may go on: one gRPC stream of Envoy's, held
open by the leash. It is kept with everything that its decision was made from, so that the decision can
be made again without asking anybody.
"""

import math
from collections.abc import Callable
from enum import StrEnum

import msgspec

from limen.core.decision import AccessRequest, Decision, Facts, Network
from limen.core.ids import EntityRef, Instant
from limen.information.identity.svid import ClientCertificate


class Cause(StrEnum):
    """Why a stream ended. `finished` is the only one that was not us."""

    FINISHED = "finished"  # client or app closed it
    DENIED = "denied"  # its decision flipped
    SESSION_ENDED = "session_ended"
    STALE = "stale"  # the replica is older than the resource allows (law F3)
    OPERATOR = "operator"  # `limen stream end`
    AGE = "age"  # `max_s`
    IDLE = "idle"  # `idle_s`: Envoy ended it, and this is known by the time that passed
    STOPPING = "stopping"  # the gateway stops


class Ending(msgspec.Struct, frozen=True):
    """That a stream must end, and why: told to the person, and recorded.

    Attributes:
        sentence: for the person at the other end; names no policy's inner text.
        decision: the decision that flipped, if one did.
        decision_id: its record.
    """

    cause: Cause
    sentence: str
    decision: Decision | None = None
    decision_id: str = ""


FINISHED = Ending(Cause.FINISHED, "The connection was closed by one of its ends.")
IDLE = Ending(Cause.IDLE, "Nothing passed for as long as this resource lets a connection be idle.")


class LiveStream(msgspec.Struct, eq=False):
    """One live stream.

    Attributes:
        question: the request as it was decided; its id names the stream, and its record.
        app: what the session must be of: an app's name, or `CONNECT_APP`.
        token_hash, token_kind: the app session that it lives by, or a machine's; empty on a public route.
        reads: what its last decision read (`reads_of`); the registry shares equal ones.
        protocol: `websocket`, `connect`, `sse`, `grpc`, `http`, or another value of `Upgrade`.
        deadline_at: first instant at which its decision could change by itself (law R3).
        max_at: the end of its life by the resource's limits.
        idle_s: how long Envoy lets it be without a byte.
        bytes_in, bytes_out: as Envoy last told, at `bytes_at`.
        close: ends it now. The registry calls it once.
        stamp: the replica's when it was decided. A stream that is added with another than the present
            one is decided again at once, so that nothing can fall between deciding and adding.
        page: origin of the page that opened it, where that is another app's or a listed one's: it may
            stay open for as long as such a page may call this app. Empty for all others.
        certificate: the one that a machine was proven by, instead of a token.
        would_be: `deny` while it is open only because its resource is not enforced yet; that is recorded.
    """

    question: AccessRequest
    network: Network
    app: str
    token_hash: str
    token_kind: str
    staleness_max_s: float
    protocol: str
    opened_at: Instant
    max_at: Instant
    close: Callable[[Ending], None]
    reads: tuple[EntityRef, ...] = ()
    deadline_at: Instant | None = None
    idle_s: float = math.inf
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_at: Instant = 0.0
    stamp: int = -1
    page: str = ""
    certificate: ClientCertificate | None = None
    would_be: str = ""

    @property
    def id(self) -> str:
        """The id of the decision that opened it."""
        return self.question.id


class StreamView(msgspec.Struct, frozen=True):
    """A live stream in plain values, for the API and the CLI. `subject` and `resource` are bare names."""

    id: str
    subject: str
    session: str
    resource: str
    action: str
    protocol: str
    host: str
    path: str
    ip: str
    opened_at: Instant
    max_at: Instant
    deadline_at: Instant | None
    bytes_in: int
    bytes_out: int
    bytes_at: Instant


class Ended(msgspec.Struct, frozen=True):
    """How a stream ended. Only the client with this token is told."""

    id: str
    token_hash: str
    cause: Cause
    sentence: str
    at: Instant
    decision_id: str


def reads_of(facts: Facts) -> tuple[EntityRef, ...]:
    """Return what a decision read, whose change may flip it: the closures, and each grant by its id.

    A grant that comes later is in nobody's reads: it can close nothing.
    """
    found = {entity.ref: None for entity in facts.resource.entities}
    if facts.subject is not None:
        found |= {entity.ref: None for entity in facts.subject.entities}
    found |= {grant_ref(grant.id): None for grant in facts.grants}
    return tuple(sorted(found))


def grant_ref(grant_id: str) -> EntityRef:
    """Return the name under which a grant stands in `LiveStream.reads`. Policies see no such entity."""
    return EntityRef("Grant", grant_id)


def view_of(stream: LiveStream) -> StreamView:
    """Return a stream in plain values."""
    question = stream.question
    return StreamView(
        id=stream.id,
        subject="" if question.subject is None else question.subject.id,
        session=question.session_id or "",
        resource=question.resource.id,
        action=question.action,
        protocol=stream.protocol,
        host=question.host,
        path=question.path,
        ip=question.ip,
        opened_at=stream.opened_at,
        max_at=stream.max_at,
        deadline_at=stream.deadline_at,
        bytes_in=stream.bytes_in,
        bytes_out=stream.bytes_out,
        bytes_at=stream.bytes_at,
    )

"""Live streams: what each was allowed for, and the index by which a change finds those that read it.

A live stream is an upgrade, a CONNECT, or a response that may go on: one gRPC stream of Envoy's, held
open by the leash. It is kept with everything that its decision was made from, so that the decision can
be made again without asking anybody.
"""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from limen.core.decision import AccessRequest, Decision, Network
from limen.core.ids import EntityRef, Instant


class Cause(StrEnum):
    """Why a stream ended. `finished` is the only one that was not us."""

    FINISHED = "finished"  # client or app closed it
    DENIED = "denied"  # its decision flipped
    SESSION_ENDED = "session_ended"
    STALE = "stale"  # the replica is older than the resource allows (law F3)
    OPERATOR = "operator"  # `limen stream end`
    AGE = "age"  # `max_s`
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


class LiveStream(msgspec.Struct, eq=False):
    """One live stream.

    Attributes:
        question: the request as it was decided; its id names the stream, and its record.
        app: what the session must be of: an app's name, or `CONNECT_APP`.
        token_hash, token_kind: the app session that it came with.
        reads: every entity in the closures of subject and resource when last decided.
        protocol: `websocket`, `connect`, `sse`, `grpc`, `http`, or another value of `Upgrade`.
        deadline_at: first instant at which its decision could change by itself (law R3).
        max_at: the end of its life by the resource's limits.
        bytes_in, bytes_out: as Envoy last told, at `bytes_at`.
        close: ends it now. The registry calls it once.
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
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_at: Instant = 0.0

    @property
    def id(self) -> str:
        """The id of the decision that opened it."""
        return self.question.id

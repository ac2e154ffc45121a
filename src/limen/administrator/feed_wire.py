"""The change feed on the wire: one JSON object a line, over control's Unix socket.

A gateway says `hello` with what it has. Control answers `start` (a snapshot follows: `rows` …, then
`ready`) or `resume`, then sends a `tx` for each committed transaction, one line each, so that half a
line is never half a transaction. The gateway pings each second; a `pong` carries the head that control
read from the database *after* the ping came, and is sent after everything up to that head (law F3).
An `answer` to an `ask` is sent in the same way, so the replica that gets it has what it needs (law F4).
"""

import msgspec

from limen.core.changes import Change, Projection
from limen.core.errors import Invalid

PROTOCOL = 1
LINE_MAX_BYTES = 64 * 1024 * 1024  # a transaction is one line; a CSV import of 100,000 people is 40 MB
ROWS_PER_LINE = 1_000


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The gateway's first line: who it is, and where its replica stands (`seq` -1: nowhere)."""

    node: str
    epoch: str
    seq: int
    protocol: int = PROTOCOL


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Asks for the head."""

    n: int


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Asks for whatever control has committed, because of a session that the replica has not seen."""

    n: int


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """When sessions were last used. Not a change: nothing is decided by it at a gateway."""

    sessions: dict[str, float]


class Start(msgspec.Struct, frozen=True, tag="start"):
    """A snapshot follows."""

    epoch: str
    seq: int


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """Part of a snapshot."""

    rows: tuple[tuple[int, Projection], ...]


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The snapshot is complete. `seq` repeats where it stands."""

    seq: int


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """The feed goes on from where the gateway stands."""

    epoch: str


class Tx(msgspec.Struct, frozen=True, tag="tx"):
    """One whole transaction."""

    changes: tuple[Change, ...]


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    """Answers the ping `n`. Everything up to `seq` was sent before it."""

    n: int
    seq: int


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """Answers the ask `n`. Everything up to `seq` was sent before it."""

    n: int
    seq: int


class Bye(msgspec.Struct, frozen=True, tag="bye"):
    """Control does not serve this gateway, and why."""

    reason: str


FromGateway = Hello | Ping | Ask | Seen
FromControl = Start | Rows | Ready | Resume | Tx | Pong | Answer | Bye

_encoder = msgspec.json.Encoder()
_from_gateway: msgspec.json.Decoder[FromGateway] = msgspec.json.Decoder(FromGateway)
_from_control: msgspec.json.Decoder[FromControl] = msgspec.json.Decoder(FromControl)


def render_line(message: FromGateway | FromControl) -> bytes:
    """Return a message as one line, its end included."""
    return _encoder.encode(message) + b"\n"


def parse_from_gateway(line: bytes) -> FromGateway:
    """Parse a line that a gateway sent.

    Raises:
        Invalid: it is none of ours.
    """
    try:
        return _from_gateway.decode(line)
    except msgspec.MsgspecError as error:
        raise _broken(error) from error


def parse_from_control(line: bytes) -> FromControl:
    """Parse a line that control sent.

    Raises:
        Invalid: it is none of ours.
    """
    try:
        return _from_control.decode(line)
    except msgspec.MsgspecError as error:
        raise _broken(error) from error


def _broken(error: msgspec.MsgspecError) -> Invalid:
    return Invalid(
        f"A line of the change feed cannot be read: {error}.",
        remedy="Run one release of Limen on control and gateways.",
        code="FEED_BROKEN",
    )

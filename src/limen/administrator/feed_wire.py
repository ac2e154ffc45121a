"""The change feed on the wire: one JSON object a line, over control's Unix socket or over mutual TLS.

A gateway says `hello` with what it has. Control answers `start` (a snapshot follows: `rows` …, then
`ready`) or `resume`, then sends a `tx` for each committed transaction, one line each, so that half a
line is never half a transaction. The gateway pings each second; a `pong` carries the head that control
read from the database *after* the ping came, and is sent after everything up to that head (law F3).
An `answer` to an `ask` is sent in the same way, so the replica that gets it has what it needs (law F4).

Protocol 2 adds what an operator needs: the gateway says its release, its position and its streams,
control sends a `command` and gets a `report`, and a gateway has certificates signed (`renew`,
`sign_leaf`, answered by `signed`). Control and gateways one release apart work: a kind of line, or a
kind of projection, that the reader does not know is skipped (`parse_from_control`), and neither side
sends what came with protocol 2 to one that speaks protocol 1.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from limen.core.changes import Change, Projection
from limen.core.errors import Invalid

PROTOCOL = 2
PROTOCOL_OLDEST = 1  # of the release before
LINE_MAX_BYTES = 64 * 1024 * 1024  # a transaction is one line; a CSV import of 100,000 people is 40 MB
GATEWAY_LINE_MAX_BYTES = 16 * 1024 * 1024  # a report of 10,000 streams is 5 MB
FIRST_LINE_MAX_BYTES = 64 * 1024  # before anybody is known: a hello, or a request to join
ROWS_PER_LINE = 1_000
SEEN_PER_LINE = 10_000


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The gateway's first line: who it is, and where its replica stands (`seq` -1: nowhere)."""

    node: str
    epoch: str
    seq: int
    protocol: int = PROTOCOL
    release: str = ""


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Asks for the head.

    Attributes:
        seq: how far the replica is; -1 is unknown.
        streams: how many live streams the gateway holds.
        age_s: the age of what it knows, by law F3; None when nobody confirmed it yet.
    """

    n: int
    seq: int = -1
    streams: int = 0
    age_s: float | None = None


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Asks for whatever control has committed, because of a session that the replica has not seen."""

    n: int


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """When sessions were last used. Not a change: nothing is decided by it at a gateway."""

    sessions: dict[str, float]


class Report(msgspec.Struct, frozen=True, tag="report"):
    """What came of the command `n`: its result, or, when not `ok`, `{"code", "message"}`."""

    n: int
    ok: bool
    data: Any = None


class Renew(msgspec.Struct, frozen=True, tag="renew"):
    """Asks for a fresh certificate of this gateway for the key of `csr` (PEM)."""

    n: int
    csr: str


class SignLeaf(msgspec.Struct, frozen=True, tag="sign_leaf"):
    """Asks the development CA for a certificate of the catalogue's hosts for the key of `csr` (PEM)."""

    n: int
    csr: str


class Start(msgspec.Struct, frozen=True, tag="start"):
    """A snapshot follows. `release` is of whom wrote it."""

    epoch: str
    seq: int
    release: str = ""


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
    """Answers the ping `n`. Everything up to `seq` was sent before it.

    `at` is control's wall clock; 0 from a release that does not tell it.
    """

    n: int
    seq: int
    at: float = 0.0


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """Answers the ask `n`. Everything up to `seq` was sent before it."""

    n: int
    seq: int


class Bye(msgspec.Struct, frozen=True, tag="bye"):
    """Control does not serve this gateway, and why."""

    reason: str
    code: str = "FEED_REFUSED"
    remedy: str = ""


class Command(msgspec.Struct, frozen=True, tag="command"):
    """An operator's wish: `do` with `args`. Answered by the report `n`."""

    n: int
    do: str
    args: Mapping[str, Any]


class Signed(msgspec.Struct, frozen=True, tag="signed"):
    """Answers a request to sign, with a PEM chain and its CA, or with why not (`refusal`)."""

    n: int
    chain: str = ""
    ca: str = ""
    refusal: str = ""


class Unknown(msgspec.Struct, frozen=True):
    """A line of a kind that a later release has. Skipped."""

    kind: str


FromGateway = Hello | Ping | Ask | Seen | Report | Renew | SignLeaf
FromControl = Start | Rows | Ready | Resume | Tx | Pong | Answer | Bye | Command | Signed

_encoder = msgspec.json.Encoder()
_from_gateway: msgspec.json.Decoder[FromGateway] = msgspec.json.Decoder(FromGateway)
_from_control: msgspec.json.Decoder[FromControl] = msgspec.json.Decoder(FromControl)


def render_line(message: msgspec.Struct) -> bytes:
    """Return a message as one line, its end included."""
    return _encoder.encode(message) + b"\n"


def parse_from_gateway(line: bytes) -> FromGateway | Unknown:
    """Parse a line that a gateway sent.

    Raises:
        Invalid: it is broken.
    """
    try:
        return _from_gateway.decode(line)
    except msgspec.MsgspecError as error:
        return _unknown(line, _GATEWAY_KINDS, error)


def parse_from_control(line: bytes) -> FromControl | Unknown:
    """Parse a line that control sent. Projections of kinds that are not known here are left out.

    A change of such a kind becomes a tombstone: its number counts, its value is nobody's here.

    Raises:
        Invalid: it is broken.
    """
    try:
        return _from_control.decode(line)
    except msgspec.MsgspecError as error:
        newer = _unknown(line, _CONTROL_KINDS, error, also=("tx", "rows"))
        if newer.kind not in ("tx", "rows"):
            return newer
        return _without_unknown(line, error)


# --- a release apart -----------------------------------------------------------------------------


class _Kind(msgspec.Struct, frozen=True):
    type: str


class _LooseChange(msgspec.Struct, frozen=True):
    seq: int
    tx: int
    kind: str
    id: str
    value: msgspec.Raw
    actor: str
    reason: str
    at: float


class _LooseTx(msgspec.Struct, frozen=True, tag="tx"):
    changes: tuple[_LooseChange, ...]


class _LooseRows(msgspec.Struct, frozen=True, tag="rows"):
    rows: tuple[tuple[int, msgspec.Raw], ...]


def _tags(union: Any) -> frozenset[str]:
    return frozenset(kind.__struct_config__.tag for kind in union.__args__)


_GATEWAY_KINDS = _tags(FromGateway)
_CONTROL_KINDS = _tags(FromControl)
_PROJECTION_KINDS = _tags(Projection)


def _unknown(
    line: bytes, known: frozenset[str], error: msgspec.MsgspecError, also: tuple[str, ...] = ()
) -> Unknown:
    try:
        kind = msgspec.json.decode(line, type=_Kind).type
    except msgspec.MsgspecError:
        raise _broken(error) from error
    if kind in known and kind not in also:
        raise _broken(error) from error
    return Unknown(kind)


def _without_unknown(line: bytes, error: msgspec.MsgspecError) -> Tx | Rows:
    try:
        loose = msgspec.json.decode(line, type=_LooseTx | _LooseRows)
        if isinstance(loose, _LooseTx):
            return Tx(tuple(_known_change(change) for change in loose.changes))
        return Rows(tuple((version, value) for version, raw in loose.rows for value in _known(raw)))
    except msgspec.MsgspecError:
        raise _broken(error) from error


def _known_change(change: _LooseChange) -> Change:
    value = None if bytes(change.value) == b"null" else next(iter(_known(change.value)), None)
    return Change(
        change.seq, change.tx, change.kind, change.id, value, change.actor, change.reason, change.at
    )


def _known(raw: msgspec.Raw) -> tuple[Projection, ...]:
    if msgspec.json.decode(raw, type=_Kind).type not in _PROJECTION_KINDS:
        return ()
    return (msgspec.json.decode(raw, type=Projection),)


def _broken(error: msgspec.MsgspecError) -> Invalid:
    return Invalid(
        f"A line of the change feed cannot be read: {error}.",
        remedy="Run the same release of Limen on control and gateways, or releases next to each other.",
        code="FEED_BROKEN",
    )

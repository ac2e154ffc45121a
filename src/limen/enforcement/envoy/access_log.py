"""Envoy's access log: one JSON line per finished request, and one each few seconds per open one.

The gateway reads the first as outcomes and the second as live bytes. A line holds no path, query, address
or header but the decision's id, by which the journal joins it.
"""

from typing import Any

import msgspec

from limen.core.ids import Instant
from limen.core.record import OutcomeRecord
from limen.enforcement.envoy.headers import DECISION_ID
from limen.enforcement.envoy.typed import typed

FIELDS = {
    "asked": f"%REQ({DECISION_ID})%",  # set by the check on an allowed request
    "denied": f"%RESP({DECISION_ID})%",  # set by the check on its own answer
    "at": "%START_TIME(%s.%3f)%",
    "status": "%RESPONSE_CODE%",
    "took_ms": "%DURATION%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "kind": "%ACCESS_LOG_TYPE%",
}


THROUGH = "via_upstream"
PERIODIC = "DownstreamPeriodic"


class StreamBytes(msgspec.Struct, frozen=True):
    """What has gone through an open request so far.

    Attributes:
        id: of the decision that opened it.
        bytes_in: from the client.
        bytes_out: to the client.
    """

    id: str
    bytes_in: int
    bytes_out: int
    at: Instant


class _Line(msgspec.Struct):
    at: str
    status: int
    took_ms: int
    bytes_in: int = 0
    bytes_out: int = 0
    asked: str | None = None
    denied: str | None = None
    flags: str | None = None
    details: str | None = None
    kind: str | None = None


_decoder = msgspec.json.Decoder(_Line)


def render_access_log() -> list[dict[str, Any]]:
    """Return the access log of a connection manager."""
    config = typed("StdoutLog", log_format={"json_format": FIELDS})
    return [{"name": "envoy.access_loggers.stdout", "typed_config": config}]


def parse_line(line: bytes) -> OutcomeRecord | StreamBytes | None:
    """Return what a line tells, or None where it belongs to no decision."""
    try:
        seen = _decoder.decode(line)
        at = float(seen.at)
    except (msgspec.DecodeError, ValueError):
        return None
    decision = seen.asked or seen.denied
    if not decision:
        return None
    if seen.kind == PERIODIC:
        return StreamBytes(decision, seen.bytes_in, seen.bytes_out, at + seen.took_ms / 1000)
    return OutcomeRecord(
        id=decision,
        at=at,
        status=seen.status,
        duration_ms=seen.took_ms,
        bytes_in=seen.bytes_in,
        bytes_out=seen.bytes_out,
        flags="" if seen.flags in (None, "-") else seen.flags,
        details=_details(seen.details),
    )


def parse_outcome(line: bytes) -> OutcomeRecord | None:
    """Return the outcome that a line tells, if it tells one."""
    told = parse_line(line)
    return told if isinstance(told, OutcomeRecord) else None


def _details(text: str | None) -> str:
    """Return Envoy's name for how it ended, without particulars: these name addresses and files."""
    name = (text or "").partition("{")[0]
    return "" if name in ("-", THROUGH) else name

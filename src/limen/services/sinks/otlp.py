"""OpenTelemetry logs: OTLP/HTTP in its JSON encoding (opentelemetry.io/docs/specs/otlp).

JSON, and not protobuf: the package of Envoy's API (`xds-protos`) installs older OpenTelemetry messages
under the same module names as OpenTelemetry's own, and the last that is installed wins.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import msgspec

from limen import __version__
from limen.journal.export.rows import Row
from limen.services.sinks.https import HttpsSender
from limen.services.sinks.ports import Message, NotTaken

NANO = 1_000_000_000

_ATTRIBUTES: Mapping[str, str] = {
    "type": "limen.type",
    "id": "limen.id",
    "verdict": "limen.verdict",
    "code": "limen.code",
    "resource": "limen.resource",
    "subject": "user.id",
    "actor": "user.id",
    "ip": "client.address",
    "method": "http.request.method",
    "host": "server.address",
}
"""Fields that collectors can tell records by without reading the body."""


_INFO, _WARN, _ERROR = (9, "INFO"), (13, "WARN"), (17, "ERROR")
"""Severities, by the log data model's numbers."""


class _Partial(msgspec.Struct, rename="camel"):
    rejected_log_records: int | str = 0  # 64 bits are strings in this encoding, and some send numbers


class _Answer(msgspec.Struct, rename="camel"):
    partial_success: _Partial | None = None


class OtlpSender(HttpsSender):
    """Posts `ExportLogsServiceRequest`s. The body of each record is its JSON."""

    content_type = "application/json"

    def render(self, messages: Sequence[Message]) -> bytes:
        """Return the request's bytes."""
        about = [_attribute("service.name", "limen"), _attribute("service.version", __version__)]
        scope = {"scope": {"name": "limen.journal"}, "logRecords": [_record(one) for one in messages]}
        whole = {"resource": {"attributes": about}, "scopeLogs": [scope]}
        return msgspec.json.encode({"resourceLogs": [whole]})

    def check(self, answer: httpx.Response) -> None:
        """Refuse a success that is partial: which record it means shows when they are sent apart."""
        try:
            told = msgspec.json.decode(answer.content or b"{}", type=_Answer).partial_success
            rejected = 0 if told is None else int(told.rejected_log_records)
        except (msgspec.MsgspecError, ValueError):
            return  # a success all the same: the status says so
        if rejected > 0:
            raise NotTaken(f"The collector rejects {rejected} of the records.")


def _record(message: Message) -> dict[str, Any]:
    row = message.row
    severity, text = _severity(row)
    named = {_ATTRIBUTES[name]: row.fields[name] for name in _ATTRIBUTES if row.fields.get(name)}
    attributes = {"limen.uid": row.uid, "limen.node": row.node, **named}
    return {
        "timeUnixNano": str(max(0, min(int(row.at * NANO), 2**64 - 1))),
        "severityNumber": severity,
        "severityText": text,
        "eventName": f"limen.{row.fields.get('kind') or row.fields.get('type')}",
        "body": {"stringValue": message.body.decode("ascii")},
        "attributes": [_attribute(name, str(value)) for name, value in attributes.items()],
    }


def _attribute(name: str, value: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value}}


def _severity(row: Row) -> tuple[int, str]:
    if str(row.fields.get("kind", "")).startswith("journal."):
        return _ERROR
    return _WARN if row.fields.get("verdict") == "deny" else _INFO

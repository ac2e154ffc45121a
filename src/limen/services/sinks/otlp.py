"""OpenTelemetry logs: OTLP/HTTP with protobuf (opentelemetry.io/docs/specs/otlp)."""

from collections.abc import Mapping, Sequence

import httpx
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

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


class OtlpSender(HttpsSender):
    """Posts `ExportLogsServiceRequest`s. The body of each record is its JSON."""

    content_type = "application/x-protobuf"

    def render(self, messages: Sequence[Message]) -> bytes:
        """Return the request's bytes."""
        request = ExportLogsServiceRequest()
        whole = request.resource_logs.add()
        whole.resource.attributes.extend(
            [_attribute("service.name", "limen"), _attribute("service.version", __version__)]
        )
        scope = whole.scope_logs.add()
        scope.scope.name = "limen.journal"
        scope.log_records.extend(_record(message) for message in messages)
        return bytes(request.SerializeToString())  # type: ignore[no-untyped-call]

    def check(self, answer: httpx.Response) -> None:
        """Refuse a success that is partial: which record it means shows when they are sent apart."""
        try:
            told = ExportLogsServiceResponse.FromString(answer.content).partial_success  # type: ignore[no-untyped-call]
        except DecodeError:
            return  # a success all the same: the status says so
        if told.rejected_log_records > 0:
            raise NotTaken(f"The collector rejects {told.rejected_log_records} of the records.")


def _record(message: Message) -> LogRecord:
    row = message.row
    severity, text = _severity(row)
    named = {_ATTRIBUTES[name]: row.fields[name] for name in _ATTRIBUTES if row.fields.get(name)}
    attributes = {"limen.uid": row.uid, "limen.node": row.node, **named}
    return LogRecord(
        time_unix_nano=max(0, min(int(row.at * NANO), 2**64 - 1)),
        severity_number=severity,
        severity_text=text,
        event_name=f"limen.{row.fields.get('kind') or row.fields.get('type')}",
        body=AnyValue(string_value=message.body.decode("ascii")),
        attributes=[_attribute(name, str(value)) for name, value in attributes.items()],
    )


def _attribute(name: str, value: str) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(string_value=value))


def _severity(row: Row) -> "tuple[SeverityNumber.ValueType, str]":
    if str(row.fields.get("kind", "")).startswith("journal."):
        return SeverityNumber.SEVERITY_NUMBER_ERROR, "ERROR"
    if row.fields.get("verdict") == "deny":
        return SeverityNumber.SEVERITY_NUMBER_WARN, "WARN"
    return SeverityNumber.SEVERITY_NUMBER_INFO, "INFO"

"""What Envoy and the leash say to each other: ext_proc messages to and from the check's own values.

Envoy sends the headers of a request, of its answer, and the trailers; no byte of a body.
Source: envoy/service/ext_proc/v3/external_processor.proto, Envoy 1.40.
"""

import base64
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from envoy.service.ext_proc.v3 import external_processor_pb2
from google.protobuf.message import DecodeError

from limen.core.errors import Invalid
from limen.enforcement.check.answer import Answer, Header
from limen.enforcement.check.identity import DECISION_ID, REMOVE
from limen.enforcement.check.modes import WARNING
from limen.enforcement.check.request import HOST, UPGRADE, CheckRequest

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD = "Process"
DENIED = "limen_leash_denied"
"""Envoy's name for the cause of our own denials (`response.code_details`), so that they pass untouched."""

_pb: Any = external_processor_pb2  # its classes are made when it is imported: no type checker sees them
REQUEST_HEADERS, ANSWER_HEADERS, ANSWER_TRAILERS = "request_headers", "response_headers", "response_trailers"

_APPEND, _OVERWRITE = 0, 2  # HeaderAppendAction
_METHOD, _PATH, _AUTHORITY, _STATUS = b":method", b":path", b":authority", ":status"
_CONTENT_TYPE = b"content-type"
_HTTP_VERSION = b"x-limen-http"  # as Envoy noted it: `HTTP/1.1` or `HTTP/2`
_WEBSOCKET_KEY = "sec-websocket-key"
_UNKNOWN = 2
_GRPC_STATUS = {400: 3, 401: 16, 403: 7, 404: 5, 421: 14, 429: 8, 503: 14}
"""HTTP's statuses in gRPC's words (grpc.io, status codes): what a gRPC client reads of a denial."""


class Message(NamedTuple):
    """One message of Envoy's: which part of the exchange, and its protobuf value."""

    kind: str
    value: Any


class Allowed(NamedTuple):
    """What an allowing answer is in Envoy's words: for the request, and for the app's answer later."""

    now: bytes
    later: bytes


def parse_message(raw: bytes) -> Message:
    """Parse one message.

    Raises:
        Invalid: not a message of this protocol, or an empty one.
    """
    try:
        message = _pb.ProcessingRequest.FromString(raw)
    except DecodeError:
        raise _broken("not a ProcessingRequest") from None
    kind = message.WhichOneof("request")
    if kind is None:
        raise _broken("a message without content")
    return Message(kind, getattr(message, kind))


def read_request(value: Any) -> CheckRequest:
    """Return the request whose headers came, as the plain check would see it.

    Raises:
        Invalid: a pseudo header is missing.
    """
    found: dict[bytes, bytes] = {}
    for header in value.headers.headers:
        name = header.key.encode("latin-1", "replace")
        content = header.raw_value or header.value.encode()
        found[name] = content if name not in found else found[name] + b"," + content
    method, authority = found.pop(_METHOD, b""), found.pop(_AUTHORITY, b"")
    target = found.pop(_PATH, b"")
    if not method or not authority:
        raise _broken("a request without method or authority")
    found[HOST] = authority
    return CheckRequest(method.decode("latin-1"), target, found)


def read_status(value: Any) -> int:
    """Return the status of the app's answer, or 0 where Envoy does not tell."""
    for header in value.headers.headers:
        if header.key == _STATUS:
            text = header.raw_value or header.value.encode()
            return int(text) if text.isdigit() else 0
    return 0


def protocol_of(request: CheckRequest) -> str:
    """Return what kind of stream a request asks for."""
    if request.method == "CONNECT":
        return "connect"
    upgrade = request.headers.get(UPGRADE)
    if upgrade is not None:
        return upgrade.decode("latin-1").lower()
    if request.headers.get(_CONTENT_TYPE, b"").startswith(b"application/grpc"):
        return "grpc"
    return "sse" if b"text/event-stream" in request.headers.get(b"accept", b"").lower() else "http"


def render_allowed(answer: Answer, request: CheckRequest, protocol: str) -> Allowed:
    """Return an allowing answer as changes to the request, and to the answer that the app will give.

    The answer to CONNECT tells its client the stream's id, by which it asks why it was cut.
    A WebSocket over HTTP/2 comes without the key that servers of HTTP/1 ask for (RFC 8441 §5), so it
    gets one of sixteen random bytes (RFC 6455 §4.1).
    """
    response = _pb.ProcessingResponse()
    mutation = response.request_headers.response.header_mutation
    later: list[Header] = []
    for name, value in answer.headers:
        if name == REMOVE:
            mutation.remove_headers.extend([one for one in value.split(",") if one])
        elif name in ("set-cookie", WARNING):
            later.append((name, value))
        else:
            _set(mutation, name, value, _OVERWRITE)
            if name == DECISION_ID and protocol == "connect":
                later.append((name, value))
    if protocol == "websocket" and request.headers.get(_HTTP_VERSION) == b"HTTP/2":
        # Not for HTTP/1: in an ext_proc answer ADD_IF_ABSENT overwrites (measured on Envoy 1.40).
        _set(mutation, _WEBSOCKET_KEY, base64.b64encode(os.urandom(16)).decode(), _OVERWRITE)
    return Allowed(response.SerializeToString(), _with(later) if later else NOTHING_TO_ANSWER)


def render_denied(answer: Answer, request: CheckRequest | None) -> bytes:
    """Return any other answer as what Envoy gives the client instead of the app's.

    gRPC clients read no bodies: they get the sentence as their status.
    """
    response = _pb.ProcessingResponse()
    immediate = response.immediate_response
    immediate.status.code = answer.status
    immediate.details = DENIED
    grpc = request is not None and _is_grpc(request)
    if grpc:
        immediate.grpc_status.status = _GRPC_STATUS.get(answer.status, _UNKNOWN)
        immediate.body = _sentence(answer)
    else:
        immediate.body = answer.body
    seen: set[str] = set()
    for name, value in answer.headers:
        if not (grpc and name == "content-type"):
            _set(immediate.headers, name, value, _APPEND if name in seen else _OVERWRITE)
            seen.add(name)
    return bytes(response.SerializeToString())


def _with(headers: Iterable[Header]) -> bytes:
    response = _pb.ProcessingResponse()
    mutation = response.response_headers.response.header_mutation
    for name, value in headers:
        _set(mutation, name, value, _APPEND)
    return bytes(response.SerializeToString())


def _set(mutation: Any, name: str, value: str, action: int) -> None:
    option = mutation.set_headers.add()
    option.header.key = name
    option.header.raw_value = value.encode("utf-8", "surrogateescape")
    option.append_action = action
    if action == _APPEND:
        option.append.value = True  # Envoy 1.40 looks here in an ext_proc answer, and overwrites otherwise


def _is_grpc(request: CheckRequest) -> bool:
    content_type = request.headers.get(_CONTENT_TYPE, b"")
    return content_type == b"application/grpc" or content_type.startswith(b"application/grpc+")


def _sentence(answer: Answer) -> bytes:
    try:
        return str(msgspec.json.decode(answer.body)["detail"]).encode()
    except (msgspec.DecodeError, KeyError, TypeError):
        return b"Limen does not let this through."


def _empty(kind: str) -> bytes:
    response = _pb.ProcessingResponse()
    getattr(response, kind).SetInParent()
    return bytes(response.SerializeToString())


def _broken(what: str) -> Invalid:
    return Invalid(f"Envoy sent {what}.", remedy="Check the versions of Envoy and Limen.", code="EXT_PROC")


NOTHING_TO_ANSWER = _empty(ANSWER_HEADERS)
NOTHING_TO_TRAILERS = _empty(ANSWER_TRAILERS)

"""Answers: the value that the check gives for a request, and its bytes."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

Header = tuple[str, str]

REASONS = {
    200: "OK",
    203: "Non-Authoritative Information",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    421: "Misdirected Request",
    503: "Service Unavailable",
}

PROBLEM_TYPE = "application/problem+json"  # RFC 9457
PROBLEM_BASE = "urn:limen:problem:"

INTERPOSED = 203
"""Status of a page that stands before the app's own (RFC 9110 §15.3.4: not from where it was asked of).
Envoy takes 200 for an answer that lets a request go on."""


class Answer(msgspec.Struct, frozen=True):
    """What Envoy is told. 200 lets the request go on, with `headers` set on it; anything else is what
    the client gets, except that 5xx is an outage, for which Envoy has a page of its own.
    """

    status: int = 503
    headers: tuple[Header, ...] = ()
    body: bytes = b""

    @property
    def allows(self) -> bool:
        """Whether the request goes on."""
        return self.status == 200


def render_answer(answer: Answer, *, head: bool) -> bytes:
    """Return the HTTP/1.1 response. An answer to HEAD has no body (RFC 9110 §9.3.2)."""
    body = b"" if head else answer.body
    lines = [f"HTTP/1.1 {answer.status} {REASONS[answer.status]}\r\ncontent-length: {len(body)}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in answer.headers]
    lines.append("\r\n")
    return "".join(lines).encode("utf-8", "surrogateescape") + body


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    headers: tuple[Header, ...] = (),
    more: Mapping[str, Any] | None = None,
) -> Answer:
    """Return a problem document (RFC 9457) for a client that is not a person's browser."""
    content = {
        "type": PROBLEM_BASE + code.lower().replace("_", "-"),
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        **(more or {}),
    }
    own = (
        ("content-type", PROBLEM_TYPE),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    )
    return Answer(status, own + headers, json.dumps(content, ensure_ascii=False).encode())

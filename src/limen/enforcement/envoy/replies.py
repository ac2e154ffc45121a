"""What Envoy itself answers when no one behind it can: a page for people, a problem document for programs.

The check's own denials pass untouched. Source: RFC 9457 (problem documents).
"""

import base64
import hashlib
import html
from typing import Any, NamedTuple

from limen.core.record import MAX_DURATION
from limen.enforcement.envoy.typed import typed

RETRY_AFTER_S = 5
LEASH_DETAILS = "limen_leash_denied"
"""The leash's name for its own answers (`limen.enforcement.leash`): they reach the client as they are."""


class Reply(NamedTuple):
    """One answer of Envoy's own.

    Attributes:
        status: of Envoy's answer, by which it is known.
        details: Envoy's name for the cause, by which it is known more exactly; None means any, and a `*` at
            its end stands for anything.
        sentence: `{route}` stands for the route's name: that of the app or service.
        becomes: the status that the client gets instead.
    """

    status: int
    details: str | None
    code: str
    title: str
    sentence: str
    becomes: int | None = None

    @property
    def shown(self) -> int:
        """The status that the client gets."""
        return self.becomes or self.status


_UNDECIDED = (
    "The part of Limen that decides on access does not answer, so nothing is let through. "
    "It usually comes back within seconds. Please try again."
)

_TOO_LONG = (
    "What goes on for longer than a few minutes has to be called a stream: in limen.yaml, a route of the app "
    "with streaming: true."
)

REPLIES = (
    Reply(503, "ext_authz_error", "CHECK_UNAVAILABLE", "Access cannot be decided right now", _UNDECIDED),
    Reply(503, "ext_proc_error*", "CHECK_UNAVAILABLE", "Access cannot be decided right now", _UNDECIDED),
    Reply(504, "ext_proc_error*", "CHECK_UNAVAILABLE", "Access cannot be decided right now", _UNDECIDED,
          becomes=503),
    Reply(503, None, "APP_UNAVAILABLE", "The app does not answer",
          "Limen reached no server of this app. Please try again in a moment, "
          "and tell the app's owner if it stays so."),
    Reply(504, "stream_idle_timeout", "STREAM_IDLE", "Nothing was said for too long",
          "No byte went either way for as long as this app allows. Its owner sets how long that is in "
          "limen.yaml, under streams.idle_s, or timeout_s for what is no stream."),
    Reply(504, MAX_DURATION, "REQUEST_CUT", "This took longer than one request may", _TOO_LONG),
    Reply(408, MAX_DURATION, "REQUEST_CUT", "This took longer than one request may", _TOO_LONG),
    Reply(502, None, "APP_FAILED", "The app gave no proper answer",
          "The app closed the connection or answered with something that is not HTTP. Please try again."),
    Reply(504, None, "APP_SLOW", "The app took too long",
          "The app did not answer in the time that it is given. Please try again."),
    Reply(403, "upgrade_failed", "STREAM_REFUSED", "This kind of connection is not open",
          "The app is not asked for this kind of upgrade. Its owner can allow it in limen.yaml, by the value "
          "of the Upgrade header, under apps.{route}.upgrades; WebSockets are upgrades: [websocket]."),
    Reply(403, "direct_response", "STREAM_REFUSED", "CONNECT opens nothing here",
          "CONNECT opens the services of the bundle, by their names, and this is none of them."),
    Reply(505, "direct_response", "STREAM_REFUSED", "CONNECT needs HTTP/2",
          "Over HTTP/1.1 a tunnel can lose its last bytes. Use limen connect {route}, or a client that "
          "speaks HTTP/2 to this host."),
    Reply(426, "direct_response", "NOT_A_WEB_APP", "This is not a web page",
          "{route} is a TCP service. Reach it from a terminal with: limen connect {route}", becomes=404),
    Reply(404, "route_not_found", "STREAM_REFUSED", "This kind of request is not open",
          "CONNECT, and requests without a path, do not pass this gateway.", becomes=403),
    Reply(400, None, "BAD_REQUEST", "The address is not acceptable",
          "Limen refuses addresses and headers that two servers could read in two ways."),
    Reply(404, None, "NO_SUCH_HOST", "There is no such app",
          "No app of this system has this host name. Check the address."),
    Reply(405, None, "METHOD_REFUSED", "This method is not open", "TRACE does not pass this gateway."),
    Reply(408, None, "REQUEST_SLOW", "The request took too long to arrive",
          "The connection was silent for too long. Please try again."),
    Reply(413, None, "BODY_TOO_LARGE", "That is too large for this app",
          "The upload is larger than this app accepts through Limen."),
    Reply(421, None, "MISDIRECTED", "Wrong connection for this host",
          "The browser used a connection that belongs to another host. Reloading the page helps."),
    Reply(431, None, "HEADERS_TOO_LARGE", "The request has too many headers",
          "Its headers, cookies included, are larger than Limen accepts. "
          "Clearing this site's cookies helps."),
    Reply(500, "ext_authz_invalid", "HEADERS_TOO_LARGE", "The request has too many headers",
          "Its headers, with those that Limen adds, are larger than can be passed on. "
          "Clearing this site's cookies helps.", becomes=431),
    Reply(500, None, "REQUEST_FAILED", "The request cannot be passed on",
          "Something in this request kept Limen from passing it on."),
)  # fmt: skip
"""Most specific first."""

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;min-height:100vh;display:grid;place-items:center;"
    "font:1.0625rem/1.6 system-ui,sans-serif;background:Canvas;color:CanvasText}"
    "main{max-width:32rem;padding:2rem}h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}"
    "p{margin:0 0 .75rem}small{opacity:.75}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"
)


def render_local_replies() -> dict[str, Any]:
    """Return Envoy's `local_reply_config`."""
    # What check and leash answer is theirs.
    untouched = {"filter": {"or_filter": {"filters": [_cause("ext_authz_denied"), _cause(LEASH_DETAILS)]}}}
    mappers = [mapper for reply in REPLIES for mapper in (_for_people(reply), _for_programs(reply))]
    return {"mappers": [untouched, *mappers]}


def page(reply: Reply) -> str:
    """Return the page of a reply. It stands alone: who would serve its parts may be what is missing."""
    title, sentence = html.escape(reply.title), html.escape(reply.sentence)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f'<body data-code="{reply.code}"><main><h1>{title}</h1><p>{sentence}</p>'
        f"<p><small>Limen · {reply.shown} {reply.code}</small></p></main></body></html>"
    )


def problem(reply: Reply) -> dict[str, Any]:
    """Return the problem document of a reply."""
    return {
        "type": "about:blank",
        "title": reply.title,
        "status": reply.shown,
        "detail": reply.sentence,
        "code": reply.code,
    }


def _for_people(reply: Reply) -> dict[str, Any]:
    accepts = {"name": "accept", "string_match": {"contains": "text/html"}}
    text = _filled(page(reply))
    body = {"text_format_source": {"inline_string": text}, "content_type": "text/html; charset=utf-8"}
    headers = [*_headers(reply), _header("content-security-policy", CONTENT_SECURITY_POLICY)]
    condition = _all(*_conditions(reply), {"header_filter": {"header": accepts}})
    return {
        "filter": condition,
        "status_code": reply.shown,
        "body_format_override": body,
        "headers_to_add": headers,
    }


def _for_programs(reply: Reply) -> dict[str, Any]:
    fields = {k: _filled(v) if isinstance(v, str) else v for k, v in problem(reply).items()}
    body = {"json_format": fields, "content_type": "application/problem+json"}
    return {
        "filter": _all(*_conditions(reply)),
        "status_code": reply.shown,
        "body_format_override": body,
        "headers_to_add": _headers(reply),
    }


def _filled(text: str) -> str:
    """Names of routes are DNS labels, so nothing in them needs escaping."""
    return text.replace("%", "%%").replace("{route}", "%ROUTE_NAME%")


def _headers(reply: Reply) -> list[dict[str, Any]]:
    always = [_header("cache-control", "no-store"), _header("x-content-type-options", "nosniff")]
    again = [_header("retry-after", str(RETRY_AFTER_S))] if reply.shown == 503 else []
    return always + again


def _header(name: str, value: str) -> dict[str, Any]:
    return {
        "header": {"key": name, "value": value.replace("%", "%%")},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _conditions(reply: Reply) -> list[dict[str, Any]]:
    status = {"value": {"default_value": reply.status, "runtime_key": "limen.unused"}, "op": "EQ"}
    found: list[dict[str, Any]] = [{"status_code_filter": {"comparison": status}}]
    return found + ([_cause(reply.details)] if reply.details else [])


def _cause(details: str) -> dict[str, Any]:
    name = details.removesuffix("*")
    test = f'.startsWith("{name}")' if name != details else f' == "{name}"'
    expression = typed("CelFilter", expression=f"response.code_details{test}")
    return {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": expression,
        }
    }


def _all(*conditions: dict[str, Any]) -> dict[str, Any]:
    return conditions[0] if len(conditions) == 1 else {"and_filter": {"filters": list(conditions)}}

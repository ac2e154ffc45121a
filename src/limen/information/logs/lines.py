"""What a line of an access log says of one request, whatever wrote it.

Everything in it came from strangers: it is parsed strictly, or counted as unreadable.
"""

import posixpath
import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

from limen.core.ids import Instant

LINE_MAX = 65_536  # characters; a longer line is unreadable

_HEX = re.compile(r"(?:\\x[0-9A-Fa-f]{2})+")
_SLASHES = re.compile(r"//+")
_METHOD = re.compile(r"[A-Z][A-Z_-]{0,31}")


class LogRequest(msgspec.Struct, frozen=True):
    """One request. `host` and `user` are empty where the line names none; `path` has no query."""

    at: Instant
    host: str
    method: str
    path: str
    status: int
    user: str
    ip: str


Parse = Callable[[str], LogRequest | None]
"""Returns what a line says, or None when it cannot be read."""


def unescape(text: str) -> str:
    r"""Return text in which `\xHH` are the bytes that they stand for (nginx, Go)."""
    return _HEX.sub(lambda found: _bytes(found[0]).decode("utf-8", "replace"), text)


def _bytes(escapes: str) -> bytes:
    return bytes.fromhex(escapes.replace("\\x", ""))


def parse_target(method: str, target: str) -> tuple[str, str] | None:
    """Return host and path of a request's target (RFC 9112 §3.2); None when it is none.

    The path is normalised as a gateway does it: no dot segments, no empty ones, no query.
    """
    if not _METHOD.fullmatch(method):
        return None
    if method == "CONNECT":
        return target.rpartition(":")[0].lower() or target.lower(), ""
    host = ""
    if target.startswith(("http://", "https://")):
        try:
            parts = urlsplit(target)
            host, target = parts.hostname or "", parts.path or "/"
        except ValueError:
            return None
    if not target.startswith("/"):
        return None
    path = _SLASHES.sub("/", target.partition("?")[0].partition("#")[0])
    if "/." in path:
        tail = "/" if path.endswith(("/", "/.", "/..")) else ""
        path = posixpath.normpath(path).rstrip("/") + tail or "/"
    return host, path


def parse_ip(text: str) -> str:
    """Return an address, without port; the unspecified one where none can be read."""
    for candidate in (text, text.rpartition(":")[0].strip("[]")):
        try:
            return str(ip_address(candidate.partition("%")[0]))
        except ValueError:
            continue
    return "0.0.0.0"  # noqa: S104  no address, and in no range that a policy names


def parse_user(text: str) -> str:
    """Return the user of a line; `-` is nobody."""
    return "" if text == "-" else unescape(text)

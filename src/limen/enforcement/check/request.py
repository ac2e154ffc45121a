"""The request as Envoy tells it: from bytes to a `Target`, or refused (400) before anything is looked up.

Strictness on the wire (`design/decision.md`): what two programs could read differently is not let
through. Envoy has normalised the path by then; what still looks odd here is odd on purpose.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from unicodedata import normalize

import msgspec

from limen.core.errors import Invalid
from limen.core.paths import path_readings

HOST = b"host"
COOKIE = b"cookie"
FIRST_COOKIE = b"x-limen-first-cookie"  # the first Cookie header alone, from Envoy, which joins several
AUTHORIZATION = b"authorization"
LIMEN_TOKEN = b"x-limen-token"
PEER = b"x-limen-peer"
DPOP = b"dpop"
CERTIFICATE = b"x-limen-cert-sha256"  # noted by Envoy where a client has shown a certificate
ORIGIN = b"origin"
REFERER = b"referer"
ACCEPT = b"accept"
UPGRADE = b"upgrade"
FETCH_DEST = b"sec-fetch-dest"
FETCH_MODE = b"sec-fetch-mode"
FETCH_SITE = b"sec-fetch-site"

TARGET_MAX = 16_384  # bytes of path and query; Envoy's limit on all headers is above it

_PLAIN = re.compile(
    rb"/(?:[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9_.~!$&'()*+,=:@-]*(?<!\.)"
    rb"(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9_.~!$&'()*+,=:@-]*(?<!\.))*/?)?(?:\?[\x21\x22\x24-\x7e]*)?"
)
"""Targets in which nothing can be misread: no escapes, no `;`, no empty segment, no dot at an end of one."""

_PRINTABLE = re.compile(rb"[\x21\x22\x24-\x5b\x5d-\x7e]+")  # no space, `#`, `\`, control, or raw UTF-8
_ESCAPE = re.compile(r"%(?:[0-9A-Fa-f]{2})?")
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_AUTHORITY = re.compile(rb"(?P<host>[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class BadRequest(Invalid):
    """The request can be read in two ways. `message` says which part of it, never its content."""

    code = "BAD_REQUEST"


class Misdirected(Invalid):
    """The request is for a host that is not in the catalogue."""

    code = "MISDIRECTED"


class CheckRequest(msgspec.Struct, frozen=True):
    """One question of Envoy's. Header names are lower case; repeated ones are joined by a comma."""

    method: str
    target: bytes
    headers: Mapping[bytes, bytes]

    def header(self, name: bytes) -> str:
        """Return a header as text, or nothing."""
        value = self.headers.get(name)
        return "" if value is None else value.decode("latin-1")


class Target(msgspec.Struct, frozen=True):
    """Path and query, read strictly.

    Attributes:
        path: as it stands on the wire, without query.
        query: with its `?`, or empty.
        readings: the path as an app may read it, decoded once; a second one when it holds `%2F`, and a
            third when a forgiving server would see another path.
    """

    path: str
    query: str
    readings: tuple[str, ...]


class Authority(msgspec.Struct, frozen=True):
    """The host of the request: `host` without port, `port` as the browser wrote it (`:8443` or empty)."""

    host: str
    port: str


def parse_authority(raw: bytes) -> Authority:
    """Parse the `Host` header.

    Raises:
        BadRequest: not a host name with at most a port.
    """
    match = _AUTHORITY.fullmatch(raw.lower())
    if match is None:
        raise BadRequest("The host name is malformed.", remedy="Use the address of the app.")
    port = match["port"]
    suffix = "" if port is None or port == b"443" else f":{port.decode()}"
    return Authority(match["host"].decode(), suffix)


def parse_target(raw: bytes, *, encoded_slash: bool) -> Target:
    """Parse path and query. `encoded_slash`: the app takes `%2F` in a path.

    Raises:
        BadRequest: two programs could read the path differently.
    """
    if len(raw) > TARGET_MAX:
        raise BadRequest("The address is too long.", remedy="Use a shorter one.")
    if _PLAIN.fullmatch(raw):
        path, mark, query = raw.decode("ascii").partition("?")
        return Target(path, mark + query, (path,))
    if not raw:
        raise _bad("The request has no path: CONNECT reaches services, and no app.")
    if not _PRINTABLE.fullmatch(raw) or not raw.startswith(b"/"):
        raise _bad("The address holds a character that must be escaped, or does not begin with `/`.")
    path, mark, query = raw.decode("ascii").partition("?")
    return Target(path, mark + query, _readings(path, encoded_slash))


def _readings(path: str, encoded_slash: bool) -> tuple[str, ...]:
    if ";" in path:
        raise _bad("The path holds `;`.")
    if any(len(escape) == 1 for escape in _ESCAPE.findall(path)):
        raise _bad("The path holds a broken escape.")
    folded = path.upper()
    if "%5C" in folded:
        raise _bad("The path holds an escaped backslash.")
    if "%2F" in folded and not encoded_slash:
        raise _bad("The path holds `%2F`, which this app does not allow.")
    try:
        readings = path_readings(path)
    except UnicodeDecodeError:
        raise _bad("The path is not UTF-8.") from None
    strict = readings[:2] if "%2F" in folded else readings[:1]
    if _ESCAPED.search(strict[-1]):
        raise _bad("The path holds a double escape.")
    for reading in strict:
        if _CONTROL.search(reading) or "\\" in reading:
            raise _bad("The path holds an escaped control character.")
        bare = (segment.partition(";")[0].strip() for segment in normalize("NFKC", reading).split("/"))
        if not {".", ".."}.isdisjoint(bare):
            raise _bad("The path holds a dot segment.")
    if "//" in path:
        raise _bad("The path holds an empty segment.")
    return readings


def _bad(message: str) -> BadRequest:
    return BadRequest(message, remedy="Use the address that the app itself links to.")


def parse_peer(raw: bytes | None) -> str:
    """Return the client's address, as Envoy noted it.

    Raises:
        ValueError: Envoy noted none: this gateway's configuration is broken, and nothing is decided.
    """
    text = "" if raw is None else raw.decode("latin-1")
    return str(ip_address(text.partition("%")[0]))


def is_navigation(request: CheckRequest) -> bool:
    """Say whether a person's browser is opening a page (architecture §5): only those are redirected."""
    mode = request.headers.get(FETCH_MODE)
    if mode is not None:
        return mode == b"navigate" and request.method != "CONNECT"
    return request.method == "GET" and b"text/html" in request.headers.get(ACCEPT, b"")

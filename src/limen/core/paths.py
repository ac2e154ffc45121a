"""Paths as they stand on the wire, the ways in which an app may read them, and the route that they fall on.

One place for it: what the check refuses as ambiguous, a replay under another bundle refuses too.
"""

import re
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

import msgspec

from limen.core.catalogue import AppConfig
from limen.core.resources import RouteMatch, RouteTable

_PLAIN = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,=:@-]+)*/?")
"""Paths that have one reading: nothing in them is an escape, a parameter, a dot or an empty segment."""

BY_ESCAPES = "how it is written"
BY_CASE = "upper and lower case"


class Ambiguous(Exception):
    """The app could read the path as another part of itself than Limen does. Its text says by what."""


def path_readings(path: str) -> tuple[str, ...]:
    """Return the path as an app may read it: decoded once; a second one when it holds `%2F`, and a third
    when a forgiving server would see another path.

    Raises:
        UnicodeDecodeError: its escapes are not UTF-8.
    """
    if _PLAIN.fullmatch(path):
        return (path,)
    kept = re.sub("%2f", "%252F", path, flags=re.IGNORECASE)
    readings = (_decode(kept), _decode(path))
    return tuple(dict.fromkeys((*readings, _loosely(readings[-1]))))


class PathTable:
    """Routes of one app, by every reading of a path."""

    def __init__(self, app: AppConfig) -> None:
        self._table = RouteTable(app)
        self._folded = _folded_table(app)
        self._mixed = any(route.path != route.path.lower() for route in app.routes)

    def match(self, method: str, readings: tuple[str, ...]) -> RouteMatch:
        """Return what a request is for.

        Raises:
            Ambiguous: readings fall on different parts: by escapes, or by upper and lower case.
        """
        found = self._table.match(method, readings[0])
        for reading in readings[1:]:
            if self._table.match(method, reading) != found:
                raise Ambiguous(BY_ESCAPES)
        if self._folded is not None:
            for reading in readings:
                lowered = reading.lower()
                if self._mixed or lowered != reading:
                    folded = self._folded.match(method, lowered)
                    if folded != found and not folded.public:
                        raise Ambiguous(BY_CASE)
        return found


def _decode(path: str) -> str:
    return unquote_to_bytes(path).decode("utf-8")


def _loosely(path: str) -> str:
    """Return a path as the most forgiving server may read it: look-alikes as what they look like, without
    parameters, without dots and spaces at the ends of segments (Windows), without empty segments (nginx).
    """
    segments = [segment.partition(";")[0].rstrip(". ") for segment in normalize("NFKC", path).split("/")]
    return re.sub("//+", "/", "/".join(segments))


def _folded_table(app: AppConfig) -> RouteTable | None:
    """Return the routes in lower case; None when there are none, or when case tells them apart."""
    lowered = tuple(msgspec.structs.replace(route, path=route.path.lower()) for route in app.routes)
    if not lowered or len({route.path for route in lowered}) < len({route.path for route in app.routes}):
        return None
    return RouteTable(msgspec.structs.replace(app, routes=lowered))

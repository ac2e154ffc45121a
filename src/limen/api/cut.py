"""What to add to the bundle where a response was cut by the clock: a leash would have held it.

A request that no leash holds may live for `max_stream_duration` (five minutes). What is meant to live
longer has to be said: the route with `streaming: true`.
"""

import re
from typing import Any

from limen.core.record import MAX_DURATION
from limen.journal.reader import Joined

FILE = "limen.yaml"
_NAMED = re.compile(r'(App|Route)::"([^"]+)"')
_LITERAL = re.compile(r"[A-Za-z0-9._~-]*")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_NAME_LENGTH_MAX = 40
_PLAIN_NAME = re.compile(r"(?!(?:true|false|null|yes|no|on|off|y|n)$)[a-z].*")  # YAML reads it as text


def cure_of(joined: Joined) -> dict[str, Any] | None:
    """Return where in the bundle to add what, when the clock has cut a decided request; else None."""
    if joined.outcome is None or joined.outcome.details != MAX_DURATION:
        return None
    named = _NAMED.fullmatch(joined.decision.resource)
    if named is None:
        return None
    app, _, route = named[2].partition("/")
    cut = {"after_ms": joined.outcome.duration_ms, "file": FILE}
    if route:  # it has an entry already, of which this is to become a part
        return {**cut, "under": f"apps.{app}.routes", "route": route, "line": "streaming: true"}
    path = _pattern(joined.decision.path)
    line = f"- {{name: {_name(path)}, path: {path}, streaming: true}}"
    return {**cut, "under": f"apps.{app}.routes", "route": None, "line": line}


def _pattern(path: str) -> str:
    """Return a path as a bundle may say it. A segment of other characters becomes `*`, which fits it."""
    segments = path.split("/")[1:]
    return "/" + "/".join(one if _LITERAL.fullmatch(one) else "*" for one in segments)


def _name(path: str) -> str:
    name = _NOT_IN_NAMES.sub("-", path.lower()).strip("-")[:_NAME_LENGTH_MAX].strip("-")
    return name if _PLAIN_NAME.fullmatch(name) else f"stream-{name}".strip("-")

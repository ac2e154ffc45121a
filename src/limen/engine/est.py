"""Cedar's JSON form (EST) of a policy, as far as Limen reads it: paths, literals, scopes.

Shape: an expression is a dict with one key, its operator. Binary ones hold `left` and `right`,
extension calls a list of arguments, variables are `{"Var": name}`, literals `{"Value": value}`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from limen.core.ids import EntityRef

Expression = Mapping[str, Any]

_DURATION = re.compile(
    r"(?P<minus>-?)(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m(?!s))?(?:(?P<s>\d+)s)?(?:(?P<ms>\d+)ms)?"
)
_UNIT_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}

_DATETIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:T(?P<time>\d\d:\d\d:\d\d)(?:\.(?P<ms>\d{3}))?(?P<zone>Z|[+-]\d{4}))?"
)


def path(node: Expression) -> tuple[str, ...] | None:
    """Return `("context", "session", "aal")` for `context.session.aal`; None for anything else."""
    if "Var" in node:
        return (node["Var"],)
    if "." in node:
        above = path(node["."]["left"])
        return None if above is None else (*above, node["."]["attr"])
    return None


def integer(node: Expression) -> int | None:
    """Return the value of an integer literal."""
    value = node.get("Value")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def call_text(node: Expression, function: str) -> str | None:
    """Return the text in `duration("15m")`, `datetime("…")` or `ip("…")`."""
    arguments = node.get(function)
    if isinstance(arguments, list) and len(arguments) == 1:
        value = arguments[0].get("Value")
        return value if isinstance(value, str) else None
    return None


def duration_ms(text: str) -> int | None:
    """Return the milliseconds of a Cedar duration such as `1h30m`; None where Cedar would refuse it."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found[unit] for unit in _UNIT_MS):
        return None
    total = sum(int(found[unit] or 0) * size for unit, size in _UNIT_MS.items())
    return -total if found["minus"] else total


def datetime_ms(text: str) -> int | None:
    """Return the Unix milliseconds of a Cedar datetime; None where Cedar would refuse it."""
    found = _DATETIME.fullmatch(text)
    if found is None:
        return None
    try:
        stamp = datetime.fromisoformat(f"{found['date']}T{found['time'] or '00:00:00'}")
        whole = stamp.replace(tzinfo=_zone(found["zone"])).timestamp()
    except ValueError:
        return None
    return int(whole) * 1000 + int(found["ms"] or 0)


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    size = timedelta(hours=int(text[1:3]), minutes=int(text[3:5]))
    return timezone(size if text[0] == "+" else -size)


def entity(value: Any) -> EntityRef | None:
    """Return the reference that a scope or literal names, in either of Cedar's two forms."""
    if isinstance(value, Mapping):
        inner = value.get("__entity", value)
        if isinstance(inner, Mapping) and set(inner) == {"type", "id"}:
            return EntityRef(inner["type"], inner["id"])
    return None

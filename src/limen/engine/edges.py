"""When time alone can change a decision: the memoisable forms of time, and their next edge.

A memoisable form compares one time term with a literal: `context.hour < 18`,
`context.session.auth_age <= duration("15m")`, `[6, 7].contains(context.weekday)`. Its truth is constant
between edges that can be computed, so a decision holds until the next one. Everything else that reads
time has no edge that we could name: it is decided afresh each time.

Units: all arithmetic is in whole milliseconds, as Cedar's own.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from limen.core.ids import Instant
from limen.engine import est

CLOCK_READINGS: Mapping[str, range] = {"hour": range(24), "weekday": range(1, 8)}
"""Terms that a clock on the wall shows, and what it can show."""

LINEAR_TERMS = ("now", "session.age", "session.auth_age")
"""Terms that grow as time does."""

HORIZON_S = 8 * 86_400  # a week repeats; a day more covers a change of the clocks

_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}

# Where `term OP literal` changes, as distances from the literal: `<=` still holds at it.
_LINEAR_EDGES = {"<": (0,), ">=": (0,), "<=": (1,), ">": (1,), "==": (0, 1), "!=": (0, 1)}


class Crossing(msgspec.Struct, frozen=True):
    """A linear term compared with a literal: its truth can change where the term reaches a point (ms)."""

    term: str
    points: tuple[int, ...]
    literal_ms: int


class Reading(msgspec.Struct, frozen=True):
    """A clock term compared with literals: true for `values` and for nothing else."""

    term: str
    values: frozenset[int]


TimeForm = Crossing | Reading


def to_ms(at: Instant) -> int:
    """Return whole milliseconds. Rounded, so that `to_ms(ms / 1000) == ms` for every edge."""
    return round(at * 1000)


def time_form(op: str, left: est.Expression, right: est.Expression) -> TimeForm | None:
    """Return the memoisable form that `left OP right` is, or None."""
    if op == "contains":
        return _membership(left, right)
    if op not in _COMPARISONS:
        return None
    term = _term(left)
    if term is not None:
        return _comparison(term, op, right)
    term = _term(right)
    return None if term is None else _comparison(term, _MIRRORED[op], left)


def _comparison(term: str, op: str, literal: est.Expression) -> TimeForm | None:
    if term in CLOCK_READINGS:
        value = est.integer(literal)
        if value is None:
            return None
        holds = _COMPARISONS[op]
        return Reading(term, frozenset(shown for shown in CLOCK_READINGS[term] if holds(shown, value)))
    point = _linear_literal(term, literal)
    if point is None:
        return None
    return Crossing(term, tuple(point + distance for distance in _LINEAR_EDGES[op]), point)


def _membership(left: est.Expression, right: est.Expression) -> TimeForm | None:
    term = _term(right)
    if term is None or term not in CLOCK_READINGS or not isinstance(left.get("Set"), list):
        return None
    values = [est.integer(node) for node in left["Set"]]
    return None if None in values else Reading(term, frozenset(v for v in values if v is not None))


def _term(node: est.Expression) -> str | None:
    found = est.path(node)
    if found is None or found[0] != "context":
        return None
    term = ".".join(found[1:])
    return term if term in CLOCK_READINGS or term in LINEAR_TERMS else None


def _linear_literal(term: str, node: est.Expression) -> int | None:
    if term == "now":
        text = est.call_text(node, "datetime")
        return None if text is None else est.datetime_ms(text)
    text = est.call_text(node, "duration")
    return None if text is None else est.duration_ms(text)


class Calendar:
    """Clocks on the wall of one time zone. Keeps the last window of each reading: all requests share it."""

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._windows: dict[Reading, tuple[int, int]] = {}

    def show(self, term: str, at_ms: int) -> int:
        """Return what the clock shows: the hour, or the ISO weekday."""
        local = datetime.fromtimestamp(at_ms // 1000, self._zone)
        return local.hour if term == "hour" else local.isoweekday()

    def words(self, at_ms: int) -> str:
        """Return an instant as people of this zone say it."""
        local = datetime.fromtimestamp(at_ms // 1000, self._zone)
        return f"{local:%A} {local.day} {local:%B, %H:%M} ({self._zone.key})"

    def next_edge(self, reading: Reading, at_ms: int) -> int:
        """Return the first later instant (ms) at which the reading's truth may change."""
        window = self._windows.get(reading)
        if window is None or not window[0] <= at_ms < window[1]:
            window = (at_ms, self._search(reading, at_ms))
            self._windows[reading] = window
        return window[1]

    def _search(self, reading: Reading, at_ms: int) -> int:
        at_s = at_ms // 1000
        now = self.show(reading.term, at_ms) in reading.values
        edge_s = at_s
        while edge_s < at_s + HORIZON_S:
            edge_s = self._next_hour(edge_s)
            if (self.show(reading.term, edge_s * 1000) in reading.values) is not now:
                break
        return edge_s * 1000

    def _next_hour(self, at_s: int) -> int:
        """Return the first later second at which the local hour may be another."""
        local = datetime.fromtimestamp(at_s, self._zone)
        candidate = at_s + 3600 - local.minute * 60 - local.second
        offset = local.utcoffset()
        if datetime.fromtimestamp(candidate, self._zone).utcoffset() == offset:
            return candidate
        before, after = at_s, candidate  # the clocks change in between: find the second
        while after - before > 1:
            middle = (before + after) // 2
            if datetime.fromtimestamp(middle, self._zone).utcoffset() == offset:
                before = middle
            else:
                after = middle
        return after


def next_edge(
    forms: Iterable[TimeForm], at_ms: int, origins: Mapping[str, int], calendar: Calendar
) -> int | None:
    """Return the first instant (ms) after `at_ms` at which one of the forms may change, or None.

    `origins` says when each linear term was zero; a term without origin (no session) has no edge.
    """
    nearest: int | None = None
    for form in forms:
        if isinstance(form, Reading):
            edges = [calendar.next_edge(form, at_ms)]
        elif form.term in origins:
            edges = [origins[form.term] + point for point in form.points]
        else:
            continue
        for edge in edges:
            if edge > at_ms and (nearest is None or edge < nearest):
                nearest = edge
    return nearest

"""What a conformance run found: one row per change and kind of stream, and what may never be cut."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec


class Row(msgspec.Struct, frozen=True):
    """One change × one kind of connection. Times are milliseconds from commit (or from the deadline).

    Attributes:
        held: connections that had to end.
        survived: those that did not.
        p50_ms, p99_ms, max_ms: until the last byte of a stream had come and it was closed, or until the
            first denied request.
        stale: requests that were allowed after an earlier one had been denied at the same gateway.
        disturbed: connections of other people that ended, and requests that failed for no reason.
        early: connections that ended before they had to.
    """

    change: str
    kind: str
    held: int
    survived: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    stale: int = 0
    disturbed: int = 0
    early: int = 0

    @property
    def good(self) -> bool:
        """Whether all that had to end ended, and nothing else."""
        wrong = self.survived + self.stale + self.disturbed + self.early
        return self.held > 0 and wrong == 0


class Untouched(msgspec.Struct, frozen=True):
    """One piece of housekeeping, during which nothing may be cut, and requests must go on.

    Attributes:
        cut: streams that ended, or fell silent.
    """

    what: str
    streams: int
    cut: int
    requests: int
    failed: int
    p99_ms: float | None
    slowest_ms: float | None

    @property
    def good(self) -> bool:
        """Whether nobody noticed."""
        return self.requests > 0 and self.cut == 0 and self.failed == 0


class Report(msgspec.Struct, frozen=True):
    """The whole run. `meanwhile_p99_ms`: other people's requests while everything was cut at once."""

    gateways: int
    streams: int
    rows: tuple[Row, ...]
    untouched: tuple[Untouched, ...]
    meanwhile_p99_ms: float | None = None
    took_s: float = 0.0

    @property
    def good(self) -> bool:
        """Whether the system keeps its promise."""
        return bool(self.rows) and all(r.good for r in self.rows) and all(r.good for r in self.untouched)


def row_of(
    change: str, kind: str, delays_s: Sequence[float | None], *, stale: int = 0, early: int = 0
) -> Row:
    """Return the row of connections that ended after `delays_s`; None is one that did not end."""
    ended = sorted(delay * 1000 for delay in delays_s if delay is not None)
    return Row(
        change=change,
        kind=kind,
        held=len(delays_s),
        survived=len(delays_s) - len(ended),
        p50_ms=percentile(ended, 0.50),
        p99_ms=percentile(ended, 0.99),
        max_ms=ended[-1] if ended else None,
        stale=stale,
        early=early,
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank percentile of ordered values, or None of nothing."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def render_rows(report: Report) -> list[dict[str, Any]]:
    """Return the rows as a listing shows them."""
    return [
        {
            "change": row.change,
            "kind": row.kind,
            "cut": f"{row.held - row.survived}/{row.held}",
            "p50": _ms(row.p50_ms),
            "p99": _ms(row.p99_ms),
            "max": _ms(row.max_ms),
            "stale": row.stale,
            "innocents": row.disturbed + row.early,
            "verdict": "ok" if row.good else "FAILED",
        }
        for row in report.rows
    ]


def render_untouched(report: Report) -> list[dict[str, Any]]:
    """Return the housekeeping as a listing shows it."""
    return [
        {
            "housekeeping": row.what,
            "streams": row.streams,
            "cut": row.cut,
            "requests": f"{row.requests - row.failed}/{row.requests}",
            "p99": _ms(row.p99_ms),
            "slowest": _ms(row.slowest_ms),
            "verdict": "ok" if row.good else "FAILED",
        }
        for row in report.untouched
    ]


def latencies_ms(spans_s: Iterable[float]) -> list[float]:
    """Return ordered milliseconds."""
    return sorted(span * 1000 for span in spans_s)


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"

"""The report as one HTML page that needs nothing else: to be kept, printed, or sent to whoever asks."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape

from limen.assurance.identity_facts import Coverage, Report, Row
from limen.assurance.identity_report import CHECKS, TITLES

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 76rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0 2rem; }
caption { text-align: left; color: #555; padding: 0.25rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.75rem 0.35rem 0;
  border-bottom: 1px solid #ddd; }
.wide { overflow-x: auto; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
code { background: #f3f3f3; padding: 0 0.2em; }
.high { color: #a40000; font-weight: 600; } .medium { color: #7a4b00; } .low { color: #3a5f3a; }
"""


def render_html(report: Report) -> str:
    """Return the page."""
    at = datetime.fromtimestamp(report.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [
        f"<h1>Identity report</h1><p>As of {at}. {_people(report.counts)}</p>",
        _coverage(report.coverage),
        *(_section(name, [row for row in report.rows if row.check == name]) for name in CHECKS),
        _unknown(report),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Identity report, {at}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _people(counts: Mapping[str, int]) -> str:
    return (
        escape(", ".join(f"{counts[name]} {name}" for name in ("active", "suspended", "ended"))) + " people."
    )


def _coverage(rows: Iterable[Coverage]) -> str:
    heads = ("Group", "People", "MFA", "Phishing-resistant", "Not known", "What next")
    lines = [
        (
            _text(one.group or "everybody"),
            _number(str(one.people)),
            _number(share(one.mfa, one.people)),
            _number(share(one.phishing_resistant, one.people)),
            _number(str(one.unknown)),
            _text(one.cure or "–"),
        )
        for one in rows
    ]
    return "<h2>Who can prove themselves how well</h2>" + _table(heads, lines)


def _section(name: str, rows: list[Row]) -> str:
    if not rows:
        return f"<h2>{escape(TITLES[name])}</h2><p>Nothing found.</p>"
    heads = ("Weight", "What", "Cure")
    lines = [
        (f'<td class="{one.severity}">{one.severity}</td>', _text(one.what), _text(one.cure)) for one in rows
    ]
    return f"<h2>{escape(TITLES[name])} ({len(rows)})</h2>" + _table(heads, lines)


def _unknown(report: Report) -> str:
    if not report.unknown:
        return ""
    lines = [(_text(one.what), _text(one.cure)) for one in report.unknown]
    return "<h2>Not known</h2>" + _table(("What", "How it becomes known"), lines)


def _table(heads: Iterable[str], lines: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    body = "".join(f"<tr>{''.join(line)}</tr>\n" for line in lines)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
    return f'<div class="wide" tabindex="0">{table}</div>'


def _text(text: str) -> str:
    """Return a cell; what stands between backticks is code."""
    pieces = escape(text).split("`")
    return "<td>" + "".join(f"<code>{p}</code>" if n % 2 else p for n, p in enumerate(pieces)) + "</td>"


def _number(text: str) -> str:
    return f'<td class="number">{escape(text)}</td>'


def share(part: int, whole: int) -> str:
    """Return a percentage that says 100 only of all."""
    return f"{int(part * 1000 / whole) / 10:g} % ({part})" if whole else "–"

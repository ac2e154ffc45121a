"""A replay's report for people: as lines on a terminal, and as one HTML file without scripts.

What stands in a report came from requests and logs, so nothing of it is believed: control characters are
shown by their numbers, and in HTML everything is escaped.
"""

from collections.abc import Iterator, Sequence
from html import escape

from limen.cli.output import printable, render_instant
from limen.engine.replay_report import Difference, Effect, Report, Side

NAMES_MAX = 8  # people named on a terminal; JSON and HTML name more
HTML_NAMES_MAX = 500

TITLES = {
    Effect.LOSES: "lose access",
    Effect.STEP_UP: "must prove more",
    Effect.SIGN_IN: "must sign in",
    Effect.GAINS: "gain access",
    Effect.WOULD_LOSE: "would be denied, once enforced",
    Effect.WOULD_GAIN: "would be allowed, once enforced",
}
"""Effects as a heading says them."""


def lines(report: Report) -> Iterator[str]:
    """Yield the report as lines."""
    yield printable(_headline(report))
    yield ""
    for effect in Effect:
        found = [one for one in report.differences if one.effect is effect]
        if found:
            people = len(report.who(effect))
            whom = (
                f"{people:,} {'person' if people == 1 else 'people'}"
                if people
                else "Requests of nobody known"
            )
            yield f"{whom} {TITLES[effect]}: {report.times(effect):,} decisions."
            for one in found:
                yield from _difference(one)
            yield ""
    for mismatch in report.mismatches:
        yield printable(
            f"DOES NOT FOLLOW  {mismatch.decision}: {mismatch.field}: recorded {mismatch.recorded or 'none'},"
            f" derived {mismatch.derived or 'none'}"
        )
    for missed in report.underived:
        shown = ", ".join(missed.samples[:2])
        yield printable(f"Not derived: {missed.times:,}. {missed.sentence} ({shown})")
    for note in report.notes:
        yield printable(f"Note: {note}")


def _headline(report: Report) -> str:
    span = ""
    if report.first_at is not None and report.last_at is not None:
        span = f" from {render_instant(report.first_at)} to {render_instant(report.last_at)}"
    under = f"with bundle {report.bundle[:12]}" if report.bundle else "each under its own bundle"
    differ = report.derived - report.same
    return (
        f"{report.decisions:,} decisions{span}, {under}: {report.same:,} the same, {differ:,} differ, "
        f"{report.decisions - report.derived:,} not derived ({report.inputs:,} distinct inputs, "
        f"{report.took_s:.1f} s)."
    )


def _difference(one: Difference) -> Iterator[str]:
    place = (
        one.after.resource
        if one.after.resource == one.before.resource
        else (f"{one.before.resource} (now {one.after.resource})")
    )
    yield printable(f"  {_action(one)} {place}: {one.people:,} people, {one.times:,} times, {_when(one)}")
    yield printable(f"      was {side_words(one.before)}")
    yield printable(f"      now {side_words(one.after)}{_cure(one)}")
    if one.who:
        yield printable(f"      who {names(list(one.who), NAMES_MAX)}{_groups(one)}")
    yield printable(f"      e.g. {', '.join(one.samples[:2])}{f'; owner {one.owner}' if one.owner else ''}")


def _action(one: Difference) -> str:
    same = one.before.action == one.after.action
    return one.after.action if same else f"{one.before.action} (now {one.after.action})"


def _when(one: Difference) -> str:
    return f"{render_instant(one.first_at)} to {render_instant(one.last_at)}"


def _cure(one: Difference) -> str:
    return f"; cured by {' and '.join(one.remedies)}" if one.remedies else ""


def _groups(one: Difference) -> str:
    found = ", ".join(f"{name} {count:,}" for name, count in one.groups)
    return f"  [{found}]" if found else ""


def side_words(side: Side) -> str:
    """Return one side in words: what is said, why, by what, and what is enforced if that is another thing."""
    by = f" by {', '.join(side.policies)}" if side.policies else ""
    mode = f", let through ({side.mode})" if side.verdict != side.enforced else ""
    return f"{side.verdict} {side.code}{by}{mode}"


def names(subjects: Sequence[str], most: int) -> str:
    """Return subjects as people say them, at most so many."""
    shown = [one.removeprefix('User::"').removesuffix('"') for one in subjects[:most]]
    return ", ".join(shown) + (f" and {len(subjects) - most:,} more" if len(subjects) > most else "")


# --- HTML ------------------------------------------------------------------------------------------

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2430}
table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #d9dee5}
th{font-weight:600}h2{margin-top:2rem}code{font-size:.9em;word-break:break-all}
.loses,.step_up,.sign_in{color:#8f1d1d}.gains{color:#14532d}details summary{cursor:pointer}
@media(prefers-color-scheme:dark){body{background:#14181f;color:#e4e8ee}th,td{border-color:#333c48}
.loses,.step_up,.sign_in{color:#ff9d9d}.gains{color:#8fe0ab}}
"""


CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(report: Report, title: str = "Replay") -> str:
    """Return the report as one file: no script, nothing that is loaded from elsewhere."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_safe(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{_safe(title)}</h1><p>{_safe(_headline(report))}</p>",
    ]
    for effect in Effect:
        found = [one for one in report.differences if one.effect is effect]
        if found:
            parts.append(_section(report, effect, found))
    parts.append(_rest(report))
    return "".join((*parts, "</body></html>\n"))


def _safe(text: str) -> str:
    return escape(printable(text))


def _section(report: Report, effect: Effect, found: list[Difference]) -> str:
    people = len(report.who(effect))
    heading = f"{people:,} people {TITLES[effect]}" if people else f"Unknown people {TITLES[effect]}"
    columns = ("Action and resource", "People", "Times", "Was", "Now", "First and last", "Who")
    head = "".join(f'<th scope="col">{one}</th>' for one in columns)
    rows = "".join(_row(one) for one in found)
    return (
        f'<h2 class="{effect.value}">{heading}</h2><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _row(one: Difference) -> str:
    now = side_words(one.after) + _cure(one)
    place = one.after.resource
    if one.before.resource != place:
        place = f"{one.before.resource} (now {place})"
    owner = f"<br>owner {_safe(one.owner)}" if one.owner else ""
    samples = " ".join(f"<code>{_safe(sample)}</code>" for sample in one.samples)
    groups = ", ".join(f"{name} {count:,}" for name, count in one.groups)
    who = _safe(names(list(one.who), HTML_NAMES_MAX))
    listed = f"<details><summary>{_safe(groups or 'people')}</summary>{who}</details>" if one.who else ""
    return (
        f"<tr><td>{_safe(_action(one))} {_safe(place)}{owner}</td>"
        f"<td>{one.people:,}</td><td>{one.times:,}</td>"
        f"<td>{_safe(side_words(one.before))}</td><td>{_safe(now)}</td><td>{_safe(_when(one))}</td>"
        f"<td>{listed}{samples}</td></tr>"
    )


def _rest(report: Report) -> str:
    items = [
        f"{mismatch.decision} does not follow: {mismatch.field}: recorded {mismatch.recorded}, "
        f"derived {mismatch.derived}"
        for mismatch in report.mismatches
    ]
    items += [f"{missed.times:,} not derived. {missed.sentence}" for missed in report.underived]
    items += report.notes
    listed = "".join(f"<li>{_safe(item)}</li>" for item in items)
    return f"<h2>What else to know</h2><ul>{listed}</ul>" if items else ""

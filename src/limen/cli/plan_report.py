"""A plan as people read it: as text in a terminal, as Markdown in a pull request."""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WORDS = {
    "removed": "lose access",
    "step_up": "need more for it",
    "added": "gain access",
    "eased": "need less for it",
}
EFFECTS = {
    "loses": "lost access",
    "step_up": "had to prove more",
    "sign_in": "had to sign in",
    "gains": "gained access",
    "would_lose": "would be denied, were it enforced",
    "would_gain": "would be allowed, as they were let through anyway",
}
NAMES_MAX = 8
ROWS_MAX = 40
BAD = ("removed",)
MARKS = frozenset("\\`*_[]|@!~")

Plan = Mapping[str, Any]


def headline(plan: Plan) -> str:
    """Return what a plan comes to, in one sentence."""
    if plan["refused"]:
        count = len(plan["refused"])
        return f"The bundle is refused: {count} thing{'s are' if count > 1 else ' is'} wrong."
    if plan["bundle"] == plan["base"]:
        return "This is the active bundle: nothing would change."
    return "Somebody would lose access." if plan["loses"] else "Nobody would lose access."


def render_text(plan: Plan) -> Iterator[str]:
    """Yield a plan line by line, without its findings, which stand on stderr."""
    yield headline(plan)
    if plan["refused"]:
        return
    yield f"{plan['bundle'][:12]} on top of {plan['base'][:12]}; {plan['tests']} tests passed."
    yield from _notes(plan)
    who_can = plan["who_can"]
    rows = who_can["rows"]
    people = f"{who_can['people']} people and workloads"
    yield f"Who can, by the directory ({people}):{'' if rows else ' no change.'}"
    for row in rows[:ROWS_MAX]:
        what = f"{WORDS[row['effect']]}: {row['action']} {_listed(row['resources'])}"
        yield f"  {row['count']:>6}  {what}{_terms(row)}"
        yield f"          {_names(who_can, row)}{_by(row)}"
    if len(rows) > ROWS_MAX:
        yield f"  … and {len(rows) - ROWS_MAX} more: see --format json."
    yield from _replay(plan["replay"])


def render_markdown(plan: Plan) -> str:
    """Return a plan as Markdown, fit for a comment on a pull request. Nothing in it is live."""
    lines = [f"### Limen: {headline(plan)}", ""]
    if plan["refused"]:
        for one in plan["refused"]:
            lines.append(f"- {_code(_where(one))} {_plain(one['message'])} {_plain(one['remedy'])}")
        return "\n".join(lines) + "\n"
    ids = f"{_code(plan['bundle'][:12])} on top of {_code(plan['base'][:12])}"
    lines += [f"{ids}; {plan['tests']} tests passed.", ""]
    lines += [f"- {_plain(note)}" for note in _notes(plan)]
    lines += [f"- warning: {_code(_where(one))} {_plain(one['message'])}" for one in plan["findings"]]
    who_can = plan["who_can"]
    if who_can["rows"]:
        lines += [
            "",
            "| What changes | People | Action | Resources | Who | By |",
            "|---|---:|---|---|---|---|",
        ]
    for row in who_can["rows"][:ROWS_MAX]:
        what = f"**{WORDS[row['effect']]}**" if row["effect"] in BAD else WORDS[row["effect"]]
        cells = (
            f"{what} {_plain(_terms(row).strip())}".rstrip(),
            str(row["count"]),
            _plain(row["action"]),
            _code(_listed(row["resources"])),
            _code(_names(who_can, row)),
            _code(", ".join(_policies(row)) or row["code"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    if len(who_can["rows"]) > ROWS_MAX:
        lines += ["", f"… and {len(who_can['rows']) - ROWS_MAX} more rows: see `--format json`."]
    lines += ["", *(_plain(line) + "  " for line in _replay(plan["replay"]))]
    return "\n".join(lines).rstrip() + "\n"


def _notes(plan: Plan) -> Iterator[str]:
    if plan["guarded"]:
        yield f"Guardrails bind otherwise: {'; '.join(plan['guarded'])}."
    if plan["approval"]:
        yield "It needs the approval of another administrator."
    for change in plan["modes"]:
        within = f" for {change['group']}" if change["group"] else ""
        yield f"Mode of {change['resource']}{within}: {change['before']} → {change['after']}."
    for key, word in (("resources_added", "New"), ("resources_removed", "Gone")):
        if plan[key]:
            yield f"{word}: {_listed(plan[key])}."


def _replay(report: Mapping[str, Any] | None) -> Iterator[str]:
    if report is None:
        return
    yield f"Replay of {report['decisions']} recorded decisions: {report['same']} the same."
    for one in report["differences"][:ROWS_MAX]:
        who = ", ".join(list(one["who"])[:NAMES_MAX]) + (" …" if len(one["who"]) > NAMES_MAX else "")
        by = ", ".join(one["after"]["policies"]) or one["after"]["code"]
        yield (
            f"  {one['times']:>6}× {EFFECTS.get(one['effect'], one['effect'])}: {one['after']['action']} "
            f"{one['after']['resource']}: {_counted(len(one['who']))}: {who} ({by})"
        )
    for one in report["underived"]:
        yield f"  {one['times']:>6}× not known: {one['sentence']}"


def _counted(people: int) -> str:
    return "1 person" if people == 1 else f"{people} people"


def _terms(row: Mapping[str, Any]) -> str:
    if row["effect"] in ("step_up", "eased"):
        return f" ({_and(row['needed'])} → {_and(row['needs'])})"
    return f" ({_and(row['needs'])})" if row["effect"] == "added" and row["needs"] else ""


def _and(conditions: Sequence[str]) -> str:
    return " and ".join(conditions) or "nothing"


def _names(who_can: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    names = who_can["subjects"][row["who"]]
    return ", ".join(names[:NAMES_MAX]) + (" …" if row["count"] > NAMES_MAX else "")


def _policies(row: Mapping[str, Any]) -> Sequence[str]:
    """Return what to look at: what permits now, or else what forbids, or what permitted before."""
    found: Sequence[str] = row["after"] or row["before"]
    return found


def _by(row: Mapping[str, Any]) -> str:
    return f" ({_listed(_policies(row)) or row['code']})"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMES_MAX
    return ", ".join(names[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def _where(finding: Mapping[str, Any]) -> str:
    return f"{finding['file']}:{finding['line']}"


def _plain(text: str) -> str:
    """Return text that Markdown and HTML leave alone, on one line, and that mentions nobody."""
    text = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"&#{ord(one)};" if one in MARKS else one for one in text)


def _code(text: str) -> str:
    """Return text as a span of code: without what would end it, or a cell of a table."""
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', '¦')}`" if text.strip() else ""

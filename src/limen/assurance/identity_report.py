"""How mature identity is here: a report worked out of values alone, every row with its cure.

Laws:
    I1 cured. Every row, every group's coverage that is not whole, and all that is unknown says what to do.
    I2 adds up. In each group, who can, who cannot and whom nobody knows are all its active people.
    I3 unknown is no verdict. Whose factors are not known counts neither for nor against.
    I4 order-free. In which order people are read does not matter.
    I5 the ended are at rest. Nobody who is not active is told of as somebody who acts.
    I6 stronger is never worse. A passkey more adds no row and lowers no number.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from limen.assurance import identity_machines, identity_people
from limen.assurance.identity_facts import (
    Coverage,
    IdentityFacts,
    PersonFacts,
    Report,
    ReportRules,
    Row,
    Unknown,
)
from limen.assurance.identity_people import Reach, has_mfa, has_phishing_resistant

NAMES_MAX = 50  # names that one group's coverage spells out
SEVERITIES = ("high", "medium", "low")

Check = Callable[[IdentityFacts, ReportRules], Iterable[Row]]

CHECKS: Mapping[str, Check] = {
    "privileged": identity_people.privileged,
    "orphaned": identity_people.orphaned,
    "dormant": identity_people.dormant,
    "never-used": identity_people.never_used,
    "disagree": identity_people.disagreeing,
    "movers": identity_people.movers,
    "workloads": identity_machines.workloads,
    "secrets": identity_machines.secrets,
}
"""The parts of the report, in their order."""

TITLES: Mapping[str, str] = {
    "privileged": "Privileged accounts, and their factors",
    "orphaned": "For whom and for what nobody answers",
    "dormant": "Accounts that nobody uses any more",
    "never-used": "Accounts that nobody has ever used",
    "disagree": "Sources that disagree",
    "movers": "People who moved, and kept what they had",
    "workloads": "Machines: over-entitled, unused, unreviewed",
    "secrets": "Secrets older than policy",
}


def assess_identity(facts: IdentityFacts, rules: ReportRules | None = None) -> Report:
    """Return the report."""
    wanted = rules or ReportRules()
    rows = [row for check in CHECKS.values() for row in sorted(check(facts, wanted), key=_order)]
    statuses = {"active": 0, "suspended": 0, "ended": 0}
    for one in facts.people:
        statuses[one.status] = statuses.get(one.status, 0) + 1
    counts = {**statuses, **{name: sum(row.check == name for row in rows) for name in CHECKS}}
    return Report(
        at=facts.at,
        counts=counts,
        coverage=measure_coverage(facts),
        rows=tuple(rows),
        unknown=tuple(_unknowns(facts)),
        rules=wanted,
    )


def measure_coverage(facts: IdentityFacts) -> tuple[Coverage, ...]:
    """Return how well each group's active people can prove themselves; everybody first, then the weakest."""
    reach = Reach(facts.parents)
    groups: dict[str, list[PersonFacts]] = {"": []}
    for one in sorted(facts.people, key=lambda person: person.id):
        if one.status == "active" and (one.expires_at is None or one.expires_at > facts.at):
            groups[""].append(one)
            for name in reach.of(one.groups):
                groups.setdefault(name, []).append(one)
    found = [_coverage(name, people) for name, people in groups.items()]
    return tuple(sorted(found, key=lambda one: (one.group != "", -one.no_mfa, one.group)))


def _coverage(group: str, people: Sequence[PersonFacts]) -> Coverage:
    mfa = [has_mfa(one) for one in people]
    strong = [has_phishing_resistant(one) for one in people]
    without = [one.id for one, known in zip(people, mfa, strict=True) if known is False]
    phishable = [one.id for one, known in zip(people, strong, strict=True) if known is False]
    return Coverage(
        group=group,
        people=len(people),
        mfa=mfa.count(True),
        phishing_resistant=strong.count(True),
        unknown=mfa.count(None),
        unknown_resistant=strong.count(None),
        without=tuple(without[:NAMES_MAX]),
        phishable=tuple(phishable[:NAMES_MAX]),
        cure=_coverage_cure(group, len(without), len(phishable), max(mfa.count(None), strong.count(None))),
    )


def _coverage_cure(group: str, without: int, phishable: int, unknown: int) -> str:
    """Return what to do next of a group; empty when nothing is left to do (law I1)."""
    where = f'Group::"{group}"' if group else "everybody"
    if without:
        link = f"Send a link to each of the {without} without a second factor: `limen user link NAME`."
        return f"{link} Then demand `context.session.aal >= 2` of {where}."
    if phishable:
        add = f"Have {phishable} add a passkey on the account page."
        return f"{add} Then demand `context.session.phishing_resistant` of {where}."
    if unknown:
        return "Have their provider send `amr` or `acr`, and say in its table what they are worth."
    return ""


def _unknowns(facts: IdentityFacts) -> Iterator[Unknown]:
    blind = sum(
        one.status == "active" and one.factors is None and one.proven_aal is None for one in facts.people
    )
    if blind:
        yield Unknown(
            f"By what {blind} people prove themselves.",
            "Import them (`limen user import`, `ldap:`, SCIM), and let them sign in here once.",
        )
    unused = sum(one.status == "active" and not one.uses_known for one in facts.people)
    if unused:
        yield Unknown(
            f"When {unused} people signed in last.",
            "Give the export a column last_sign_in (lastLogonTimestamp), or let them sign in here.",
        )
    aged = sum(one.status == "active" and one.created_at is None for one in facts.people)
    if aged:
        yield Unknown(f"Since when {aged} accounts exist.", "Give the export a column created (whenCreated).")
    parts = (
        (
            facts.workloads,
            "Which machines act, and for whom.",
            "Make each a workload: `limen workload create`.",
        ),
        (facts.secrets, "How old secrets are.", "Run the report on a system: `limen identity report`."),
        (facts.sources, "Which sources are in use.", "Run the report on a system: `limen identity report`."),
        (facts.changes_since, "Who moved.", "Let a source keep people, and look again in a month."),
    )
    yield from (Unknown(what, cure) for known, what, cure in parts if known is None)
    machines = [one for one in facts.workloads or () if one.status == "active"]
    if any(one.may is None or one.did is None for one in machines):
        yield Unknown("What machines may, and do not do.", "Leave --no-use away: it reads the journal.")


def _order(row: Row) -> tuple[int, str, str]:
    return SEVERITIES.index(row.severity), row.about, row.what

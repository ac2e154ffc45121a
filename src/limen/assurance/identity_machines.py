"""Checks of machines and of secrets: pure, as those of people."""

from collections.abc import Iterator

from limen.assurance.identity_facts import DAY_S, IdentityFacts, ReportRules, Row, WorkloadFacts
from limen.core.ids import Instant

UNUSED_SHOWN = 6  # things that a row spells out


def workloads(facts: IdentityFacts, rules: ReportRules) -> Iterator[Row]:
    """Machines that nobody owns, reviews or uses, or that may more than they do."""
    present = {one.id for one in facts.people if one.status == "active"}
    for one in facts.workloads or ():
        if one.status == "active" and (one.expires_at is None or one.expires_at > facts.at):
            yield from _standing(one, present)
            yield from _review(one, facts.at)
            yield from _use(one, facts, rules)


def secrets(facts: IdentityFacts, rules: ReportRules) -> Iterator[Row]:
    """Secrets and keys that are older than policy, or will never end."""
    for one in facts.secrets or ():
        age = facts.at - one.since
        over = one.expires_at is not None and one.expires_at <= facts.at
        if age > rules.secret_s and not over:
            allowed = _days(rules.secret_s)
            what = f"The {one.kind} {one.name} of {one.of} is {_days(age)} old; policy allows {allowed}."
            yield Row("secrets", f"{one.kind}:{one.name}", "medium", what, one.renew, one.since)


def _standing(one: WorkloadFacts, present: set[str]) -> Iterator[Row]:
    if one.owner not in present:
        who = f"{one.owner} is not an active person here" if one.owner else "nobody does"
        cure = f"Name another owner: `limen workload give {one.id} --owner NAME --reason left`."
        yield Row("workloads", one.id, "high", f"Who answers for {one.id}? {who}.", cure)
    if not one.purpose.strip():
        cure = f"Say it at the admin API: PATCH /v1/workloads/{one.id} with description and reason."
        yield Row("workloads", one.id, "low", f"Nothing says what {one.id} is for.", cure)


def _review(one: WorkloadFacts, at: Instant) -> Iterator[Row]:
    if one.review_at is None:
        cure = f"Let its owner look at it, and say so: `limen workload review {one.id} --reason needed`."
        yield Row("workloads", one.id, "medium", f"{one.id} has no date of review.", cure)
    elif one.review_at <= at:
        what = f"The review of {one.id} was due {_days(at - one.review_at)} ago."
        review = f"`limen workload review {one.id} --reason needed`"
        cure = f"Its owner says that it is needed: {review}. Else suspend it."
        yield Row("workloads", one.id, "high", what, cure, one.review_at)


def _use(one: WorkloadFacts, facts: IdentityFacts, rules: ReportRules) -> Iterator[Row]:
    off = f"Suspend it: `limen workload suspend {one.id} --reason unused`; remove it when nobody misses it."
    if one.used_at is None:
        if one.created_at is not None and facts.at - one.created_at > rules.never_used_s:
            what = f"{one.id} was made {_days(facts.at - one.created_at)} ago, and was never used."
            yield Row("workloads", one.id, "medium", what, off, one.created_at)
    elif facts.at - one.used_at > rules.idle_s:
        what = f"{one.id} was used last {_days(facts.at - one.used_at)} ago."
        yield Row("workloads", one.id, "medium", what, off, one.used_at)
    if one.may is None or one.did is None:
        return
    unused = sorted(set(one.may) - set(one.did))
    if unused and facts.looked_s is not None:
        shown = ", ".join(unused[:UNUSED_SHOWN]) + (" …" if len(unused) > UNUSED_SHOWN else "")
        period = _days(facts.looked_s)
        what = f"{one.id} may do {len(one.may)} things, and in {period} did not do {len(unused)}: {shown}."
        cure = "Narrow its policies, groups and grants: `limen least-privilege` proposes how."
        yield Row("workloads", one.id, "medium" if one.did else "low", what, cure)


def _days(seconds: float) -> str:
    days = int(seconds // DAY_S)
    return "1 day" if days == 1 else f"{days} days"

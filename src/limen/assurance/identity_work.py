"""The report as work apart: what machines did is read from the journal, and then everything is assessed."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from limen.assurance.identity_facts import IdentityFacts, ReportRules
from limen.assurance.identity_report import assess_identity
from limen.core.decision import Verdict
from limen.core.record import DecisionRecord
from limen.journal.reader import JournalReader

WORK = f"{__name__}:work"
TELL_EVERY = 50_000  # records
MACHINE = 'Workload::"'


class Job(msgspec.Struct, frozen=True):
    """What to report. `journal` None: nobody looks at what machines did."""

    facts: IdentityFacts
    rules: ReportRules
    journal: str | None = None


def work(raw: Any, tell: Callable[[int, int], None]) -> Any:
    """Return the report, JSON-ready."""
    job = msgspec.convert(raw, Job)
    facts = job.facts
    if job.journal is not None and facts.workloads:
        since = facts.at - job.rules.idle_s
        records = JournalReader(Path(job.journal)).read(since=since)
        did = collect_use((one for one in records if isinstance(one, DecisionRecord)), tell)
        machines = tuple(
            msgspec.structs.replace(one, did=tuple(sorted(did.get(one.id, ())))) for one in facts.workloads
        )
        facts = msgspec.structs.replace(facts, workloads=machines, looked_s=job.rules.idle_s)
    return msgspec.to_builtins(assess_identity(facts, job.rules))


def collect_use(
    records: Iterable[DecisionRecord], tell: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, set[str]]:
    """Return what each machine was allowed to do, and did: `read App::"wiki"`. A route's use is its app's."""
    found: dict[str, set[str]] = defaultdict(set)
    for count, record in enumerate(records, 1):
        if count % TELL_EVERY == 0:
            tell(count, 0)
        subject = record.subject or ""
        if record.verdict == Verdict.ALLOW and subject.startswith(MACHINE):
            name = subject.removeprefix(MACHINE).removesuffix('"')
            found[name] |= {
                f"{record.action} {record.resource}",
                f"{record.action} {app_of(record.resource)}",
            }
    return found


def app_of(resource: str) -> str:
    """Return the app that a route is part of; anything else as it is."""
    if not resource.startswith('Route::"'):
        return resource
    name = resource.split('"')[1].partition("/")[0]
    return f'App::"{name}"'

"""How far the rollout is: for each stage what passes, who is not ready yet, why, and what would cure it.

Pure over recorded decisions, except `work`, which reads the journal; it is run apart
(`limen.administrator.apart`), since it may take a while.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from limen.core.catalogue import AppConfig, Catalogue, ServiceConfig
from limen.core.decision import Code, Verdict
from limen.core.errors import LimenError
from limen.core.ids import Instant
from limen.core.record import DecisionRecord
from limen.core.rollout import STRICTNESS, Mode, Rollout, Stage
from limen.engine.bundle import parse_bundle
from limen.engine.explain import explain
from limen.engine.policies import Policies, compile_policies
from limen.engine.replay import restore
from limen.journal.reader import Found, JournalReader

POINT = "gateway"
CURES_MAX = 200  # explanations of one report, each of up to 32 decisions
SIGN_IN = "Sign in."

_REFERENCE = re.compile(r'(App|Route|Service|User)::"(.+)"', re.DOTALL)


class Declared(msgspec.Struct, frozen=True):
    """A resource whose bundle says something of its rollout. `owner` is the resource's."""

    resource: str
    owner: str
    rollout: Rollout


class Job(msgspec.Struct, frozen=True):
    """What a report is made of.

    Attributes:
        today: ISO date, where the organisation is.
        members: who is in each group that has a stage, directly or not.
    """

    journal: str
    since: Instant
    today: str
    declared: tuple[Declared, ...]
    members: Mapping[str, frozenset[str]]


class NotReady(msgspec.Struct, frozen=True):
    """Somebody whose last request would be denied. `subject` is empty for requests without a session.

    Attributes:
        decision: the last one, for `limen decisions show`.
        remedies: ids of what would cure it, if that was looked for.
    """

    subject: str
    code: str
    policies: tuple[str, ...]
    denials: int
    last_at: Instant
    decision: str
    remedies: tuple[str, ...] = ()
    cure: str = ""


class Row(msgspec.Struct, frozen=True):
    """One stage of one resource. `group` is empty for everybody who is in none of its groups."""

    resource: str
    group: str
    stage: str
    owner: str
    until: str
    overdue: bool
    requests: int
    passing: int
    share: float | None
    not_ready: tuple[NotReady, ...] = ()


def declared_in(catalogue: Catalogue) -> tuple[Declared, ...]:
    """Return the resources with a `mode:`, but for those that say no more than `enforce`."""
    whole: list[AppConfig | ServiceConfig] = [*catalogue.apps.values(), *catalogue.services.values()]
    found = [Declared(one.name, one.owner or "", one.rollout) for one in whole]
    for app in catalogue.apps.values():
        for route in app.routes:
            if route.rollout is not None:
                found.append(Declared(f"{app.name}/{route.name}", app.owner or "", route.rollout))
    return tuple(sorted((one for one in found if one.rollout != Rollout()), key=lambda one: one.resource))


def measure(job: Job, records: Iterable[DecisionRecord]) -> tuple[Row, ...]:
    """Return each stage with what was recorded of it. The order of the records does not matter."""
    tallies = {(one.resource, group): _Tally() for one in job.declared for group in ("", *one.rollout.groups)}
    rollouts = {one.resource: one.rollout for one in job.declared}
    for record in records:
        name = _declared_name(record.resource, rollouts)
        if name is not None and record.point == POINT and record.code != Code.PUBLIC:
            group = _group_of(_bare(record.subject or ""), rollouts[name], job.members)
            tallies[name, group].add(record)
    return tuple(
        _row(one, group, stage, tallies[one.resource, group], job.today)
        for one in job.declared
        for group, stage in (("", one.rollout.stage), *one.rollout.groups.items())
    )


class _Tally:
    """What was recorded of one stage."""

    def __init__(self) -> None:
        self.requests = self.passing = 0
        self._last: dict[tuple[str, str, str], DecisionRecord] = {}
        self._denials: dict[tuple[str, str, tuple[str, ...]], int] = {}

    def add(self, record: DecisionRecord) -> None:
        """Count a request."""
        self.requests += 1
        who = record.subject or ""
        if _passes(record):
            self.passing += 1
        else:
            key = (who, record.code, record.policies)
            self._denials[key] = self._denials.get(key, 0) + 1
        about = (who, record.action, record.resource)
        last = self._last.get(about)
        if last is None or record.at >= last.at:
            self._last[about] = record

    def not_ready(self) -> tuple[NotReady, ...]:
        """Return who was denied when they last asked for something, those with the most denials first."""
        found: dict[tuple[str, str, tuple[str, ...]], NotReady] = {}
        for (who, _, _), record in self._last.items():
            key = (who, record.code, record.policies)
            known = found.get(key)
            if not _passes(record) and (known is None or known.last_at < record.at):
                found[key] = NotReady(
                    _bare(who), record.code, record.policies, self._denials[key], record.at, record.id,
                    record.remedies,
                )  # fmt: skip
        return tuple(sorted(found.values(), key=lambda one: (-one.denials, one.subject, one.code)))


def work(raw: Any, tell: Callable[[int, int], None]) -> Any:
    """Return the rows of a job, JSON-ready, with cures found in stored inputs."""
    job = msgspec.convert(raw, Job)
    reader = JournalReader(Path(job.journal))
    decisions = (one for one in reader.read(since=job.since) if isinstance(one, DecisionRecord))
    rows = measure(job, decisions)
    cures = _Cures(reader)
    rows = tuple(
        msgspec.structs.replace(row, not_ready=tuple(cures.add_to(one) for one in row.not_ready))
        for row in rows
    )
    return msgspec.to_builtins(rows)


class _Cures:
    """Asks the engine what would have made a recorded denial an allow, as for a person at the door."""

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader
        self._policies: dict[str, Policies] = {}
        self._asked = 0

    def add_to(self, one: NotReady) -> NotReady:
        """Return one who is not ready with what would cure it, where that can be found."""
        if one.code == Code.NO_SESSION:
            return msgspec.structs.replace(one, remedies=("sign-in",), cure=SIGN_IN)
        self._asked += 1
        if self._asked > CURES_MAX:
            return one
        try:
            found = self._reader.find(one.decision)
            if found.inputs is None or found.bundle is None:
                return one
            question, facts = restore(found.decision, found.inputs)
            told = explain(question, facts, self._compiled(found), below_aal2_hides=False)
        except LimenError:
            return one  # its inputs were erased, or a release before this one wrote them
        ids = tuple(remedy.id for remedy in told.remedies)
        cure = " ".join(remedy.sentence for remedy in told.remedies)
        return msgspec.structs.replace(one, remedies=ids or one.remedies, cure=cure)

    def _compiled(self, found: Found) -> Policies:
        assert found.bundle is not None
        known = self._policies.get(found.bundle.id)
        if known is None:
            known = self._policies[found.bundle.id] = compile_policies(parse_bundle(found.bundle.files))
        return known


def _row(one: Declared, group: str, stage: Stage, tally: _Tally, today: str) -> Row:
    return Row(
        resource=one.resource,
        group=group,
        stage=stage.mode.value,
        owner=stage.owner or one.owner,
        until=stage.until,
        overdue=stage.mode is not Mode.ENFORCE and bool(stage.until) and stage.until <= today,
        requests=tally.requests,
        passing=tally.passing,
        share=tally.passing / tally.requests if tally.requests else None,
        not_ready=tally.not_ready(),
    )


def _passes(record: DecisionRecord) -> bool:
    return record.verdict == Verdict.ALLOW and record.would_be is None


def _bare(reference: str) -> str:
    match = _REFERENCE.fullmatch(reference)
    return match[2] if match else reference


def _declared_name(reference: str, rollouts: Mapping[str, Rollout]) -> str | None:
    """Return the resource whose rollout a recorded one has: its own, or that of the app around it."""
    name = _bare(reference)
    if name not in rollouts:
        name = name.partition("/")[0]
    return name if name in rollouts else None


def _group_of(person: str, rollout: Rollout, members: Mapping[str, frozenset[str]]) -> str:
    """Return the group whose stage a person has: the strictest (`Rollout.stage_of`); empty for none."""
    own = [group for group in rollout.groups if person in members.get(group, ())]
    return max(own, key=lambda group: STRICTNESS[rollout.groups[group].mode], default="")

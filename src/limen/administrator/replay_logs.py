"""A replay of access logs that others wrote: what a bundle would say to the traffic that there is today.

A log knows little: no session, no device, no group. What is not known is supposed, and said: each person
signed in as `Supposed` five minutes before each request, and is in the groups of today's directory. Whom
the directory does not know, and lines that name nobody, are counted apart: nobody can say who that was.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

import msgspec

from limen.administrator.authority import Supposed
from limen.core.decision import Code, Decision, Facts, Grant, Network, Verdict
from limen.core.entities import Closure
from limen.core.ids import EntityRef, Instant
from limen.core.record import DecisionRecord
from limen.engine.bundle import Bundle
from limen.engine.replay_cases import Case, groups_of, is_by_policy, nobodys_side, side_of
from limen.engine.replay_places import Standing
from limen.engine.replay_report import Effect, Report, Side
from limen.engine.replay_run import make_world
from limen.engine.replay_tally import Counting, effect_of, report_of
from limen.information.logs.lines import LogRequest

CODE = "LOG"
DENIED = frozenset({401, 403, 407})
EXAMPLES_MAX = 3
EXAMPLE_CHARS = 200
HOSTS_SHOWN = 5

NO_PLACE = "no_place"
NO_DIRECTORY = "no_directory"
REASONS = {
    NO_PLACE: "Their host or path is nothing of this bundle.",
    NO_DIRECTORY: "No directory is at hand, so groups are not known: name a running system with --state.",
}


class People(Protocol):
    """The directory, as far as it is needed. A replica is one."""

    def closure(self, ref: EntityRef) -> Closure | None:
        """Return a person, or a resource of the bundle, with all above them."""
        ...

    def grants(self, subject: Closure, resource: Closure, at: Instant) -> tuple[Grant, ...]:
        """Return what was granted."""
        ...


class LogReplay:
    """Counts what a bundle would say to requests of a log.

    Args:
        names: user names and e-mail addresses, in lower case, to usernames.
        hosts: hosts of the log to those that they will be.
        host: of lines that name none.
    """

    def __init__(
        self,
        bundle: Bundle,
        people: People | None,
        *,
        names: Mapping[str, str],
        supposed: Supposed,
        hosts: Mapping[str, str],
        host: str = "",
    ) -> None:
        self._world = make_world(bundle)
        self._people, self._names = people, names
        self._supposed = supposed
        self._hosts, self._host = hosts, host
        self._counting = Counting()
        self._unreadable = 0
        self._examples: list[str] = []
        self._elsewhere: Counter[str] = Counter()

    def unreadable(self, line: str) -> None:
        """Count a line that could not be read."""
        self._unreadable += 1
        if len(self._examples) < EXAMPLES_MAX:
            self._examples.append(line[:EXAMPLE_CHARS])

    def feed(self, line: LogRequest) -> None:
        """Count one request."""
        tally = self._counting.tally
        tally.decisions += 1
        tally.first_at = line.at if tally.first_at is None else min(tally.first_at, line.at)
        tally.last_at = line.at if tally.last_at is None else max(tally.last_at, line.at)
        host = line.host or self._host
        host = self._hosts.get(host, host)
        record = self._record(line, host, f"line {tally.decisions}")
        standing = self._world.places.find(line.method, host, line.path)
        if isinstance(standing, Code):
            self._elsewhere[host or "(none)"] += 1
            self._counting.miss(NO_PLACE, record.id)
        elif standing.public or not line.user:
            self._count(record, nobodys_side(standing, let_in=False), standing, Effect.SIGN_IN)
        elif self._people is None:
            self._counting.miss(NO_DIRECTORY, record.id)
        else:
            self._known(record, line, standing, self._people)

    def report(self, took_s: float = 0.0) -> Report:
        """Return what was found."""
        found = report_of(
            self._counting.tally,
            bundle=self._world.bundle,
            evaluations=self._world.memo.misses,
            took_s=took_s,
            notes=self._notes(),
        )
        missed = tuple(
            msgspec.structs.replace(one, sentence=REASONS.get(one.reason, one.sentence))
            for one in found.underived
        )
        return msgspec.structs.replace(found, underived=missed)

    def _known(self, record: DecisionRecord, line: LogRequest, standing: Standing, people: People) -> None:
        name = self._names.get(line.user.casefold())
        subject = None if name is None else people.closure(EntityRef("User", name))
        if subject is None:
            after = side_of(standing, Decision(Verdict.DENY, Code.SUBJECT_UNKNOWN), None)
            self._count(record, after, standing, Effect.LOSES)
            return
        record = msgspec.structs.replace(record, subject=str(subject.root))
        resource = people.closure(standing.resource)
        assert resource is not None, "the people are those of a replica under this bundle"
        facts = Facts(
            subject=subject,
            resource=resource,
            session=self._supposed.session(line.at),
            network=Network(line.ip),
            grants=people.grants(subject, resource, line.at),
        )
        case = Case(self._world, standing, facts)
        answer = case.answer(record)
        remedies: tuple[str, ...] = ()
        if answer.side.enforced == "deny" and line.status not in DENIED and is_by_policy(answer.decision):
            remedies = case.cures(record)
        loss = Effect.STEP_UP if remedies else Effect.LOSES
        self._count(record, answer.side, standing, loss, remedies=remedies, groups=groups_of(facts))

    def _count(
        self,
        record: DecisionRecord,
        after: Side,
        standing: Standing,
        loss: Effect,
        *,
        remedies: tuple[str, ...] = (),
        groups: tuple[str, ...] = (),
    ) -> None:
        tally = self._counting.tally
        tally.derived += 1
        before = Side(after.resource, after.action, record.verdict, record.verdict, CODE)
        effect = effect_of(before, after)
        if effect is None:
            tally.same += 1
            return
        effect = loss if effect is Effect.LOSES else effect
        self._counting.differ((effect, before, after, remedies), record, groups, standing.owner)

    def _record(self, line: LogRequest, host: str, number: str) -> DecisionRecord:
        verdict = Verdict.DENY if line.status in DENIED else Verdict.ALLOW
        return DecisionRecord(
            id=number,
            at=line.at,
            node="",
            point="log",
            verdict=verdict.value,
            code=CODE,
            bundle="",
            inputs="",
            action="",
            resource="",
            subject=str(EntityRef("User", line.user)) if line.user else None,
            method=line.method,
            host=host,
            path=line.path,
            ip=line.ip,
        )

    def _notes(self) -> tuple[str, ...]:
        how = "with a passkey" if self._supposed.passkey else f"at level {self._supposed.aal}"
        found = [
            f"Supposed: everybody signed in {how}, {self._supposed.auth_age_s:.0f} s before each request, "
            "on no known device, with no risk. No log tells of these.",
            "Supposed: groups and grants were as today's directory has them.",
            "Taken as denied before: answers 401, 403, 407. Whatever else was answered was let through.",
        ]
        if self._elsewhere:
            most = ", ".join(f"{host} ({count})" for host, count in self._elsewhere.most_common(HOSTS_SHOWN))
            found.append(f"Hosts with no place in this bundle: {most}. Give --host OLD=NEW if they move.")
        if self._unreadable:
            examples = "; ".join(self._examples)
            found.append(f"{self._unreadable} lines could not be read, such as: {examples}")
        return tuple(found)

"""Friction: what access control costs people, per person-day, group and app.

A **prompt** is a time that somebody had to prove who they are: each sign-in and step-up, tried or done.
A **denial** is a request that policy denied, a **warning** one that passed with one. An **episode** begins
with a person's first denial at an app and is *cured* by their next allow there, if that comes within a day;
the time between is the time to cure. What they did meanwhile to prove more are the *cures tried*.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from statistics import median

import msgspec

from limen.core.decision import Verdict
from limen.core.ids import Instant
from limen.core.record import DecisionRecord, EventRecord, Record
from limen.core.rollout import SOFT_CODES, Mode

EPISODE_MAX_S = 86_400.0
DAY_S = 86_400
POINT = "gateway"

PROMPTS = frozenset({"sign_in.succeeded", "sign_in.failed", "session.stepped_up", "connect.signed_in"})
TRIES = frozenset({"authenticator.added", "enrolment.completed"})
_USER = 'User::"'
_ABOUT_TARGET = ("sign_in.", "authenticator.", "enrolment.")


class Cost(msgspec.Struct, frozen=True):
    """What one group, app or person bore.

    Attributes:
        person_days: days on which somebody asked for something, each person for themselves.
        cures_tried: cures tried in the episodes; `cured` of `episodes` ended in an allow.
        cure_s: median seconds from the first denial to the allow; None when none was cured.
    """

    name: str
    person_days: int = 0
    prompts: int = 0
    denials: int = 0
    warnings: int = 0
    episodes: int = 0
    cures_tried: int = 0
    cured: int = 0
    cure_s: float | None = None

    @property
    def per_person_day(self) -> float:
        """Prompts and denials together, of one person on one day."""
        return (self.prompts + self.denials) / self.person_days if self.person_days else 0.0


class FrictionReport(msgspec.Struct, frozen=True):
    """The cost of all, and by app, group and person, dearest first. A prompt belongs to no app."""

    total: Cost
    apps: tuple[Cost, ...]
    groups: tuple[Cost, ...]
    people: tuple[Cost, ...]


class _Moment(msgspec.Struct, frozen=True, order=True):
    at: Instant
    person: str
    app: str  # empty for a prompt
    what: str  # prompt, try, deny, warn, allow


class _Tally(msgspec.Struct):
    days: set[tuple[str, int]] = msgspec.field(default_factory=set)
    prompts: int = 0
    denials: int = 0
    warnings: int = 0
    episodes: int = 0
    tried: int = 0
    cures: list[float] = msgspec.field(default_factory=list)

    def cost(self, name: str) -> Cost:
        return Cost(
            name,
            len(self.days),
            self.prompts,
            self.denials,
            self.warnings,
            self.episodes,
            self.tried,
            len(self.cures),
            round(median(self.cures), 1) if self.cures else None,
        )


def measure_friction(
    records: Iterable[Record], since: Instant, groups_of: Callable[[str], Iterable[str]]
) -> FrictionReport:
    """Measure what was borne since an instant. `groups_of` gives a person's groups, those above included."""
    books = _Books(groups_of)
    for moment in sorted(moment for record in records for moment in _moments(record, since)):
        books.enter(moment)
    return FrictionReport(
        books.tallies["", ""].cost("everybody"),
        *(books.ranked(kind) for kind in ("app", "group", "person")),
    )


class _Books:
    """The tallies of all who bear something, and the episodes that are open, by person and app."""

    def __init__(self, groups_of: Callable[[str], Iterable[str]]) -> None:
        self.tallies: dict[tuple[str, str], _Tally] = defaultdict(_Tally)
        self._groups_of = groups_of
        self._groups: dict[str, tuple[str, ...]] = {}
        self._open: dict[tuple[str, str], Instant] = {}

    def enter(self, moment: _Moment) -> None:
        """Enter one moment, those before it having been entered."""
        bearers = self._bearers(moment.person, moment.app)
        for tally in bearers:
            tally.days.add((moment.person, int(moment.at // DAY_S)))
            tally.prompts += moment.what == "prompt"
            tally.denials += moment.what == "deny"
            tally.warnings += moment.what == "warn"
        if moment.app:
            self._follow(moment, bearers)
        else:
            for app in [app for person, app in self._open if person == moment.person]:
                if self._began(moment.person, app, moment.at) is not None:
                    for tally in self._bearers(moment.person, app):
                        tally.tried += 1

    def _follow(self, moment: _Moment, bearers: list["_Tally"]) -> None:
        """Open or close the person's episode at the app."""
        key = (moment.person, moment.app)
        began = self._began(*key, moment.at)
        if moment.what == "deny" and began is None:
            self._open[key] = moment.at
            for tally in bearers:
                tally.episodes += 1
        elif moment.what == "allow" and began is not None:
            del self._open[key]
            for tally in bearers:
                tally.cures.append(moment.at - began)

    def _began(self, person: str, app: str, at: Instant) -> Instant | None:
        """Return when an episode that is still open began."""
        began = self._open.get((person, app))
        if began is not None and at - began > EPISODE_MAX_S:
            del self._open[person, app]
            return None
        return began

    def _bearers(self, person: str, app: str) -> list["_Tally"]:
        if person not in self._groups:
            self._groups[person] = tuple(self._groups_of(person))
        names = [("", ""), ("person", person), *(("group", group) for group in self._groups[person])]
        return [self.tallies[name] for name in ([*names, ("app", app)] if app else names)]

    def ranked(self, kind: str) -> tuple[Cost, ...]:
        """Return the costs of one kind of bearer, dearest first."""
        found = [tally.cost(name) for (of, name), tally in self.tallies.items() if of == kind]
        return tuple(sorted(found, key=lambda cost: (-(cost.denials + cost.prompts), cost.name)))


def _moments(record: Record, since: Instant) -> Iterable[_Moment]:
    if isinstance(record, DecisionRecord):
        moment = _of_decision(record)
        if moment is not None and record.at >= since:
            yield moment
    elif isinstance(record, EventRecord) and record.at >= since:
        person = record.target if record.kind.startswith(_ABOUT_TARGET) else record.actor
        if person and record.kind in PROMPTS:
            yield _Moment(record.at, person, "", "prompt")
        elif person and record.kind in TRIES:
            yield _Moment(record.at, person, "", "try")


def _of_decision(record: DecisionRecord) -> _Moment | None:
    if record.point != POINT or record.subject is None or not record.subject.startswith(_USER):
        return None
    person, app = record.subject[len(_USER) : -1], _app_of(record.resource)
    if record.would_be is not None:
        return _Moment(record.at, person, app, "warn" if record.mode == Mode.WARN else "allow")
    if record.verdict == Verdict.ALLOW:
        return _Moment(record.at, person, app, "allow")
    return _Moment(record.at, person, app, "deny") if record.code in SOFT_CODES else None


def _app_of(resource: str) -> str:
    """Return the app or service of a resource: `Route::"payroll/exports"` is of payroll."""
    return resource.partition('::"')[2].removesuffix('"').partition("/")[0]

"""Who has a role of Limen itself: asked of the engine, for the best sign-in, hour and place there could be.

A role is what a policy of the bundle makes one: whoever may read or administer any part of `App::"limen"`. So
the question is put to the engine, and not to the names of groups. Which person it is matters only where
policies tell people apart; equal ones are asked about once.

Laws:
    R2 roles are not given by whoever has none to give: a call that touches a holder of a role, or makes one,
       is asked about at `Route::"limen/roles"` too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_network
from typing import Any

import msgspec

from limen.administrator.active import ActiveBundle
from limen.core.catalogue import ADMIN_APP
from limen.core.changes import GroupFact, PersonFact, WorkloadFact
from limen.core.decision import AccessRequest, Facts, Network, SessionFacts
from limen.core.entities import Closure, Entity, close_entity
from limen.core.ids import DecisionId, EntityRef, Instant
from limen.core.resources import ADMIN_ROUTES
from limen.core.roles import BREAK_GLASS_METHOD
from limen.engine.decide import decide
from limen.engine.edges import Reading

ROLES_PART = EntityRef("Route", f"{ADMIN_APP}/roles")
PARTS = tuple(EntityRef("Route", f"{ADMIN_APP}/{part}") for part in ADMIN_ROUTES)
PASSKEY = ("passkey",)
SOMEBODY = "limen:somebody"  # no username: nobody is called so
ANYWHERE = ("127.0.0.1", "192.0.2.1")
HOUR_S, WEEK_H = 3_600, 168

Known = tuple[str, str, tuple[str, ...], str, str]
"""What of a subject policies can tell apart: type, name, groups, kind, attributes."""


class RoleBook:
    """The roles of one bundle. Keeps what it was asked. Not for two threads at once."""

    def __init__(self, active: ActiveBundle, now: Callable[[], Instant]) -> None:
        self._active = active
        self._now = now
        self._named = active.policies.principals
        self._groups = frozenset(ref.id for ref in self._named if ref.type == "Group")
        self._attributes = _attributes_read(active)
        self._kept: dict[tuple[Known, bool], bool] = {}
        self._parts = {part: close_entity(part, active.entities.get) for part in PARTS}

    @property
    def groups(self) -> frozenset[str]:
        """Groups that policies name."""
        return self._groups

    def has_role(self, subject: PersonFact | WorkloadFact, groups: Iterable[str]) -> bool:
        """Whether somebody in these groups (nested ones too) may ever do anything at Limen itself."""
        return self._ask(self._know(subject, groups), any_part=True)

    def gives_role(self, groups: Iterable[str]) -> bool:
        """Whether being in these groups gives a role, to a person or to a program."""
        anybody = (PersonFact(SOMEBODY, "", ""), WorkloadFact(SOMEBODY, owner=""))
        held = tuple(groups)
        return any(self.has_role(one, held) for one in anybody)

    def administers(self, person: PersonFact, groups: Iterable[str]) -> bool:
        """Whether a person may hand out roles, whatever their standing is just now."""
        return self._ask(self._know(person, groups), any_part=False)

    def _know(self, subject: PersonFact | WorkloadFact, groups: Iterable[str]) -> Known:
        kind = "User" if isinstance(subject, PersonFact) else "Workload"
        name = subject.id if EntityRef(kind, subject.id) in self._named else SOMEBODY
        held = tuple(sorted(self._groups.intersection(groups)))
        if isinstance(subject, WorkloadFact):
            return (kind, name, held, subject.owner if self._named_user(subject.owner) else "", "")
        read = {key: value for key, value in subject.attributes.items() if key in self._attributes}
        return (kind, name, held, str(subject.kind), msgspec.json.encode(read, order="sorted").decode())

    def _named_user(self, name: str) -> bool:
        return EntityRef("User", name) in self._named

    def _ask(self, known: Known, *, any_part: bool) -> bool:
        key = (known, any_part)
        if key not in self._kept:
            subject = _subject(known)
            parts = PARTS if any_part else (ROLES_PART,)
            actions = ("admin", "read") if any_part else ("admin",)
            methods = (PASSKEY, (BREAK_GLASS_METHOD,)) if any_part else (PASSKEY,)
            self._kept[key] = any(
                self._could(subject, action, self._parts[part], how)
                for part in parts
                for action in actions
                for how in methods
            )
        return self._kept[key]

    def _could(self, subject: Closure, action: str, part: Closure, methods: tuple[str, ...]) -> bool:
        for at, ip in self._scenes(subject, action, part):
            session = SessionFacts("best", 3, True, methods, at, at, at + HOUR_S)
            request = AccessRequest(DecisionId("0" * 32), at, subject.root, action, part.root, ip=ip)
            facts = Facts(subject, part, session=session, network=Network(ip=ip))
            if decide(request, facts, self._active.policies).allowed:
                return True
        return False

    def _scenes(self, subject: Closure, action: str, part: Closure) -> Iterator[tuple[Instant, str]]:
        """Yield the instants and addresses that policies could tell apart: now and here, first of all."""
        now = self._now()
        facts = Facts(subject, part)
        try:
            reads = self._active.policies.plan(action, facts).reads
        except BaseException:  # a fault denies, as in every decision
            return
        clock = any(isinstance(form, Reading) for form in reads.forms)
        ranges = [str(ip_network(text, strict=False)[0]) for text in sorted(reads.ranges)]
        for ip in (*ANYWHERE, *ranges):
            for hour in range(WEEK_H if clock else 1):
                yield now + hour * HOUR_S, ip


def _subject(known: Known) -> Closure:
    kind, name, groups, standing, attributes = known
    ref = EntityRef(kind, name)
    attrs: dict[str, Any] = {"status": "active", "quarantined": False}
    if kind == "User":
        attrs |= {"kind": standing, "attributes": msgspec.json.decode(attributes)}
    else:
        attrs["owner"] = {"__entity": {"type": "User", "id": standing}}
    entity = Entity(ref, attrs, tuple(EntityRef("Group", group) for group in groups))
    return close_entity(ref, {ref: entity}.get)


def _attributes_read(active: ActiveBundle) -> frozenset[str]:
    """Return the attributes that any policy names at all: more than are read is no harm."""
    texts = [
        msgspec.json.encode(policy.est["conditions"]).decode()
        for name in active.policies.ids
        if (policy := active.policies.policy(name)) is not None
    ]
    whole = "\n".join(texts)
    return frozenset(name for name in active.catalogue.attribute_types if f'"{name}"' in whole)


class View:
    """The directory as it is, or as a transaction would leave it: who is in which groups."""

    def __init__(self, value: Callable[[str, str], Any], over: Mapping[str, GroupFact | None] = {}) -> None:
        self._value = value
        self._over = over
        self._kept: dict[tuple[str, ...], frozenset[str]] = {}

    def reach(self, groups: tuple[str, ...]) -> frozenset[str]:
        """Return groups with all that they are in."""
        found = self._kept.get(groups)
        if found is None:
            seen: set[str] = set()
            todo = list(groups)
            while todo:
                name = todo.pop()
                if name not in seen:
                    seen.add(name)
                    todo += self._parents(name)
            found = self._kept[groups] = frozenset(seen)
        return found

    def _parents(self, name: str) -> tuple[str, ...]:
        fact = self._over[name] if name in self._over else self._value("group", name)
        return fact.parents if fact is not None else ()

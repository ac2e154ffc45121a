"""Whom a record tells of: one table, by the first word of an event's kind.

The owner is a person of the directory, as policies name them: `User::"ada"`. A decision's is its subject.
Inputs are those of the subject, or, for a workload, of the person who answers for it. Workloads,
gateways, the host's operator and Limen itself are nobody.
"""

from collections.abc import Callable, Mapping
from typing import Any

from limen.core.record import DecisionRecord, EventRecord, InputsRecord

NOT_PEOPLE = frozenset({"", "limen", "nobody", "journal", "demo", "host-operator"})
"""Actors and targets that could be usernames and are none. Others have a colon: `gateway:g1`."""

_PERSON, _END = 'User::"', '"'

Place = Callable[[EventRecord], object]


def _target(event: EventRecord) -> object:
    return event.target


def _actor(event: EventRecord) -> object:
    return event.actor


def _data(*names: str) -> Place:
    """Look into `data`, and into what was there before and after a change."""

    def find(event: EventRecord) -> object:
        part: object
        for part in (event.data, event.data.get("after"), event.data.get("before")):
            found = [part[name] for name in names if part.get(name)] if isinstance(part, Mapping) else []
            if found:
                return found[0]
        return None

    return find


_EITHER = _data("person", "user", "subject", "principal")

ABOUT: Mapping[str, tuple[Place, ...]] = {
    "person": (_target,),
    "enrolment": (_target,),
    "authenticator": (_target,),
    "recovery": (_target,),
    "notice": (_target,),
    "identity": (_target,),
    "subject": (_target, _EITHER),
    "sign_in": (_target, _actor),
    "session": (_EITHER, _actor),
    "app_session": (_EITHER, _actor),
    "token": (_EITHER, _actor),
    "connect": (_EITHER, _actor),
    "client": (_EITHER, _actor),
    "saml": (_actor,),
    "stream": (_EITHER, _actor),
    "streams": (_EITHER,),
    "grant": (_EITHER,),
    "complaint": (_EITHER, _actor),
    "hold": (_EITHER,),
    "source": (_EITHER,),
    "scim": (_target,),  # a person; clients have a name with a colon there
    "workload": (_data("owner"),),
    "break_glass": (_EITHER,),
}
"""Where to look for the person whom an event is about, in this order. Other kinds: in `data`."""


def person(name: object) -> str | None:
    """Return the owner that a username, or a reference in text or as a pair, stands for; None for nobody."""
    if isinstance(name, list | tuple) and len(name) == 2:
        return f"{_PERSON}{name[1]}{_END}" if name[0] == "User" else None
    if not isinstance(name, str) or name in NOT_PEOPLE:
        return None
    if name.startswith(_PERSON):
        return name
    return None if ":" in name else f"{_PERSON}{name}{_END}"


def username(owner: str) -> str:
    """Return how events name an owner."""
    return owner.removeprefix(_PERSON).removesuffix(_END)


def decision_owner(record: DecisionRecord) -> str | None:
    """Return whom a decision is about."""
    subject = record.subject
    return subject if subject is not None and subject.startswith(_PERSON) else None


def event_owners(event: EventRecord) -> tuple[str | None, str | None]:
    """Return whom an event is about, and who caused it."""
    places = ABOUT.get(event.kind.partition(".")[0], (_EITHER,))
    about = next((found for place in places if (found := person(place(event)))), None)
    return about, person(event.actor)


def inputs_owner(record: InputsRecord) -> str | None:
    """Return whose the inputs are."""
    subject = record.facts.get("subject")
    root = subject.get("root") if isinstance(subject, Mapping) else None
    if not isinstance(subject, Mapping) or not isinstance(root, list | tuple):
        return None
    if tuple(root[:1]) == ("Workload",):
        return person(_owner_of(subject, root))
    return person(root)


def is_person(ref: object) -> bool:
    """Say whether a reference, as a pair, names a person."""
    return isinstance(ref, list | tuple) and len(ref) == 2 and ref[0] == "User"


def _owner_of(subject: Mapping[str, Any], root: Any) -> object:
    """Return the reference in a workload's attribute `owner`, in the form of Cedar's JSON."""
    for entity in subject.get("entities", ()):
        if list(entity.get("ref", ())) == list(root):
            named = entity.get("attrs", {}).get("owner", {}).get("__entity", {})
            return (named.get("type"), named.get("id"))
    return None

"""Who looked at whose data: a read of what is held about people is an event `data.read` beside its decision.

The decision's record has the path, without a person's name; the event has what that does not say, the filter
of a list or a search, and names the person if the read is about one. So `limen event list --kind data.read
--target ada` says who looked at ada.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fastapi import Request

from limen.administrator.ledger import Ledger

READ = "data.read"

PERSONAL: Mapping[str, str] = {
    "people": "people",
    "groups": "memberships",
    "grants": "grants",
    "sessions": "sessions",
    "streams": "live connections",
    "decisions": "records",
    "workloads": "workloads",
}
"""Parts of the administration whose reads are of people's data, and what is read there."""

NOT_READ = frozenset({"/v1/audit/sinks", "/v1/rollout"})
"""Reads of those parts that tell of nobody."""

_PEOPLE = ("person", "user", "subject", "target", "actor", "owner", "text")
"""Parameters that name a person, the likeliest first."""

FILTER_MAX = 200  # characters kept of one parameter


class Read(NamedTuple):
    """A call that was allowed: by which decision, to whom, from where, and what it is about to read."""

    request: Request
    part: str
    decision: str
    actor: str
    ip: str


def note_read(ledger: Ledger, read: Read, is_person: Callable[[str], bool]) -> None:
    """Record a call if it reads what is held about people.

    Raises:
        Unavailable: it could not be recorded; then it is not answered.
    """
    request, path = read.request, read.request.url.path
    if read.part not in PERSONAL or request.method not in ("GET", "HEAD") or path in NOT_READ:
        return
    given = {name: text[:FILTER_MAX] for name, text in (*request.query_params.items(), *_in_path(request))}
    named = (username(given[name]) for name in _PEOPLE if given.get(name))
    person = next((name for name in named if name and is_person(name)), "")
    data: dict[str, Any] = {"what": PERSONAL[read.part], "path": path, "decision": read.decision}
    if request.query_params:
        data["filter"] = {name: given[name] for name in request.query_params}
    if person:
        data["person"] = person
    why = "read through the admin API"
    ledger.tell(READ, actor=read.actor, target=person, reason=why, ip=read.ip, **data)


def _in_path(request: Request) -> list[tuple[str, str]]:
    return [(name, str(text)) for name, text in request.path_params.items()]


def username(text: str) -> str:
    """Return the username that a filter means: `ada`, `User::"ada"` and `user:ada` are one."""
    for form in ('User::"', "user:"):
        if text.startswith(form):
            return text.removeprefix(form).removesuffix('"')
    return "" if ":" in text else text

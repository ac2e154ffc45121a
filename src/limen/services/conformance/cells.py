"""The changes of a conformance run, one row each: how it is made, and what undoes it.

Each cutting change has a person of its own, so that none has to sign in twice.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from limen.services.conformance import bundle
from limen.services.conformance.people import Holder

DEADLINE_S = 4.0  # from the change that sets an expiry to the expiry


class World(Protocol):
    """What a change works on."""

    def call(self, method: str, path: str, **options: Any) -> tuple[Any, float]:
        """Call the admin API; return the answer and the instant of the commit."""
        ...

    def apply(self, *, more: str = "", extra_app: str = "") -> float:
        """Apply the run's bundle with more in it; return the instant of the commit."""
        ...


Since = Mapping[str, float]
"""From when nothing may be open any more, by kind of connection."""

Act = Callable[[World, Holder], Since]
"""Makes the change."""

KINDS = ("sse", "ws1", "ws2", "tcp")
"""Kinds of stream. `http` besides them is one request after the other."""


class Cell(msgspec.Struct, frozen=True):
    """One kind of change.

    Attributes:
        groups: what the person is in before.
        more: Cedar that lets this person in, where a group does not.
        prepare: made before the streams open.
        denies: whether requests are denied afterwards (ending a stream alone does not).
    """

    name: str
    act: Act
    groups: tuple[str, ...] = (bundle.EVERYBODY,)
    more: str = ""
    prepare: Callable[[World, Holder], None] = lambda _world, _holder: None
    denies: bool = True


def person_of(name: str) -> str:
    """Return the username of a cell's person."""
    return f"{bundle.NAME}-{name}"


def own_group(name: str) -> str:
    """Return the group of a cell's person alone."""
    return f"{bundle.NAME}-{name}"


_OF_THE_APP = ("sse", "ws1", "ws2", "http")


def _all(at: float) -> Since:
    return dict.fromkeys((*KINDS, "http"), at)


def _patch(fields: Mapping[str, Any]) -> Act:
    def act(world: World, holder: Holder) -> Since:
        body = {**fields, "reason": "conformance"}
        return _all(world.call("PATCH", f"/v1/people/{holder.username}", json=body)[1])

    return act


def _end_session(world: World, holder: Holder) -> Since:
    path = f"/v1/sessions/{holder.session_id}"
    return _all(world.call("DELETE", path, params={"reason": "conformance"})[1])


def _leave_group(world: World, holder: Holder) -> Since:
    path = f"/v1/groups/{bundle.EVERYBODY}/members/{holder.username}"
    return _all(world.call("DELETE", path, params={"reason": "conformance"})[1])


def _nest(world: World, _holder: Holder) -> None:
    world.call("PUT", f"/v1/groups/{own_group('nesting')}/parents/{bundle.EVERYBODY}", json={})


def _unnest(world: World, _holder: Holder) -> Since:
    path = f"/v1/groups/{own_group('nesting')}/parents/{bundle.EVERYBODY}"
    return _all(world.call("DELETE", path, params={"reason": "conformance"})[1])


def _grant(world: World, holder: Holder, *, for_s: float) -> tuple[list[str], float]:
    ids = []
    until = time.time() + for_s
    for resource, actions in ((bundle.NAME, ["read", "write"]), (bundle.SERVICE, ["connect"])):
        body = {
            "to": f"user:{holder.username}",
            "on": resource,
            "actions": actions,
            "expires_at": until,
            "reason": "conformance",
        }
        ids.append(str(world.call("POST", "/v1/grants", json=body)[0]["id"]))
    return ids, until


def _grant_long(world: World, holder: Holder) -> None:
    _grant(world, holder, for_s=3600)


def _revoke_grants(world: World, holder: Holder) -> Since:
    grants, _ = world.call("GET", "/v1/grants", params={"user": holder.username})
    at: dict[str, float] = {}
    for grant in grants:
        path = f"/v1/grants/{grant['id']}"
        committed_at = world.call("DELETE", path, params={"reason": "conformance"})[1]
        at |= dict.fromkeys(("tcp",) if "connect" in grant["actions"] else _OF_THE_APP, committed_at)
    return at


def _end_streams(world: World, holder: Holder) -> Since:
    began = time.time()  # nothing is committed: this is from the call
    world.call("DELETE", "/v1/streams", params={"user": holder.username, "reason": "conformance"})
    return _all(began)


def _expire(world: World, holder: Holder) -> Since:
    at = time.time() + DEADLINE_S
    _patch({"expires_at": at})(world, holder)
    return _all(at)


def _without_permit(world: World, _holder: Holder) -> Since:
    return _all(world.apply())


def _forbidden(world: World, holder: Holder) -> Since:
    return _all(world.apply(more=bundle.forbid("guardrail", f' == User::"{holder.username}"')))


CELLS: tuple[Cell, ...] = (
    Cell("session", _end_session),
    Cell("suspended", _patch({"status": "suspended"})),
    Cell("quarantined", _patch({"quarantined": True})),
    Cell("membership", _leave_group),
    Cell("nesting", _unnest, groups=(own_group("nesting"),), prepare=_nest),
    Cell("grant", _revoke_grants, groups=(), prepare=_grant_long),
    Cell("expiry", _expire),
    Cell(
        "permit",
        _without_permit,
        groups=(),
        more=bundle.permit("one", f' == User::"{person_of("permit")}"'),
    ),
    Cell("guardrail", _forbidden),
    Cell("operator", _end_streams, denies=False),
)
"""Each is asked of every kind of stream, over every gateway."""

"""The changes of a conformance run, one row each: how it is made, and what undoes it.

Each cutting change has a person of its own, so that none has to sign in twice.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from limen.services.conformance import bundle
from limen.services.conformance.bundle import Twist
from limen.services.conformance.people import Holder

DEADLINE_S = 3.0  # from the change that sets an expiry to the expiry
EARLY_S = 0.25  # a probe talks each 10 ms, on a machine that may be busy


class World(Protocol):
    """What a change works on."""

    def call(self, method: str, path: str, **options: Any) -> tuple[Any, float]:
        """Call the admin API; return the answer and the instant of the commit."""
        ...

    def apply(self, twist: Twist | None = None) -> float:
        """Apply the run's bundle with a twist; return the instant of the commit."""
        ...


Since = Mapping[str, float]
"""From when nothing may be open any more, by kind of connection."""

Act = Callable[[World, Holder], Since]
"""Makes the change."""

KINDS = ("sse", "ws1", "ws2", "tcp")
"""Kinds of stream. `http` besides them is one request after the other."""

OF_AN_APP = ("sse", "ws1", "ws2", "http")


class Cell(msgspec.Struct, frozen=True):
    """One kind of change.

    Attributes:
        groups: what the person is in before.
        more: Cedar that lets this person in, where a group does not.
        place: the app and the service that they use.
        kinds: what must end.
        prepare: made before the streams open.
        denies: whether requests are denied afterwards (ending a stream alone does not).
        early_s: how long before its instant a stream may end, where that is a deadline.
        undo: takes the change back; then everybody must be let in again, by nobody's hand.
    """

    name: str
    act: Act
    groups: tuple[str, ...] = (bundle.EVERYBODY,)
    more: str = ""
    place: str = bundle.MAIN
    kinds: tuple[str, ...] = KINDS
    prepare: Callable[[World, Holder], None] = lambda _world, _holder: None
    denies: bool = True
    early_s: float = EARLY_S
    undo: Callable[[], None] | None = None


def person_of(name: str) -> str:
    """Return the username of a cell's person."""
    return f"{bundle.NAME}-{bundle.RUN}-{name}"


def own_group(name: str) -> str:
    """Return the group of a cell's person alone."""
    return person_of(name)


def since(at: float, kinds: tuple[str, ...] = (*KINDS, "http")) -> Since:
    """Return one instant for all of `kinds`."""
    return dict.fromkeys(kinds, at)


def patch(fields: Mapping[str, Any]) -> Act:
    """Return the change of a person's fields."""

    def act(world: World, holder: Holder) -> Since:
        body = {**fields, "reason": "conformance"}
        return since(world.call("PATCH", f"/v1/people/{holder.username}", json=body)[1])

    return act


def _end_session(world: World, holder: Holder) -> Since:
    path = f"/v1/sessions/{holder.session_id}"
    return since(world.call("DELETE", path, params={"reason": "conformance"})[1])


def _end_all_sessions(world: World, holder: Holder) -> Since:
    of = {"person": holder.username, "reason": "conformance"}
    return since(world.call("DELETE", "/v1/sessions", params=of)[1])


def _leave_group(world: World, holder: Holder) -> Since:
    path = f"/v1/groups/{bundle.EVERYBODY}/members/{holder.username}"
    return since(world.call("DELETE", path, params={"reason": "conformance"})[1])


def _nest(world: World, _holder: Holder) -> None:
    world.call("PUT", f"/v1/groups/{own_group('nesting')}/parents/{bundle.EVERYBODY}", json={})


def _unnest(world: World, _holder: Holder) -> Since:
    path = f"/v1/groups/{own_group('nesting')}/parents/{bundle.EVERYBODY}"
    return since(world.call("DELETE", path, params={"reason": "conformance"})[1])


def _grant(world: World, holder: Holder, until: float) -> None:
    for resource, actions in ((bundle.app_of(), ["read", "write"]), (bundle.service_of(), ["connect"])):
        body = {
            "to": f"user:{holder.username}",
            "on": resource,
            "actions": actions,
            "expires_at": until,
            "reason": "conformance",
        }
        world.call("POST", "/v1/grants", json=body)


def _grant_long(world: World, holder: Holder) -> None:
    _grant(world, holder, time.time() + 3600)


def _revoke_grants(world: World, holder: Holder) -> Since:
    grants, _ = world.call("GET", "/v1/grants", params={"user": holder.username})
    return _revoke(world, grants)


def _revoke(world: World, grants: list[dict[str, Any]]) -> Since:
    at: dict[str, float] = {}
    for grant in grants:
        path = f"/v1/grants/{grant['id']}"
        committed_at = world.call("DELETE", path, params={"reason": "conformance"})[1]
        at |= since(committed_at, ("tcp",) if "connect" in grant["actions"] else OF_AN_APP)
    return at


def _shorten_grants(world: World, holder: Holder) -> Since:
    """Give a grant that soon ends, and take the long one: until then the short one must be enough."""
    long, _ = world.call("GET", "/v1/grants", params={"user": holder.username})
    until = time.time() + DEADLINE_S
    _grant(world, holder, until)
    _revoke(world, long)
    return since(until)


def _end_streams(world: World, holder: Holder) -> Since:
    began = time.time()  # nothing is committed: this is from the call
    world.call("DELETE", "/v1/streams", params={"user": holder.username, "reason": "conformance"})
    return since(began)


def _expire(world: World, holder: Holder) -> Since:
    at = time.time() + DEADLINE_S
    patch({"expires_at": at})(world, holder)
    return since(at)


def _without_permit(world: World, _holder: Holder) -> Since:
    return since(world.apply())


def _forbidden(world: World, holder: Holder) -> Since:
    return since(world.apply(Twist(more=bundle.forbid("guardrail", f' == User::"{holder.username}"'))))


def _take_out(world: World, _holder: Holder) -> Since:
    return since(world.apply(Twist(without=bundle.GONE)))


def _guard(world: World, _holder: Holder) -> Since:
    return since(world.apply(Twist(guarded=bundle.ROUTED)))


CELLS: tuple[Cell, ...] = (
    Cell("session", _end_session),
    Cell("all sessions", _end_all_sessions),
    Cell("suspended", patch({"status": "suspended"})),
    Cell("quarantined", patch({"quarantined": True})),
    Cell("membership", _leave_group),
    Cell("nesting", _unnest, groups=(own_group("nesting"),), prepare=_nest),
    Cell("grant", _revoke_grants, groups=(), prepare=_grant_long),
    Cell("grant's end", _shorten_grants, groups=(), prepare=_grant_long),
    Cell("expiry", _expire),
    Cell(
        "permit",
        _without_permit,
        groups=(),
        more=bundle.permit("one", f' == User::"{person_of("permit")}"'),
    ),
    Cell("guardrail", _forbidden),
    Cell("route", _guard, place=bundle.ROUTED, kinds=("sse", "ws1", "ws2")),
    Cell("app and service", _take_out, place=bundle.GONE),
    Cell("operator", _end_streams, denies=False),
)
"""Each is asked of every kind of stream, over every gateway."""

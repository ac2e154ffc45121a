"""The bundle of a conformance run: the one in force (or a starter) with some apps and services, one file.

Everything that it adds is named `limen-conformance`, and the run takes it out again.
"""

import secrets
from collections.abc import Mapping, Sequence

import msgspec

from limen.engine.protect import add_app, add_scim, add_service

NAME = "limen-conformance"
RUN = secrets.token_hex(3)  # a username is given once: the people of each run have names of their own
EVERYBODY = f"{NAME}-{RUN}"
POLICIES = f"policies/{NAME}.cedar"
STALENESS_S = 5.0

LIMITS = "streams: {per_session: 20000, per_subject: 20000, per_resource: 20000}"
MAIN, BRIEF, GONE, ROUTED = "", "brief", "gone", "routed"
PLACES: Mapping[str, tuple[str, ...]] = {
    MAIN: (),
    BRIEF: (f"staleness_max_s: {STALENESS_S:.0f}",),
    GONE: (),
    ROUTED: (),
}
"""Each is an app and a service, with lines of its own in `limen.yaml`."""

_GUARDED = "routes: [{name: all, path: /**, action: admin}]"
_OPEN = "routes: [{name: all, path: /**, public: true}]"
_PERMIT = """
@id("{app}-{mark}")
permit(principal{who}, action in [Action::"read", Action::"write"], resource in App::"{app}");
@id("{app}-{mark}-tcp")
permit(principal{who}, action == Action::"connect", resource == Service::"{service}");
"""
_FORBID = """
@id("{app}-{mark}-no")
forbid(principal{who}, action in [Action::"read", Action::"write"], resource in App::"{app}");
@id("{app}-{mark}-no-tcp")
forbid(principal{who}, action == Action::"connect", resource == Service::"{service}");
"""


class Twist(msgspec.Struct, frozen=True):
    """What is different for once.

    Attributes:
        more: Cedar besides the permit for everybody in the run.
        extra: an upstream of one more app, which nobody may open.
        opened: anybody may open that one.
        without: a place that is taken out.
        guarded: a place whose app asks for the action `admin` everywhere.
    """

    more: str = ""
    extra: str = ""
    opened: bool = False
    without: str = "-"
    guarded: str = "-"


def app_of(place: str = MAIN) -> str:
    """Return a place's app."""
    return f"{NAME}-{place}" if place else NAME


def service_of(place: str = MAIN) -> str:
    """Return a place's service."""
    return f"{app_of(place)}-tcp"


def permit(mark: str, who: str, place: str = MAIN) -> str:
    """Return the Cedar that opens app and service to `who` (` in Group::"…"`, ` == User::"…"`)."""
    return _PERMIT.format(app=app_of(place), service=service_of(place), mark=mark, who=who)


def forbid(mark: str, who: str) -> str:
    """Return the Cedar that closes them to `who`."""
    return _FORBID.format(app=app_of(), service=service_of(), mark=mark, who=who)


def with_conformance(
    files: Mapping[str, str], *, http_port: int, tcp_port: int, twist: Twist | None = None
) -> dict[str, str]:
    """Return `files` with what the run needs."""
    twist = twist or Twist()
    text, cedar = files["limen.yaml"], twist.more
    for place, lines in PLACES.items():
        if place == twist.without:
            continue
        upstream = f"http://127.0.0.1:{http_port}"
        text = add_app(text, name=app_of(place), upstream=upstream, allow=())
        text = _under(text, app_of(place), (LIMITS, *lines, *((_GUARDED,) if place == twist.guarded else ())))
        text = add_service(text, name=service_of(place), address=f"127.0.0.1:{tcp_port}", allow=())
        text = _under(text, service_of(place), (LIMITS, *lines))
        cedar += permit("all", f' in Group::"{EVERYBODY}"', place)
    text = add_scim(text, name=NAME)
    if twist.extra:
        text = add_app(text, name=app_of("more"), upstream=twist.extra, allow=())
        text = _under(text, app_of("more"), (_OPEN,) if twist.opened else ())
    return {**files, "limen.yaml": text, POLICIES: cedar}


def _under(text: str, name: str, lines: Sequence[str]) -> str:
    """Put lines under the entry that was added last."""
    head, mark, tail = text.rpartition(f"{name}:")
    line, newline, rest = tail.partition("\n")
    indent = " " * (len(head) - len(head.rstrip(" ")) + 2)
    said = "".join(f"{indent}{one}\n" for one in lines)
    return f"{head}{mark}{line}{newline}{said}{rest}"

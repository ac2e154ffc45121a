"""The bundle of a conformance run: the one in force (or a starter) with one app, one service, one file.

Everything that it adds is named `limen-conformance`, and the run takes it out again.
"""

from collections.abc import Mapping

from limen.engine.protect import add_app, add_service

NAME = "limen-conformance"
SERVICE = f"{NAME}-tcp"
EVERYBODY = NAME
POLICIES = f"policies/{NAME}.cedar"

LIMITS = "streams: {per_session: 20000, per_subject: 20000, per_resource: 20000}"

_PERMIT = """
@id("{name}-{mark}")
permit(principal{who}, action in [Action::"read", Action::"write"], resource in App::"{name}");
@id("{name}-{mark}-tcp")
permit(principal{who}, action == Action::"connect", resource == Service::"{service}");
"""
_FORBID = """
@id("{name}-{mark}-no")
forbid(principal{who}, action in [Action::"read", Action::"write"], resource in App::"{name}");
@id("{name}-{mark}-no-tcp")
forbid(principal{who}, action == Action::"connect", resource == Service::"{service}");
"""


def permit(mark: str, who: str) -> str:
    """Return the Cedar that opens app and service to `who` (` in Group::"…"`, ` == User::"…"`)."""
    return _PERMIT.format(name=NAME, service=SERVICE, mark=mark, who=who)


def forbid(mark: str, who: str) -> str:
    """Return the Cedar that closes them to `who`."""
    return _FORBID.format(name=NAME, service=SERVICE, mark=mark, who=who)


def with_conformance(
    files: Mapping[str, str], *, http_port: int, tcp_port: int, more: str = "", extra_app: str = ""
) -> dict[str, str]:
    """Return `files` with what the run needs.

    Args:
        more: Cedar besides the permit for everybody in the run.
        extra_app: an upstream of one more app, which nobody may open.
    """
    text = add_app(files["limen.yaml"], name=NAME, upstream=f"http://127.0.0.1:{http_port}", allow=())
    text = _with_limits(text, NAME)
    text = add_service(text, name=SERVICE, address=f"127.0.0.1:{tcp_port}", allow=())
    text = _with_limits(text, SERVICE)
    if extra_app:
        text = add_app(text, name=f"{NAME}-more", upstream=extra_app, allow=())
    cedar = permit("all", f' in Group::"{EVERYBODY}"') + more
    return {**files, "limen.yaml": text, POLICIES: cedar}


def _with_limits(text: str, name: str) -> str:
    """Put the limits under the entry that was added last."""
    head, mark, tail = text.rpartition(f"{name}:")
    line, newline, rest = tail.partition("\n")
    indent = " " * (len(head) - len(head.rstrip(" ")) + 2)
    return f"{head}{mark}{line}{newline}{indent}{LIMITS}\n{rest}"

"""What an allowed request carries to the app, and what is taken off it.

Law:
    I1 nothing forged. A header by which the app learns an identity is set here or removed here, on every
       request that goes on. (Envoy removes all known ones before any filter; this is the second lock.)
"""

import base64
import re
from collections.abc import Mapping
from typing import Any

from limen.core.catalogue import AppConfig
from limen.core.changes import PersonFact, WorkloadFact
from limen.core.errors import Unavailable
from limen.core.secret import Secret
from limen.enforcement.check.answer import Header
from limen.enforcement.check.assertion import fitting
from limen.enforcement.check.credentials import Credentials

ASSERTION = "x-limen-assertion"
DECISION_ID = "x-limen-decision-id"
REMOVE = "x-envoy-auth-headers-to-remove"

_ALWAYS_REMOVED = ("x-limen-token", "x-limen-peer")
CREDENTIALS = "x-limen-token,x-limen-peer,cookie"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def identity_headers(
    app: AppConfig, person: PersonFact, assertion: str, basic: Secret[str] | None
) -> tuple[Header, ...]:
    """Return the headers that tell the app who it serves.

    Raises:
        Unavailable: the app wants Basic credentials, and the secret is not set.
    """
    found: list[Header] = [(ASSERTION, assertion)]
    if app.identity.kind == "headers":
        values = _values(person)
        for field, name in app.identity.headers.items():
            if values.get(field):
                found.append((name.lower(), values[field]))
    elif app.identity.kind == "basic":
        if basic is None:
            raise Unavailable(
                f"The secret {app.identity.basic_secret} of app {app.name} is not set.",
                remedy=f"Set it with `limen secret set {app.identity.basic_secret}`.",
                code="SECRET_MISSING",
            )
        pair = f"{app.identity.basic_user}:{basic.reveal()}"
        found.append(("authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    return tuple(found)


def going_on(identity: tuple[Header, ...], removed: str, credentials: Credentials) -> tuple[Header, ...]:
    """Return all changes to a request that goes on: identity, the rest of the cookies, removals.

    For a public path `identity` is empty: then no identity reaches the app at all (law I1).
    """
    if credentials.cookie is not None:
        if credentials.cookie:
            identity = (*identity, ("cookie", credentials.cookie))
        else:
            removed += ",cookie"
    if credentials.dpop:
        removed += ",dpop"
    if credentials.authorization_is_ours and not any(name == "authorization" for name, _ in identity):
        removed += ",authorization"
    return (*identity, (REMOVE, removed))


def machine_identity(workload: WorkloadFact) -> PersonFact:
    """Return how an app that knows people is told of a machine: by a name that no person can have."""
    return PersonFact(id=f"workload:{workload.id}", name=workload.id, email="", groups=workload.groups)


def machine_claims(workload: WorkloadFact) -> dict[str, Any]:
    """Return what the assertion says besides: that it is of a machine, and who answers for it."""
    return {"kind": "workload", "owner": workload.owner}


def removals(app: AppConfig, identity: tuple[Header, ...]) -> str:
    """Return the names of identity headers that are not set, joined for Envoy."""
    given = {name for name, _ in identity}
    own = tuple(name.lower() for name in app.identity.headers.values())
    return ",".join(name for name in (*_ALWAYS_REMOVED, ASSERTION, *own) if name not in given)


def _values(person: PersonFact) -> Mapping[str, str]:
    groups, _ = fitting(person.groups)
    fields = {"user": person.id, "email": person.email, "name": person.name, "groups": ",".join(groups)}
    return {field: _CONTROL.sub("", value) for field, value in fields.items()}

"""What the change feed carries: gateway projections, one per kind, and nothing secret.

A projection is what a gateway may know. Credentials, password hashes and TOTP seeds have none.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from limen.core.entities import Kind, Status
from limen.core.ids import Instant


class PersonFact(msgspec.Struct, frozen=True, tag="person"):
    """A person of the directory. `id` is the username: immutable, never issued twice."""

    id: str
    name: str
    email: str
    status: Status = Status.ACTIVE
    kind: Kind = Kind.EMPLOYEE
    quarantined: bool = False
    groups: tuple[str, ...] = ()  # direct memberships, sorted
    attributes: Mapping[str, Any] = {}
    expires_at: Instant | None = None
    signals: tuple[str, ...] = ()  # what policies read as `context.signals`
    groups_unknown: str = ""  # the source that did not list their groups


class WorkloadFact(msgspec.Struct, frozen=True, tag="workload"):
    """A machine's identity, owned by a person."""

    id: str
    owner: str
    status: Status = Status.ACTIVE
    quarantined: bool = False
    groups: tuple[str, ...] = ()
    expires_at: Instant | None = None


class GroupFact(msgspec.Struct, frozen=True, tag="group"):
    """A group and the groups that it is in."""

    id: str
    parents: tuple[str, ...] = ()


class SessionFact(msgspec.Struct, frozen=True, tag="session"):
    """A single sign-on session. Ended sessions are tombstones."""

    id: str
    person: str
    aal: int
    phishing_resistant: bool
    methods: tuple[str, ...]
    started_at: Instant
    auth_at: Instant
    expires_at: Instant


class AppSessionFact(msgspec.Struct, frozen=True, tag="app_session"):
    """A session of one app, child of an SSO session. `id` is the hash of its token.

    `kind` is `cookie` or `token` (a client token for automation).
    """

    id: str
    parent: str
    app: str
    expires_at: Instant
    kind: str = "cookie"


class WorkloadSessionFact(msgspec.Struct, frozen=True, tag="workload_session"):
    """A workload's short-lived access. `id` is the hash of its token; ended ones are tombstones.

    Attributes:
        methods: how it was proven: `key`, `exchange:<issuer>`, `svid`, `secret`.
        apps: apps and services that it is good for; empty for all.
        jkt: SHA-256 thumbprint of the key that each use must prove (RFC 9449); empty for none.
        x5t: SHA-256 of the client certificate that each use must show (RFC 8705); empty for none.
    """

    id: str
    workload: str
    methods: tuple[str, ...]
    started_at: Instant
    expires_at: Instant
    apps: tuple[str, ...] = ()
    jkt: str = ""
    x5t: str = ""

    @property
    def session_id(self) -> str:
        """How decisions, streams and lists name it."""
        return machine_session_id(self.workload, self.id)


MACHINE_SESSION = "workload:"
"""How ids of machines' sessions begin; no person's does."""


def machine_session_id(workload: str, hashed: str) -> str:
    """Return the id of a machine's session: whose, and the beginning of its token's or certificate's hash."""
    return f"{MACHINE_SESSION}{workload}:{hashed[:16]}"


class GrantFact(msgspec.Struct, frozen=True, tag="grant"):
    """A time-bound grant; `principal` and `resource` are `Type::id` pairs."""

    id: str
    principal: tuple[str, str]
    actions: tuple[str, ...]
    resource: tuple[str, str]
    expires_at: Instant


class BundleFact(msgspec.Struct, frozen=True, tag="bundle"):
    """The active bundle: its files, by path. There is one, with id `active`."""

    id: str
    bundle_id: str
    files: Mapping[str, str]


class SecretFact(msgspec.Struct, frozen=True, tag="secret"):
    """A secret that a gateway must use, sealed to the gateway's key; never readable elsewhere."""

    id: str
    sealed: str


Projection = (
    PersonFact
    | WorkloadFact
    | GroupFact
    | SessionFact
    | AppSessionFact
    | WorkloadSessionFact
    | GrantFact
    | BundleFact
    | SecretFact
)


class Change(msgspec.Struct, frozen=True):
    """One record of the feed. `value` is None for a tombstone.

    Several changes of one transaction share `tx` (the seq of the transaction's last change); a
    reader applies whole transactions only.
    """

    seq: int
    tx: int
    kind: str
    id: str
    value: Projection | None
    actor: str
    reason: str
    at: Instant


class Snapshot(msgspec.Struct, frozen=True):
    """All live projections at `seq`, in one epoch."""

    epoch: str
    seq: int
    values: tuple[tuple[int, Projection], ...]  # (version, value)

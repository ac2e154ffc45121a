"""Journal records: what is written for each decision, change and outcome.

Every field has a class (`FIELD_CLASSES`): `public`, `sensitive` or `secret`. A field that has none
counts as secret and is not exported.

In the file, what tells of a person is sealed under that person's key (`limen.journal.keys`); `key` and
`actor_key` name the keys and are empty in a record that is not sealed. Without the key (it was erased),
the person reads `erased-…`, and the sealed fields read `ERASED`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from limen.core.ids import Instant

ERASED = "erased"
"""What a sealed field reads once its person's key was erased."""


class DecisionRecord(msgspec.Struct, frozen=True, tag="decision", omit_defaults=True):
    """One decision, with all from which it can be derived again (law D5).

    `inputs` names a stored `InputsRecord`; instant, network and request stand here.
    """

    id: str
    at: Instant
    node: str
    point: str  # enforcement point: gateway, admin-api, sign-in
    verdict: str
    code: str
    bundle: str
    inputs: str  # salted hash of the stable inputs; empty when the engine was not asked
    action: str
    resource: str
    subject: str | None = None
    session: str | None = None
    method: str = ""
    host: str = ""
    path: str = ""
    ip: str = ""
    policies: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    mode: str = "enforce"
    would_be: str | None = None
    memo: str = "none"
    took_us: int = 0
    age_s: float = 0.0
    key: str = ""  # of the subject


class InputsRecord(msgspec.Struct, frozen=True, tag="inputs", omit_defaults=True):
    """Stable inputs of decisions, stored once: facts as JSON-ready Cedar, under their salted hash."""

    id: str
    facts: Mapping[str, Any]
    key: str = ""  # of the subject


class BundleRecord(msgspec.Struct, frozen=True, tag="bundle"):
    """A bundle under which decisions were made, stored once."""

    id: str
    files: Mapping[str, str]


MAX_DURATION = "max_duration_timeout"
"""`details` of an outcome that the clock ended (`max_stream_duration`): no leash held it."""


class OutcomeRecord(msgspec.Struct, frozen=True, tag="outcome", omit_defaults=True):
    """What Envoy saw of a decided request. `id` is the decision's.

    Attributes:
        flags: Envoy's response flags (`UF`, `DC` …).
        details: Envoy's name for how it ended; empty where the app's answer went through as it was.
    """

    id: str
    at: Instant
    status: int
    duration_ms: int
    bytes_in: int = 0
    bytes_out: int = 0
    flags: str = ""
    details: str = ""


class EventRecord(msgspec.Struct, frozen=True, tag="event", omit_defaults=True):
    """An administrative change, a sign-in, a session's end: who, what, why."""

    id: str
    at: Instant
    node: str
    kind: str  # sign_in.succeeded, session.ended, person.created, bundle.applied …
    actor: str
    target: str = ""
    reason: str = ""
    ip: str = ""
    data: Mapping[str, Any] = {}
    key: str = ""  # of the person whom it is about
    actor_key: str = ""


Record = DecisionRecord | InputsRecord | BundleRecord | OutcomeRecord | EventRecord

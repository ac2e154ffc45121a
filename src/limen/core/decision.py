"""Request, facts, decision, explanation: the values that the engine takes and gives.

The answer is always `Decision`; its verdict is `deny` unless something said otherwise.
"""

from enum import StrEnum

import msgspec

from limen.core.entities import Closure
from limen.core.ids import BundleId, DecisionId, EntityRef, Instant


class Verdict(StrEnum):
    """Deny is the zero value."""

    DENY = "deny"
    ALLOW = "allow"


class Code(StrEnum):
    """Why a decision is what it is. Stable; documented in `docs/reference/codes.md`."""

    PERMITTED = "PERMITTED"
    PUBLIC = "PUBLIC"  # the route is declared public; no identity is asserted
    NO_PERMIT = "NO_PERMIT"
    FORBIDDEN = "FORBIDDEN"
    POLICY_ERROR = "POLICY_ERROR"  # D3: an erring policy that is not provably a permit
    NO_SESSION = "NO_SESSION"
    NO_RESOURCE = "NO_RESOURCE"
    SUBJECT_UNKNOWN = "SUBJECT_UNKNOWN"
    SUBJECT_SUSPENDED = "SUBJECT_SUSPENDED"
    SUBJECT_ENDED = "SUBJECT_ENDED"
    SUBJECT_EXPIRED = "SUBJECT_EXPIRED"
    QUARANTINED = "QUARANTINED"
    GROUPS_UNKNOWN = "GROUPS_UNKNOWN"  # a provider did not list the subject's groups
    STATE_STALE = "STATE_STALE"
    ENGINE_FAILED = "ENGINE_FAILED"
    CROSS_APP = "CROSS_APP"  # an unsafe method that comes from another app of the domain
    STREAM_REFUSED = "STREAM_REFUSED"  # an upgrade or CONNECT that reached the check instead of the leash
    PROOF_FAILED = "PROOF_FAILED"  # the token is bound to a key that the request does not prove
    STREAM_LIMIT = "STREAM_LIMIT"  # as many live streams as the resource allows
    BAD_REQUEST = "BAD_REQUEST"


ENGINE_CODES = frozenset({Code.STATE_STALE, Code.ENGINE_FAILED})
"""Codes that mean an outage rather than a judgement: answered 503, in every mode."""


class AccessRequest(msgspec.Struct, frozen=True):
    """What is asked. `subject` is None when nobody is signed in."""

    id: DecisionId
    at: Instant
    subject: EntityRef | None
    action: str  # read | write | admin | connect
    resource: EntityRef
    session_id: str | None = None
    method: str = ""
    host: str = ""
    path: str = ""  # without query
    ip: str = ""


class SessionFacts(msgspec.Struct, frozen=True):
    """What the session proves. Ages are derived from the instants, at the request's instant."""

    id: str
    aal: int  # NIST SP 800-63B, 1 to 3
    phishing_resistant: bool
    methods: tuple[str, ...]  # sorted: passkey, password, totp, recovery, oidc:<provider>
    started_at: Instant
    auth_at: Instant
    expires_at: Instant


class DeviceFacts(msgspec.Struct, frozen=True):
    """A device with its posture; `closure.root` is `Device::"…"`."""

    closure: Closure


class Network(msgspec.Struct, frozen=True):
    """Where the request came from, as the enforcement point saw it."""

    ip: str = "127.0.0.1"
    country: str | None = None
    asn: int | None = None
    anonymizer: bool = False


class Grant(msgspec.Struct, frozen=True):
    """A time-bound link of the grant template. `principal` is a User, Workload or Group."""

    id: str
    principal: EntityRef
    actions: tuple[str, ...]
    resource: EntityRef
    expires_at: Instant


class Facts(msgspec.Struct, frozen=True):
    """Everything that a decision may read, handed to the engine with its age.

    Attributes:
        grants: only those whose principal is in the subject's ancestors and whose resource is in
            the resource's ancestors.
        age_s: age of the replica that these facts come from, on the boot clock.
        staleness_max_s: law F3's bound for this resource.
        seq: the replica's position in the change feed.
    """

    subject: Closure | None
    resource: Closure
    session: SessionFacts | None = None
    device: DeviceFacts | None = None
    network: Network = Network()
    risk: int = 0
    signals: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()
    age_s: float = 0.0
    staleness_max_s: float = 300.0
    seq: int = 0


class Decision(msgspec.Struct, frozen=True):
    """The engine's answer.

    Attributes:
        policies: ids of the determining policies, sorted: the satisfied forbids, else the permits.
        errors: ids of the policies that erred, sorted. Never Cedar's error text, which can hold
            every entity.
        deadline_at: first instant at which this decision could change by itself, or None for never.
            An instant equal to the request's own means "decide again each second" (unmemoisable time).
        memo: `hit`, `miss` or `none`.
    """

    verdict: Verdict = Verdict.DENY
    code: Code = Code.ENGINE_FAILED
    policies: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    deadline_at: Instant | None = None
    bundle: BundleId = BundleId("")
    memo: str = "none"

    @property
    def allowed(self) -> bool:
        """Whether the request may go on."""
        return self.verdict is Verdict.ALLOW


class Remedy(msgspec.Struct, frozen=True, order=True):
    """One thing that would change the world so that a denial becomes an allow.

    Attributes:
        id: one of `core.needs.NEEDS`, or `compliant-device`, `enrolled-device`, `posture:<check>`,
            `grant`, `later`, `lower-risk`, `sign-in`.
        sentence: what the person should do, in one sentence.
        max_age_s: for `fresh-sign-in`, the age that the sign-in may have.
        at: for `later`, the first instant at which it would be allowed.
    """

    id: str
    sentence: str
    max_age_s: int | None = None
    at: Instant | None = None


class Explanation(msgspec.Struct, frozen=True):
    """Why a denial, and what would cure it. Minimal: no proper subset of `remedies` would do.

    `remedies` are to be applied together. `alternatives` are other sets of that size, each of which
    would do as well; the one preferred stands in `remedies`.
    """

    reasons: tuple[str, ...]  # the sentence of each policy that forbade, or of the code
    remedies: tuple[Remedy, ...]
    owner: str | None = None
    evaluations: int = 0
    alternatives: tuple[tuple[Remedy, ...], ...] = ()

"""What a report on identity is made of: people, machines, secrets, as values. What is None is not known."""

from collections.abc import Mapping

import msgspec

from limen.core.ids import Instant

DAY_S = 86_400.0


class Says(msgspec.Struct, frozen=True):
    """What another source says of a person. `active` None: it says nothing of that."""

    source: str
    active: bool | None = None
    email: str = ""


class PersonFacts(msgspec.Struct, frozen=True):
    """A person, as far as they are known.

    Attributes:
        source: who keeps them: `local`, `ldap:corp`.
        created_at: None: not known.
        signed_in_at: the last time; None: never, or, with `uses_known` false, not known.
        groups: direct ones; those from a source by `given`, group to source.
        factors: `password`, `totp`, `passkey`, `hardware-key`, `recovery`, as set up here; None: not known.
        providers: providers that they sign in through.
        proven_aal, proven_phishing_resistant: the best that a sign-in through one has proven; None: none has.
        says: what sources that do not keep them, or did, say.
        groups_unknown: the source that does not list their groups; empty when they are known.
        moved_at, moved: when their department, title or groups were last changed by a source, and what.
        kept: what they have from before that no source gives: `group staff`, `grant g1 on App::"pay"`.
    """

    id: str
    name: str = ""
    email: str = ""
    status: str = "active"
    kind: str = "employee"
    source: str = "local"
    sponsor: str | None = None
    expires_at: Instant | None = None
    created_at: Instant | None = None
    signed_in_at: Instant | None = None
    uses_known: bool = True
    groups: tuple[str, ...] = ()
    given: Mapping[str, str] = {}
    factors: tuple[str, ...] | None = None
    providers: tuple[str, ...] = ()
    proven_aal: int | None = None
    proven_phishing_resistant: bool | None = None
    says: tuple[Says, ...] = ()
    groups_unknown: str = ""
    moved_at: Instant | None = None
    moved: str = ""
    kept: tuple[str, ...] = ()


class WorkloadFacts(msgspec.Struct, frozen=True):
    """A machine.

    Attributes:
        may: what policies let it do, `read App::"wiki"`; None: not known.
        did: what it did in the period that was looked at; None: nobody looked.
    """

    id: str
    owner: str = ""
    purpose: str = ""
    status: str = "active"
    created_at: Instant | None = None
    expires_at: Instant | None = None
    review_at: Instant | None = None
    used_at: Instant | None = None
    may: tuple[str, ...] | None = None
    did: tuple[str, ...] | None = None


class SecretFacts(msgspec.Struct, frozen=True):
    """A secret or key, without it. `renew` is how it is renewed."""

    kind: str
    name: str
    of: str
    since: Instant
    renew: str
    expires_at: Instant | None = None


class ResourceFacts(msgspec.Struct, frozen=True):
    """An app, service or client, and who answers for it; empty: nobody."""

    ref: str
    owner: str


class IdentityFacts(msgspec.Struct, frozen=True):
    """All that is known at an instant.

    Attributes:
        sources: those that the bundle names; None: there is no bundle to look into.
        parents: each group's own groups.
        privileged: groups that give a role of Limen, or the right to administer something.
        privileged_people: people who have such a right by themselves.
        workloads, secrets, resources: None: not known.
        changes_since: since when movers are known; None: they are not.
        looked_s: how far back use of machines was looked at; None: it was not.
    """

    at: Instant
    people: tuple[PersonFacts, ...]
    sources: tuple[str, ...] | None = None
    parents: Mapping[str, tuple[str, ...]] = {}
    privileged: tuple[str, ...] = ()
    privileged_people: tuple[str, ...] = ()
    workloads: tuple[WorkloadFacts, ...] | None = None
    secrets: tuple[SecretFacts, ...] | None = None
    resources: tuple[ResourceFacts, ...] | None = None
    changes_since: Instant | None = None
    looked_s: float | None = None


class ReportRules(msgspec.Struct, frozen=True):
    """From when on something is worth a row. All in seconds."""

    dormant_s: float = 45 * DAY_S  # CIS Controls v8.1, 5.3: disable dormant accounts after 45 days
    never_used_s: float = 30 * DAY_S
    moved_s: float = 90 * DAY_S  # NIST SP 800-53r5 AC-2(k), AC-6(7): a quarter
    secret_s: float = 365 * DAY_S  # NIST SP 800-57 part 1 5.3.6: one to two years
    idle_s: float = 90 * DAY_S  # of a machine


class Row(msgspec.Struct, frozen=True):
    """One finding. `cure` is what to do next; there is none without (law I1).

    Attributes:
        check: which part of the report: `dormant`.
        severity: `high`, `medium` or `low`.
    """

    check: str
    about: str
    severity: str
    what: str
    cure: str
    since: Instant | None = None


class Coverage(msgspec.Struct, frozen=True):
    """How many of a group's active people can prove themselves how well. `group` is empty for everybody.

    Attributes:
        mfa, phishing_resistant: who can; the others cannot, or (`unknown`) nobody knows.
        without, phishable: who cannot, by name, the first `NAMES_MAX`.
    """

    group: str
    people: int
    mfa: int
    phishing_resistant: int
    unknown: int
    unknown_resistant: int
    without: tuple[str, ...]
    phishable: tuple[str, ...]
    cure: str

    @property
    def no_mfa(self) -> int:
        """How many are known to have one factor at most."""
        return self.people - self.mfa - self.unknown


class Unknown(msgspec.Struct, frozen=True):
    """Something that could not be looked at, and what would make it known."""

    what: str
    cure: str


class Report(msgspec.Struct, frozen=True):
    """The whole report.

    Attributes:
        counts: people by status, and rows by check.
        privileged: every active account with a privilege, and how it proves itself.
    """

    at: Instant
    counts: Mapping[str, int]
    coverage: tuple[Coverage, ...]
    rows: tuple[Row, ...]
    unknown: tuple[Unknown, ...]
    rules: ReportRules

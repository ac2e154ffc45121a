"""Bundles put in force: checked as a whole, refused if nobody could administer Limen, then one change.

Laws:
    A3 one way in. Whatever puts a bundle in force (apply, rollback, a promoted candidate) comes through
       `apply` or `approve`, and is committed only on top of the bundle that it was compared with.
    A4 four eyes. Where the *active* bundle says so, what changes its guardrails is put in force by nobody
       but another administrator, who approves exactly that content on top of exactly that bundle.
"""

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection

from limen.administrator import proposals
from limen.administrator.active import ActiveBundle, activate, keep
from limen.administrator.authority import Authority
from limen.administrator.ledger import Entry, Ledger
from limen.administrator.saml_names import demand_program
from limen.core.catalogue import ADMIN_APP, Catalogue
from limen.core.decision import AccessRequest, Facts
from limen.core.errors import BundleRefused, Conflict, Finding, Refused, Severity
from limen.core.ids import BundleId, DecisionId, EntityRef
from limen.engine.bundle import Bundle, bundle_id, parse_bundle
from limen.engine.check import CheckReport, check_bundle
from limen.engine.decide import decide
from limen.engine.expressions import mentioned
from limen.engine.guarded import guarded_changes
from limen.store import bundles
from limen.store.bundles import StoredBundle
from limen.store.database import Store
from limen.store.directory.groups import insert_groups, missing_groups
from limen.store.proposals import Proposal, add_proposal, close_proposal, drop_proposal, get_proposal
from limen.store.secrets import publish_secrets
from limen.store.shadow import load_shadow, stop_shadow

HOST_OPERATOR = EntityRef("Workload", "host-operator")
"""Who acts through the Unix socket: whoever may enter the state folder."""

ADMIN_RESOURCE = EntityRef("Route", f"{ADMIN_APP}/policy")


class Applied(msgspec.Struct, frozen=True):
    """What became of an `apply`. `findings` are warnings: errors refuse the bundle.

    Attributes:
        changed: it is in force now, and was not before.
        proposed: it is not: it waits for another administrator, because of `guarded`.
        base: the bundle on top of which it was put or proposed; empty for the first.
        guarded: what guardrails bind otherwise under it.
    """

    bundle: BundleId
    serial: int
    changed: bool
    findings: tuple[Finding, ...] = ()
    proposed: bool = False
    base: str = ""
    guarded: tuple[str, ...] = ()


class Checked(msgspec.Struct, frozen=True):
    """A bundle that may be put in force on top of `present`."""

    bundle: Bundle
    active: ActiveBundle
    findings: tuple[Finding, ...]
    present: StoredBundle | None

    @property
    def base(self) -> BundleId:
        """The bundle that was active when it was checked; empty for none."""
        return self.present.info.id if self.present else BundleId("")


class PolicyAdministrator:
    """Applies bundles. What gateways follow is the one change that `apply` commits."""

    def __init__(self, store: Store, authority: Authority) -> None:
        self._store = store
        self._authority = authority
        self._ledger = Ledger(store, authority.note, authority.node)

    def apply(
        self, files: Mapping[str, str], *, actor: str, reason: str, first: bool = False, base: str = ""
    ) -> Applied:
        """Check a bundle, and make it the active one, or propose it where that needs another's approval.

        Args:
            files: text by relative path.
            actor: who applies it.
            reason: why; stands in the history.
            first: the system is empty: groups that the bundle names are made rather than missed.
            base: id of the bundle that must be active: what a plan was compared with. Empty: any.

        Raises:
            BundleRefused: errors of form, schema, lint or tests; all of them.
            Refused: under it nobody could administer Limen.
            Conflict: another bundle is active, or became so meanwhile.
        """
        present = self._present()
        if present is not None and present.info.id == bundle_id(files):
            return Applied(present.info.id, present.info.serial, changed=False)  # it was checked when it came
        if base and (present is None or present.info.id != base):
            raise bundle_changed(base)
        checked = self._check(files, present, first=first)
        guarded = () if present is None else guarded_by(present, checked.bundle)
        if guarded and approval_needed(present):
            return self._propose(checked, guarded, actor=actor, reason=reason)
        with self._ledger.entry(actor, reason) as entry:
            if first:
                self._make_groups(entry, checked.bundle)
            return self._commit(entry, checked, guarded)

    def rollback(self, serial: int, *, actor: str, reason: str) -> Applied:
        """Apply a bundle of the history again; it is checked as any other."""
        with self._store.read() as connection:
            entry = bundles.get(connection, str(serial))
        return self.apply(entry.files, actor=actor, reason=reason or f"rollback to serial {serial}")

    def approve(self, bundle: str, *, actor: str, reason: str) -> Applied:
        """Put a proposed bundle in force, as another administrator than who proposed it (law A4).

        Raises:
            NotFound: no bundle of exactly this id is proposed.
            Refused: it is one's own.
            Conflict: another bundle became active since: it has to be proposed again.
        """
        with self._store.read() as connection:
            proposal = get_proposal(connection, bundle)
        present = self._present()
        if present is None or present.info.id != proposal.base:
            raise bundle_changed(proposal.base, "Propose it again, on top of what is active now.")
        checked = self._check(proposal.files, present)
        if checked.bundle.id != proposal.bundle:
            raise Refused("The proposed bundle is not of the id that it has.", remedy="Propose it again.")
        with self._ledger.entry(actor, reason or proposal.reason) as entry:
            proposals.demand_other_hand(entry.tx.connection, proposal.actor, actor)
            if get_proposal(entry.tx.connection, bundle) != proposal:
                raise Conflict("The proposal changed meanwhile.", remedy="Look at it again.")
            close_proposal(entry.tx, bundle)
            guarded = guarded_by(present, checked.bundle)
            about = {"proposer": proposal.actor, "why": proposal.reason, "guarded": list(guarded)}
            entry.note("bundle.approved", target=bundle, before=proposal.base, after=bundle, **about)
            return self._commit(entry, checked, guarded)

    def reject(self, bundle: str, *, actor: str, reason: str) -> Proposal:
        """Forget a proposal. Who proposed it may take it back, too."""
        with self._ledger.entry(actor, reason) as entry:
            proposal = get_proposal(entry.tx.connection, bundle)
            drop_proposal(entry.tx, bundle)
            entry.note("bundle.rejected", target=bundle, proposer=proposal.actor, why=proposal.reason)
        return proposal

    # --- steps -------------------------------------------------------------------------------------

    def _present(self, connection: Connection | None = None) -> StoredBundle | None:
        if connection is not None:
            return bundles.active(connection)
        with self._store.read() as reading:
            return bundles.active(reading)

    def _check(
        self, files: Mapping[str, str], present: StoredBundle | None, *, first: bool = False
    ) -> Checked:
        report = check_bundle(files, groups=None if first else self._authority.groups())
        wrong = failures(report)
        if wrong:
            raise BundleRefused(wrong)
        assert report.bundle is not None
        active = activate(report.bundle)
        demand_program(active.catalogue)
        self._demand_administrable(active)
        return Checked(report.bundle, active, report.findings, present)

    def _propose(self, checked: Checked, guarded: tuple[str, ...], *, actor: str, reason: str) -> Applied:
        with self._ledger.entry(actor, reason) as entry:
            made = add_proposal(entry.tx, checked.bundle.id, checked.bundle.files, checked.base)
            about = {"base": made.base, "guarded": list(guarded)}
            entry.note("bundle.proposed", target=made.bundle, **about)
        return Applied(
            checked.bundle.id,
            0,
            changed=False,
            findings=checked.findings,
            proposed=True,
            base=checked.base,
            guarded=guarded,
        )

    def _commit(self, entry: Entry, checked: Checked, guarded: tuple[str, ...]) -> Applied:
        """Put a checked bundle in force, if what it was compared with still is (law A3)."""
        tx, bundle = entry.tx, checked.bundle
        present = self._present(tx.connection)
        if (present.info.serial if present else 0) != (checked.present.info.serial if checked.present else 0):
            raise bundle_changed(checked.base)
        serial = bundles.apply(tx, bundle.id, bundle.files)
        keep(bundle.files, checked.active)
        publish_secrets(tx, injected_secrets(bundle.catalogue))
        about = {"serial": serial, "guarded": list(guarded)}
        entry.note("bundle.applied", target=bundle.id, before=checked.base, after=bundle.id, **about)
        shadow = load_shadow(tx.connection)
        if shadow is not None and shadow.bundle == bundle.id:  # it casts none any more
            stop_shadow(tx)
            entry.note("shadow.promoted", target=bundle.id)
        return Applied(
            bundle.id, serial, changed=True, findings=checked.findings, base=checked.base, guarded=guarded
        )

    def _make_groups(self, entry: Entry, bundle: Bundle) -> None:
        named = (ref for policy in bundle.policies for ref in mentioned(policy.est))
        groups = {ref.id for ref in named if ref.type == "Group"}
        insert_groups(entry.tx, missing_groups(entry.tx.connection, groups))

    def _demand_administrable(self, active: ActiveBundle) -> None:
        """Refuse a bundle under which neither the host operator nor any active person may administer."""
        operator = self._authority.workload(HOST_OPERATOR)
        resource = self._authority.resource_in(active, ADMIN_RESOURCE)
        if operator is not None:
            request = AccessRequest(
                DecisionId("0" * 32), self._authority.now(), HOST_OPERATOR, "admin", ADMIN_RESOURCE
            )
            if decide(request, Facts(subject=operator, resource=resource), active.policies).allowed:
                return
        _, classes = self._authority.who_can("admin", ADMIN_RESOURCE, active)
        if not any(found.allowed for found in classes):
            raise Refused(
                "Under this bundle nobody could administer Limen.",
                remedy='Permit action "admin" on App::"limen" to a group that has an active member.',
                code="LOCKED_OUT",
            )


def failures(report: CheckReport) -> tuple[Finding, ...]:
    """Return all that refuses a bundle: errors, and tests that failed."""
    errors = tuple(finding for finding in report.findings if finding.severity is Severity.ERROR)
    failed = tuple(
        Finding(result.file, result.line, 1, "test-failed", f"{result.name}: {result.why}.", "Mend either.")
        for result in report.results
        if not result.passed
    )
    return errors + failed


def guarded_by(present: StoredBundle, bundle: Bundle) -> tuple[str, ...]:
    """Return what the active bundle's guardrails would bind otherwise under another."""
    return guarded_changes(parse_bundle(present.files), bundle)


def approval_needed(present: StoredBundle | None) -> bool:
    """Whether the active bundle has changes of guardrails approved by a second administrator."""
    return present is not None and parse_bundle(present.files).catalogue.guardrails_approved


def bundle_changed(base: str, remedy: str = "Look at a new plan, and apply that.") -> Conflict:
    """Return the refusal of a bundle that was compared with another than the active one."""
    return Conflict(f"The bundle {base[:12]} is not active any more.", remedy=remedy, code="BUNDLE_CHANGED")


def injected_secrets(catalogue: Catalogue) -> frozenset[str]:
    """Return the names of secrets that gateways must use."""
    found = (app.identity.basic_secret for app in catalogue.apps.values())
    return frozenset(name for name in found if name)

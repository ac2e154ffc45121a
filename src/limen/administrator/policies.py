"""Bundles put in force: checked as a whole, refused if nobody could administer Limen, then one change."""

from collections.abc import Mapping

import msgspec

from limen.administrator.active import ActiveBundle, activate, keep
from limen.administrator.authority import Authority
from limen.core.catalogue import ADMIN_APP, Catalogue
from limen.core.decision import AccessRequest, Facts
from limen.core.errors import BundleRefused, Finding, Refused, Severity
from limen.core.ids import BundleId, DecisionId, EntityRef
from limen.engine.bundle import bundle_id
from limen.engine.check import check_bundle
from limen.engine.decide import decide
from limen.engine.expressions import mentioned
from limen.store import bundles
from limen.store.database import Store
from limen.store.directory.groups import insert_groups, missing_groups
from limen.store.secrets import publish_secrets

HOST_OPERATOR = EntityRef("Workload", "host-operator")
"""Who acts through the Unix socket: whoever may enter the state folder."""

ADMIN_RESOURCE = EntityRef("Route", f"{ADMIN_APP}/policy")


class Applied(msgspec.Struct, frozen=True):
    """What became of an `apply`. `findings` are warnings: errors refuse the bundle."""

    bundle: BundleId
    serial: int
    changed: bool
    findings: tuple[Finding, ...] = ()


class PolicyAdministrator:
    """Applies bundles. What gateways follow is the one change that `apply` commits."""

    def __init__(self, store: Store, authority: Authority) -> None:
        self._store = store
        self._authority = authority

    def apply(self, files: Mapping[str, str], *, actor: str, reason: str, first: bool = False) -> Applied:
        """Check a bundle and make it the active one.

        Args:
            files: text by relative path.
            actor: who applies it.
            reason: why; stands in the history.
            first: the system is empty: groups that the bundle names are made rather than missed.

        Raises:
            BundleRefused: errors of form, schema, lint or tests; all of them.
            Refused: under it nobody could administer Limen.
        """
        with self._store.read() as connection:
            present = bundles.active(connection)
        if present is not None and present.info.id == bundle_id(files):
            return Applied(present.info.id, present.info.serial, changed=False)  # it was checked when it came
        report = check_bundle(files, groups=None if first else self._authority.groups())
        errors = tuple(finding for finding in report.findings if finding.severity is Severity.ERROR)
        failed = tuple(
            Finding(
                result.file, result.line, 1, "test-failed", f"{result.name}: {result.why}.", "Mend either."
            )
            for result in report.results
            if not result.passed
        )
        if errors or failed:
            raise BundleRefused(errors + failed)
        bundle = report.bundle
        assert bundle is not None
        active = activate(bundle)
        self._demand_administrable(active)
        with self._store.transaction(actor, reason) as tx:
            if first:
                named = (ref for policy in bundle.policies for ref in mentioned(policy.est))
                groups = {ref.id for ref in named if ref.type == "Group"}
                insert_groups(tx, missing_groups(tx.connection, groups))
            serial = bundles.apply(tx, bundle.id, bundle.files)
            keep(bundle.files, active)
            publish_secrets(tx, injected_secrets(bundle.catalogue))
        return Applied(bundle.id, serial, changed=True, findings=report.findings)

    def rollback(self, serial: int, *, actor: str, reason: str) -> Applied:
        """Apply a bundle of the history again; it is checked as any other."""
        with self._store.read() as connection:
            entry = bundles.get(connection, str(serial))
        return self.apply(entry.files, actor=actor, reason=reason or f"rollback to serial {serial}")

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


def injected_secrets(catalogue: Catalogue) -> frozenset[str]:
    """Return the names of secrets that gateways must use."""
    found = (app.identity.basic_secret for app in catalogue.apps.values())
    return frozenset(name for name in found if name)

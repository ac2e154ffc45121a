"""What machines live by at a gateway: the session of an access token, or of a certificate."""

from limen.core.catalogue import Catalogue
from limen.core.changes import WorkloadSessionFact
from limen.core.ids import Instant
from limen.information.identity.svid import ClientCertificate, find_workload

TOKEN_OF_MACHINE, CERTIFICATE_OF_MACHINE = "workload", "svid"
"""What a machine's session was found by, beside `cookie` and `token` of people."""


def certificate_session(certificate: ClientCertificate, catalogue: Catalogue) -> WorkloadSessionFact | None:
    """Return the session of whoever shows a certificate, as the bundle in force names them, or None.

    It lasts as long as the certificate does, and each use shows it, so it is bound to it.
    """
    workload = find_workload(certificate, catalogue.sources.machines.spiffe)
    if workload is None:
        return None
    return WorkloadSessionFact(
        id=certificate.sha256,
        workload=workload,
        methods=("svid",),
        started_at=certificate.starts_at,
        expires_at=certificate.ends_at,
        x5t=certificate.x5t,
    )


def is_alive(fact: WorkloadSessionFact | None, workload: str, door: str, at: Instant) -> bool:
    """Say whether a machine's session is of `workload`, good for `door`, and not over."""
    return (
        fact is not None
        and fact.workload == workload
        and (not fact.apps or door in fact.apps)
        and at < fact.expires_at
    )

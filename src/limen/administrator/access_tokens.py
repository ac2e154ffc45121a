"""Access tokens of machines at the admin API: whose they are, and what their sessions have proven."""

from sqlalchemy import Connection

from limen.administrator.replica import machine_facts
from limen.core.catalogue import ADMIN_APP
from limen.core.decision import SessionFacts
from limen.core.errors import Refused
from limen.core.ids import EntityRef, Instant, TokenHash
from limen.store import machines

ACCESS_PREFIX = "l1."
"""How access tokens of sessions begin (`core.tokens`)."""


def find_access(connection: Connection, hashed: TokenHash, now: Instant) -> tuple[EntityRef, SessionFacts]:
    """Return the workload whose session an access token is of, and what policies read of that session.

    Tokens that are bound to a key or a certificate are for gateways alone, which can ask for it.

    Raises:
        Refused: the token is over, or for something else.
    """
    found = machines.find_session(connection, hashed)
    if found is None or now >= found.expires_at:
        raise Refused("This token is over.", remedy="Get another one.", code="TOKEN_EXPIRED")
    if found.jkt or found.x5t or (found.apps and ADMIN_APP not in found.apps):
        raise Refused(
            "This token is bound to a key, or is for something else than the administration.",
            remedy=f"Get one with `audience={ADMIN_APP}`, without a DPoP proof.",
            code="TOKEN_UNFIT",
        )
    return EntityRef("Workload", found.workload), machine_facts(found.render_fact())

"""Whose hand it was: a proposal is approved by another than who made it.

On the Unix socket two administrators are two users of the host; from elsewhere they are workloads, and two
workloads of one owner are one hand. Whoever is root on the machine of control can be anybody there: this
keeps honest people from acting alone, and makes dishonest ones leave two names in the journal.
"""

from sqlalchemy import Connection

from limen.core.errors import Refused
from limen.store.workloads import find_workload

WORKLOAD = "workload:"


def demand_other_hand(connection: Connection, proposer: str, approver: str) -> None:
    """Raise unless these are two.

    Raises:
        Refused: it is one's own proposal, or that of a workload of the same owner.
    """
    if _hands(connection, proposer) & _hands(connection, approver):
        raise Refused(
            f"{approver} can not approve what {proposer} proposed: it takes two.",
            remedy="Have another administrator run `limen policy approve`.",
            code="OWN_PROPOSAL",
        )


def _hands(connection: Connection, actor: str) -> set[str]:
    """Return an actor, and who answers for it."""
    if not actor.startswith(WORKLOAD):
        return {actor}
    found = find_workload(connection, actor.removeprefix(WORKLOAD))
    return {actor, found.owner} if found else {actor}

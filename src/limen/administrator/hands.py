"""Whose hand it was: behind a workload stands the person who answers for it.

Whatever takes two people takes two hands: somebody and a workload of theirs are one.
"""

from sqlalchemy import Connection

from limen.administrator.lowered_trust import SIGNAL
from limen.core.errors import Refused
from limen.store import directory
from limen.store.workloads import find_workload

WORKLOAD = "workload:"


def hands_of(connection: Connection, actor: str) -> set[str]:
    """Return an actor, and who answers for it."""
    if not actor.startswith(WORKLOAD):
        return {actor}
    found = find_workload(connection, actor.removeprefix(WORKLOAD))
    return {actor, found.owner} if found else {actor}


def demand_another(connection: Connection, actor: str, person: str, *, own: str) -> None:
    """Raise unless an actor may help somebody to come in again (SP 800-63B-4 4.2: by a second person).

    Args:
        own: says what nobody does for themselves.

    Raises:
        Refused: it is themselves, or they have just come back by recovery.
    """
    hands = hands_of(connection, actor)
    if person in hands:
        raise Refused(own, remedy="Ask another person.", code="OWN_RECOVERY")
    mine = (directory.find_person(connection, hand) for hand in hands)
    if any(found is not None and SIGNAL in found.signals for found in mine):
        raise Refused(
            "You have come back by recovery yourself, a short time ago.",
            remedy="Ask another person to do this.",
            code="APPROVER_RECOVERED",
        )

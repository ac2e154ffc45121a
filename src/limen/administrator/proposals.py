"""Whose hand it was: a proposal is approved by another than who made it.

On the Unix socket two administrators are two users of the host; from elsewhere they are workloads, and two
workloads of one owner are one hand. Whoever is root on the machine of control can be anybody there: this
keeps honest people from acting alone, and makes dishonest ones leave two names in the journal.
"""

from sqlalchemy import Connection

from limen.administrator.hands import hands_of
from limen.core.errors import Refused


def demand_other_hand(connection: Connection, proposer: str, approver: str) -> None:
    """Raise unless these are two.

    Raises:
        Refused: it is one's own proposal, or that of a workload of the same owner.
    """
    if hands_of(connection, proposer) & hands_of(connection, approver):
        raise Refused(
            f"{approver} can not approve what {proposer} proposed: it takes two.",
            remedy="Have another administrator run `limen policy approve`.",
            code="OWN_PROPOSAL",
        )

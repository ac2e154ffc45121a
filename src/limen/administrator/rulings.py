"""What the engine says of a person who would administer a part of Limen from a page of the console."""

import msgspec

from limen.administrator.authority import Authority
from limen.administrator.replica import session_facts
from limen.core.errors import Refused
from limen.core.ids import EntityRef
from limen.core.needs import cured_by_sign_in
from limen.store.sessions import Session


class Ruling(msgspec.Struct, frozen=True):
    """A decision on `admin` of a part. The zero value denies.

    Attributes:
        need: what signing in again must achieve to be allowed; empty where that is no cure.
        why: sentences of the policies.
    """

    allowed: bool = False
    need: str = ""
    why: str = ""


class StepUpWanted(Refused):
    """Allowed after another sign-in: `need` says which."""

    code = "STEP_UP_NEEDED"

    def __init__(self, need: str) -> None:
        super().__init__("This needs a stronger or younger sign-in.", remedy="Sign in again.")
        self.need = need


def rule(authority: Authority | None, session: Session, part: str, ip: str) -> Ruling:
    """Decide, and record the decision before it is used. Without an engine nobody may."""
    if authority is None:
        return Ruling()
    answer = authority.decide(
        EntityRef("User", session.person),
        "admin",
        EntityRef("Route", f"limen/{part}"),
        session=session_facts(session.render_fact()),
        ip=ip,
    )
    if answer.decision.allowed:
        return Ruling(allowed=True)
    explained = authority.explain(answer)
    for remedies in (explained.remedies, *explained.alternatives):
        if need := cured_by_sign_in(one.id for one in remedies):
            return Ruling(need=need)
    return Ruling(why=" ".join(explained.reasons))


def demand(authority: Authority | None, session: Session, part: str, ip: str) -> None:
    """Have it ruled.

    Raises:
        StepUpWanted: another sign-in would do.
        Refused: not permitted.
    """
    ruling = rule(authority, session, part, ip)
    if ruling.allowed:
        return
    if ruling.need:
        raise StepUpWanted(ruling.need)
    raise Refused(
        f"You may not administer limen/{part}. {ruling.why}".strip(),
        remedy="A policy must permit it: ask an administrator.",
        code="NOT_PERMITTED",
    )

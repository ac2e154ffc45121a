"""Complaints: a person says that a decision about them is wrong, and whoever looks after it answers.

Laws:
    Q1 one's own. A complaint is about a recorded decision that denied the person who complains, or would
       have; of any other decision they learn as much as of one that never was.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence

import msgspec

from limen.administrator.desk import Desk
from limen.core.decision import Verdict
from limen.core.errors import Conflict, Invalid, NotFound, Refused
from limen.core.ids import EntityRef, new_id
from limen.core.record import DecisionRecord
from limen.information.identity.throttle import Charge, Limit
from limen.store import complaints
from limen.store.complaints import Complaint

TEXT_MAX = 1_000  # characters
RECENT_S = 7 * 86_400.0  # an answer to what is older helps nobody
LOOKS = Limit(burst=20, interval_s=30)  # per person: each is a search of the journal
FILED = Limit(burst=5, interval_s=1_800)  # per person

_DECISION_ID = re.compile(r"[0-9a-f]{32}")
_RESOURCE = re.compile(r'(?:App|Route|Service)::"(.+)"', re.DOTALL)
_UNSHOWN = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})
_TURNS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

FindDecision = Callable[[str], DecisionRecord | None]
"""Finds a recorded decision by its id, whichever node made it."""


class About(msgspec.Struct, frozen=True):
    """What a complaint is about: the decision, the resource's name, and who looks after it."""

    record: DecisionRecord
    resource: str
    owner: str


class Complaints:
    """Files and answers complaints."""

    def __init__(self, desk: Desk, find_decision: FindDecision) -> None:
        self._desk = desk
        self._find = find_decision

    def about(self, person: str, decision: str) -> About:
        """Return what a decision was, if this person may complain of it (law Q1).

        Raises:
            NotFound: it is not known here, not theirs, too old, or an allow.
            Refused: too many were asked for.
        """
        self._charge([(f"complaint-look:{person}", LOOKS)])
        now = self._desk.clock.now()
        if not _DECISION_ID.fullmatch(decision) or not 0 <= now - _made_at(decision) < RECENT_S:
            raise _not_yours()
        record = self._find(decision)
        if record is None or record.subject != str(EntityRef("User", person)):
            raise _not_yours()
        if Verdict.DENY.value not in (record.verdict, record.would_be):
            raise _not_yours()
        name = _name(record.resource)
        return About(record, name, self._owner(name))

    def file(self, person: str, decision: str, text: str, *, ip: str = "") -> Complaint:
        """Store a complaint, and note it.

        Raises:
            Invalid: no text, or too long a one.
            Conflict: this person has complained of this decision.
            NotFound, Refused: as `about`; also of one who complains too often.
        """
        said = parse_text(text)
        about = self.about(person, decision)
        with self._desk.ledger.entry(person, "said that a decision is wrong", ip=ip) as entry:
            connection = entry.tx.connection
            if complaints.find_complaint(connection, person, decision) is not None:
                raise Conflict(
                    "You have said this already.", remedy="The answer will stand on your account page."
                )
            wait_s = self._desk.charge(connection, [(f"complaint:{person}", FILED)])
            if wait_s:
                raise _too_many(wait_s)
            filed = Complaint(
                new_id("cmp"), decision, person, about.resource, about.owner, said, entry.tx.now
            )
            complaints.add_complaint(connection, filed)
            data = {"decision": decision, "resource": about.resource, "owner": about.owner}
            entry.note("complaint.filed", target=filed.id, **data)
        return filed

    def answer(self, complaint: str, text: str, *, actor: str, owner: str | None = None) -> Complaint:
        """Store an answer. `owner`: only complaints addressed to this person; None is an operator.

        Raises:
            Invalid: no text, or too long a one.
            NotFound: there is no such complaint.
            Conflict: it was answered.
        """
        said = parse_text(text)
        with self._desk.ledger.entry(actor, "answered a complaint") as entry:
            connection = entry.tx.connection
            found = complaints.load_complaint(connection, complaint)
            if found is None or owner not in (None, found.owner):
                raise NotFound(f"There is no complaint '{complaint[:80]}'.", remedy="Reload the list.")
            if not complaints.answer_complaint(connection, found.id, said, actor, entry.tx.now):
                raise Conflict("It has an answer already.", remedy="Reload the list to read it.")
            data = {"decision": found.decision, "resource": found.resource, "person": found.person}
            entry.note("complaint.answered", target=found.id, **data)
            answered_at = entry.tx.now
        return msgspec.structs.replace(found, answer=said, answered_at=answered_at, answered_by=actor)

    def listed(
        self, *, person: str | None = None, owner: str | None = None, waiting: bool = False
    ) -> tuple[Complaint, ...]:
        """Return complaints, the newest first."""
        with self._desk.ledger.store.read() as connection:
            return complaints.list_complaints(connection, person=person, owner=owner, waiting=waiting)

    def _charge(self, charges: Sequence[Charge]) -> None:
        with self._desk.ledger.store.transaction("limen", "complaint looked up") as tx:
            wait_s = self._desk.charge(tx.connection, charges)
        if wait_s:
            raise _too_many(wait_s)

    def _owner(self, name: str) -> str:
        catalogue = self._desk.catalogue()
        app = catalogue.apps.get(name.partition("/")[0])
        found = app or catalogue.services.get(name) or catalogue.clients.get(name)
        return (found.owner if found is not None else None) or ""


def parse_text(text: str) -> str:
    """Return what a person wrote, in lines that any page and terminal shows as they are.

    Raises:
        Invalid: nothing, too much, or characters that show nothing or turn what is around them.
    """
    said = text.replace("\r\n", "\n").strip()
    if not said or len(said) > TEXT_MAX:
        raise Invalid(
            f"text: {len(said)} characters.", remedy=f"Write between 1 and {TEXT_MAX:,} characters."
        )
    if any((unicodedata.category(c) in _UNSHOWN and c != "\n") or c in _TURNS for c in said):
        raise Invalid("text: it holds characters that cannot be shown.", remedy="Write plain text.")
    return said


def _made_at(decision: str) -> float:
    """Return when a decision of this id was made: its first 48 bits are milliseconds."""
    return int(decision[:12], 16) / 1_000


def _name(resource: str) -> str:
    match = _RESOURCE.fullmatch(resource)
    return match[1] if match else resource


def _not_yours() -> NotFound:
    return NotFound(
        "There is no such decision about you, or it is not known here yet.",
        remedy="Try again in a minute; after a week, open the app again first.",
        code="NO_SUCH_DECISION",
    )


def _too_many(wait_s: float) -> Refused:
    minutes = max(1, -(-int(wait_s) // 60))
    return Refused(
        "You have said this of many decisions in a short time.",
        remedy=f"Wait {minutes} minute{'s' if minutes > 1 else ''}.",
        code="TOO_MANY",
    )

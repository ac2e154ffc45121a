"""What a search of the journal asks for. Every part that is set must match."""

import msgspec

from limen.core.ids import Instant
from limen.core.record import DecisionRecord

LIMIT_DEFAULT = 50
_SUBJECT_TYPES = ("User", "Workload")
_RESOURCE_TYPES = ("App", "Route", "Service")


class Query(msgspec.Struct, frozen=True):
    """A search for decisions.

    Attributes:
        subject: `ada` or `User::"ada"`.
        resource: `payroll` (its routes included), `payroll/exports` or `Route::"payroll/exports"`.
        since, until: first instant that counts, and the first that does not.
        text: found anywhere in the record, in any case.
    """

    subject: str | None = None
    resource: str | None = None
    verdict: str | None = None
    code: str | None = None
    policy: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    text: str | None = None
    limit: int = LIMIT_DEFAULT

    def matches(self, record: DecisionRecord) -> bool:
        """Whether a decision is asked for."""
        return (
            (self.verdict is None or record.verdict == self.verdict)
            and (self.since is None or record.at >= self.since)
            and (self.until is None or record.at < self.until)
            and (self.code is None or record.code == self.code)
            and (self.policy is None or self.policy in record.policies)
            and (self.subject is None or _names(record.subject or "", self.subject, _SUBJECT_TYPES))
            and (self.resource is None or _is_resource(record.resource, self.resource))
            and (self.text is None or _holds(record, self.text))
        )


def _names(reference: str, wanted: str, types: tuple[str, ...]) -> bool:
    return reference == wanted or any(reference == f'{kind}::"{wanted}"' for kind in types)


def _is_resource(reference: str, wanted: str) -> bool:
    part_of = reference.startswith((f"{wanted}/", f'Route::"{wanted}/'))
    return part_of or _names(reference, wanted, _RESOURCE_TYPES)


def _holds(record: DecisionRecord, text: str) -> bool:
    return text.casefold() in msgspec.json.encode(record).decode().casefold()

"""What a search of the journal asks for. Every part that is set must match."""

from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import msgspec

from limen.core.errors import Invalid
from limen.core.ids import Instant
from limen.core.record import ERASED, DecisionRecord, EventRecord, Record

LIMIT_DEFAULT = 50
DECISIONS, EVENTS = "decisions", "events"
_SUBJECT_TYPES = ("User", "Workload")
_RESOURCE_TYPES = ("App", "Route", "Service", "Client")
_KEY_SHOWN = 8  # digits of a key's id in `erased-…`


class Query(msgspec.Struct, frozen=True, dict=True):
    """A search for decisions, events, or both.

    Attributes:
        kinds: `DECISIONS`, `EVENTS`.
        subject: `ada` or `User::"ada"`; or `erased-…`, as an erased one is shown. Of events, actor
            or target.
        resource: `payroll` (its routes included), `payroll/exports` or `Route::"payroll/exports"`.
        verdict, code, policy, resource: only decisions have these.
        event, actor, target: beginning of an event's kind, who caused it, what it is about.
        address: an address, or a network in CIDR form.
        since, until: first instant that counts, and the first that does not.
        text: found anywhere in the record, in any case.
        node: only what this node recorded.
        id: of one record.
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
    kinds: tuple[str, ...] = (DECISIONS,)
    event: str | None = None
    actor: str | None = None
    target: str | None = None
    address: str | None = None
    node: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        if self.address is not None:
            _ = self.network

    @cached_property
    def network(self) -> IPv4Network | IPv6Network | None:
        """The network that `address` names.

        Raises:
            Invalid: it is neither an address nor a network.
        """
        if self.address is None:
            return None
        try:
            return ip_network(self.address.strip(), strict=False)
        except ValueError:
            raise Invalid(
                f"address: '{self.address[:80]}' is no address and no network.",
                remedy="Write 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32.",
            ) from None

    @property
    def decisions(self) -> bool:
        """Whether decisions are asked for."""
        return DECISIONS in self.kinds and self.event is None and self.actor is None and self.target is None

    @property
    def events(self) -> bool:
        """Whether events are asked for."""
        parts = (self.resource, self.verdict, self.code, self.policy)
        return EVENTS in self.kinds and all(part is None for part in parts)

    @property
    def owner(self) -> str | None:
        """The person whose keys open what is searched for; None when nobody is named."""
        name = self.subject or self.actor or self.target
        if name is None or name.startswith(("Workload::", f"{ERASED}-")):
            return None
        return name if name.startswith('User::"') else f'User::"{name}"'

    @property
    def erased_key(self) -> str | None:
        """The beginning of the key of an erased person who is named."""
        name = (self.subject or self.actor or self.target or "").removeprefix('User::"').removesuffix('"')
        key = name.removeprefix(f"{ERASED}-")
        return key if key != name and len(key) == _KEY_SHOWN and key.isalnum() else None

    def resources(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the references that `resource` may mean, and the beginnings of those below it."""
        wanted = self.resource or ""
        below = (f"{wanted}/", f'Route::"{wanted}/')
        return (wanted, *(f'{kind}::"{wanted}"' for kind in _RESOURCE_TYPES)), below

    def matches(self, record: Record) -> bool:
        """Whether a record is asked for."""
        if isinstance(record, DecisionRecord):
            asked = self.decisions and self._matches_decision(record)
        elif isinstance(record, EventRecord):
            asked = self.events and self._matches_event(record)
        else:
            return False
        return (
            asked
            and (self.id is None or record.id == self.id)
            and (self.since is None or record.at >= self.since)
            and (self.until is None or record.at < self.until)
            and (self.address is None or self.contains(record.ip))
            and (self.text is None or _holds(record, self.text))
        )

    def contains(self, ip: str) -> bool:
        """Whether an address is in the network asked for."""
        network = self.network
        if network is None or not ip:
            return network is None
        try:
            found = ip_address(ip)
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        return found in network or (mapped is not None and mapped in network)

    def _matches_decision(self, record: DecisionRecord) -> bool:
        return (
            (self.verdict is None or record.verdict == self.verdict)
            and (self.code is None or record.code == self.code)
            and (self.policy is None or self.policy in record.policies)
            and (self.subject is None or _names(record.subject or "", self.subject))
            and (self.resource is None or self._is_resource(record.resource))
        )

    def _matches_event(self, record: EventRecord) -> bool:
        subject = self.subject
        return (
            (self.event is None or record.kind.startswith(self.event))
            and (self.actor is None or _names(record.actor, self.actor))
            and (self.target is None or _names(record.target, self.target))
            and (subject is None or _names(record.actor, subject) or _names(record.target, subject))
        )

    def _is_resource(self, reference: str) -> bool:
        exact, below = self.resources()
        return reference in exact or reference.startswith(below)


def _names(reference: str, wanted: str) -> bool:
    if reference == wanted:
        return True
    return any(
        f'{kind}::"{wanted}"' == reference or f'{kind}::"{reference}"' == wanted for kind in _SUBJECT_TYPES
    )


def _holds(record: DecisionRecord | EventRecord, text: str) -> bool:
    written = msgspec.json.encode(text)[1:-1].decode()  # as JSON writes quotes and control characters
    return written.casefold() in msgspec.json.encode(record).decode().casefold()

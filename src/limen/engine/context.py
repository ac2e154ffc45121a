"""The lens of a slice: the part of the facts that it reads, as a memo key and as Cedar's context.

Laws:
    D4 memo is invisible: key and context are taken from the same fields, so equal keys mean that Cedar
    is asked the same question (time apart, whose edges end the entry).
"""

import operator
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import msgspec

from limen.core.decision import AccessRequest, Facts, Network, SessionFacts
from limen.engine.cedar import EngineFault
from limen.engine.edges import Calendar, to_ms
from limen.engine.reads import NETWORK_FIELDS, SESSION_FIELDS, Reads

ADDRESSES_MAX = 4096  # addresses whose ranges are remembered, per slice

_SESSION_SOURCE = {"age": "started_at", "auth_age": "auth_at"}  # ages are derived from instants

Address = IPv4Address | IPv6Address
Getter = Callable[[Any], Hashable]


class Lens:
    """Projects facts on what a slice reads."""

    def __init__(self, reads: Reads, calendar: Calendar) -> None:
        self.reads = reads
        self._calendar = calendar
        fields = reads.fields
        self._session = _getter(
            _SESSION_SOURCE.get(name, name) for name in SESSION_FIELDS if f"session.{name}" in fields
        )
        self._has_session = "session" in fields
        self._network = _getter(
            name for name in NETWORK_FIELDS if f"network.{name}" in fields and name != "ip"
        )
        self._facts = _getter(name for name in ("risk", "signals") if name in fields)
        self._reads_ip = "network.ip" in fields
        self._ranges = tuple((text, ip_network(text, strict=False)) for text in sorted(reads.ranges))
        self._bits: dict[str, int] = {}

    def key(self, facts: Facts) -> tuple[Hashable, ...]:
        """Return the projection of the facts on what is read. Time is left out: edges stand for it."""
        session = facts.session
        device = facts.device
        return (
            (facts.subject.digest, facts.resource.digest, device and device.closure.digest)
            if self.reads.entities and facts.subject is not None
            else None,
            (session is not None and self._session(session)) if self._has_session else None,
            self._network(facts.network),
            self._facts(facts),
            self.address_key(facts.network.ip),
        )

    def address_key(self, ip: str) -> Hashable:
        """Return what of an address is read: all of it, the ranges that it is in, or nothing."""
        if self._reads_ip:
            return parse_address(ip)
        return self._range_bits(ip) if self._ranges else None

    def _range_bits(self, ip: str) -> int:
        """Return one bit for each range that the slice names: an address that rotates is not a new key."""
        bits = self._bits.get(ip)
        if bits is None:
            address = parse_address(ip)
            bits = sum(_inside(address, network) << i for i, (_, network) in enumerate(self._ranges))
            if len(self._bits) >= ADDRESSES_MAX:
                self._bits.clear()
            self._bits[ip] = bits
        return bits

    def origins(self, facts: Facts) -> Mapping[str, int]:
        """Return when each linear term was zero (ms)."""
        session = facts.session
        if session is None:
            return {"now": 0}
        return {
            "now": 0,
            "session.age": to_ms(session.started_at),
            "session.auth_age": to_ms(session.auth_at),
        }

    def context(self, request: AccessRequest, facts: Facts) -> str:
        """Return Cedar's context as JSON text: the fields that are read, and no others."""
        fields = self.reads.fields
        at_ms = to_ms(request.at)
        found: dict[str, Any] = {}
        if "now" in fields:
            found["now"] = _extension("datetime", datetime_text(at_ms))
        for term in ("hour", "weekday"):
            if term in fields:
                found[term] = self._calendar.show(term, at_ms)
        if "session" in fields and facts.session is not None:
            found["session"] = self._session_record(facts.session, at_ms)
        if "device" in fields and facts.device is not None:
            root = facts.device.closure.root
            found["device"] = {"__entity": {"type": root.type, "id": root.id}}
        if "network" in fields:
            found["network"] = self._network_record(facts.network)
        if "risk" in fields:
            found["risk"] = facts.risk
        if "signals" in fields:
            found["signals"] = facts.signals
        return msgspec.json.encode(found).decode()

    def _session_record(self, session: SessionFacts, at_ms: int) -> dict[str, Any]:
        whole = {
            "aal": session.aal,
            "phishing_resistant": session.phishing_resistant,
            "methods": session.methods,
            "age": _extension("duration", f"{at_ms - to_ms(session.started_at)}ms"),
            "auth_age": _extension("duration", f"{at_ms - to_ms(session.auth_at)}ms"),
        }
        return {name: value for name, value in whole.items() if f"session.{name}" in self.reads.fields}

    def _network_record(self, network: Network) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._reads_ip or self._ranges:
            found["ip"] = _extension("ip", str(parse_address(network.ip)))
        for name in ("country", "asn", "anonymizer"):
            value = getattr(network, name)
            if f"network.{name}" in self.reads.fields and value is not None:
                found[name] = value
        return found


def _getter(names: Any) -> Getter:
    wanted = tuple(names)
    return operator.attrgetter(*wanted) if wanted else _nothing


def _nothing(_: Any) -> None:
    return None


def _inside(address: Address, network: IPv4Network | IPv6Network) -> int:
    return int(address.version == network.version and address in network)


def _extension(function: str, argument: str) -> dict[str, Any]:
    return {"__extn": {"fn": function, "arg": argument}}


def datetime_text(at_ms: int) -> str:
    """Return an instant in the one form that Cedar reads with milliseconds."""
    whole, rest = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


@lru_cache(maxsize=ADDRESSES_MAX)
def parse_address(text: str) -> Address:
    """Parse an address. An IPv4 address in IPv6 clothes is the IPv4 address, as policies mean it.

    Raises:
        EngineFault: it is none, or has a zone, which Cedar does not know.
    """
    try:
        address = ip_address(text)
    except ValueError:
        raise EngineFault("The network address of a request can not be read.") from None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise EngineFault("The network address of a request has a zone.")
        return address.ipv4_mapped or address
    return address

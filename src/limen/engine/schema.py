"""The Cedar schema of a bundle: Limen's model of subjects, resources and context, and your attributes.

`docs/explanation` has the picture; `design/decision.md` has the reasons. `aal` is the authenticator
assurance level of NIST SP 800-63B, 1 to 3; `hour` (0–23) and `weekday` (ISO 8601, 1 is Monday) are in
the bundle's time zone; `risk` is 0 to 100; `trust` is 0 unknown to 3 managed and attested.
"""

import re

from limen.core.catalogue import Catalogue

ACTIONS = ("read", "write", "admin", "connect", "sign_in")

_MODEL = """\
entity Group in [Group];
entity User in [Group] = {
  status: String, kind: String, quarantined: Bool, attributes: Attributes
};
entity Workload in [Group] = { status: String, owner: User, quarantined: Bool };
entity Device = {
  platform: String, trust: Long, compliant: Bool, quarantined: Bool, owner?: User, posture: Posture
};
type Attributes = { ATTRIBUTES };
type Posture = {
  disk_encrypted?: Bool, firewall?: Bool, screen_lock?: Bool, os_supported?: Bool,
  updates_current?: Bool, edr_running?: Bool, reported_at?: datetime
};
entity Segment in [Segment];
entity Label;
entity App in [Segment, Label] = { owner?: User };
entity Route in [App, Label] = { owner?: User };
entity Service in [Segment, Label] = { owner?: User, protocol: String, port: Long };
entity Client in [Segment, Label] = { owner?: User };
type Session = {
  aal: Long, phishing_resistant: Bool, methods: Set<String>, age: duration, auth_age: duration
};
type Network = { ip: ipaddr, country?: String, asn?: Long, anonymizer: Bool };
type Access = {
  now: datetime, hour: Long, weekday: Long, session?: Session, device?: Device,
  network: Network, risk: Long, signals: Set<String>
};
action access;
action read, write, admin in [access] appliesTo {
  principal: [User, Workload], resource: [App, Route], context: Access
};
action connect in [access] appliesTo {
  principal: [User, Workload], resource: [Service], context: Access
};
action sign_in in [access] appliesTo {
  principal: [User, Workload], resource: [Client], context: Access
};
"""

ROOTS = {
    "principal": ("User", "Workload"),
    "resource": ("App", "Route", "Service", "Client"),
    "context": ("Access",),
}
"""The types that a policy's variables may have."""

ATTRIBUTE_NAMES = frozenset(re.findall(r"(\w+)\??:", _MODEL)) - {"principal", "resource", "context"}
"""Every attribute that the model names, for suggestions."""


def cedar_schema(catalogue: Catalogue) -> str:
    """Return the Cedar schema, in Cedar's own syntax, with the catalogue's attributes of people."""
    fields = ", ".join(f"{name}?: {kind}" for name, kind in catalogue.attribute_types.items())
    return _MODEL.replace("ATTRIBUTES", fields)


def attributes_of(path: tuple[str, ...], catalogue: Catalogue) -> frozenset[str] | None:
    """Return the attributes that `context.session` and its like may have; None where a path leads nowhere."""
    records = {
        name: dict(re.findall(r"(\w+)\??: ([\w<>]+)", body))
        for name, body in re.findall(
            r"(?:entity|type) (\w+)[^={};]*= \{(.*?)\};", cedar_schema(catalogue), re.DOTALL
        )
    }
    types = ROOTS.get(path[0], ())
    for attribute in path[1:]:
        types = tuple(records[kind][attribute] for kind in types if attribute in records.get(kind, {}))
    known = [frozenset(records[kind]) for kind in types if kind in records]
    return frozenset().union(*known) if known else None

"""What of an event's `data` may leave.

`data` is free content and counts as secret as a whole (`limen.journal.fields`): it can hold what a person was
before and after. The members below were looked at; whatever this table does not name stays inside.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from limen.journal.export.text import clean

TEXT_MAX = 256
ITEMS_MAX = 64


class Holds(Enum):
    """What a member tells, which says what becomes of it under pseudonyms."""

    FACT = "fact"  # numbers, and words of Limen's own or of the bundle
    PERSON = "person"
    REF = "ref"  # `User::"ada"`, `Group::"staff"`
    GRANTEE = "grantee"  # `user:ada`, `group:staff`
    SESSION = "session"
    IP = "ip"
    TYPED = "typed"  # what somebody typed


_FACTS = (
    *("aal", "aaguid", "action", "actions", "app", "attempts", "bundle", "by", "bytes", "bytes_in"),
    *(
        "bytes_out",
        "candidate",
        "cause",
        "classes",
        "closed",
        "code",
        "count",
        "days",
        "decision",
        "decision_id",
    ),
    *(
        "duration_ms",
        "expires_at",
        "first",
        "format",
        "gained",
        "kept",
        "kind",
        "lost",
        "methods",
        "mode",
        "node",
    ),
    *(
        "offset",
        "on",
        "part",
        "position",
        "proposal",
        "protocol",
        "purpose",
        "records",
        "resource",
        "pseudonyms",
    ),
    *("root", "route", "seq", "serial", "service", "size", "stage", "state", "status", "took_ms", "until"),
    *("since", "verdict", "why", "workload"),
)

DATA_FIELDS: Mapping[str, Holds] = dict.fromkeys(_FACTS, Holds.FACT) | {
    "person": Holds.PERSON,
    "subject": Holds.REF,
    "principal": Holds.REF,
    "to": Holds.GRANTEE,
    "approver": Holds.PERSON,
    "owner": Holds.PERSON,
    "session": Holds.SESSION,
    "ip": Holds.IP,
    "client": Holds.TYPED,
    "name": Holds.TYPED,
    "token_by": Holds.PERSON,
}

GRANT_FIELDS = ("to", "on", "actions", "expires_at")
"""What of a grant's `after` (or, when it went, `before`) is told; its reason is the event's own."""


def exported_data(kind: str, data: Any) -> dict[str, Any]:
    """Return the members of an event's data that may leave, cleaned."""
    if not isinstance(data, Mapping):
        return {}
    found = dict(data)
    if kind.startswith("grant."):
        grant = found.get("after") or found.get("before")
        if isinstance(grant, Mapping):
            found |= {name: grant[name] for name in GRANT_FIELDS if name in grant}
    shown = {name: _plain(found[name]) for name in DATA_FIELDS if name in found}
    return {name: value for name, value in shown.items() if value not in (None, "", [])}


def _plain(value: Any) -> Any:
    """Return a scalar or a list of scalars; None for what is nested, which nobody looked at."""
    if isinstance(value, bool | int | float):
        return clean(value)
    if isinstance(value, str):
        return clean(value[:TEXT_MAX])
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value[:ITEMS_MAX] if isinstance(item, str | int | float)]
    return None

"""How far each field of a record may travel. One table; a field that it does not name is secret.

public: says nothing of a person. sensitive: names or places one, or shows what an organisation
guards. secret: attributes of people and free content; not exported.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import msgspec

from limen.core.record import Record


class FieldClass(IntEnum):
    """Greater is closer to the chest."""

    PUBLIC = 0
    SENSITIVE = 1
    SECRET = 2


_PUBLIC, _SENSITIVE, _SECRET = FieldClass.PUBLIC, FieldClass.SENSITIVE, FieldClass.SECRET

FIELD_CLASSES: Mapping[str, Mapping[str, FieldClass]] = {
    "decision": {
        "id": _PUBLIC,
        "at": _PUBLIC,
        "node": _PUBLIC,
        "point": _PUBLIC,
        "verdict": _PUBLIC,
        "code": _PUBLIC,
        "bundle": _PUBLIC,
        "inputs": _SENSITIVE,  # the same for all requests of one session
        "action": _PUBLIC,
        "resource": _PUBLIC,
        "subject": _SENSITIVE,
        "session": _SENSITIVE,
        "method": _PUBLIC,
        "host": _PUBLIC,
        "path": _SENSITIVE,
        "ip": _SENSITIVE,
        "policies": _PUBLIC,
        "errors": _PUBLIC,
        "remedies": _PUBLIC,
        "mode": _PUBLIC,
        "would_be": _PUBLIC,
        "memo": _PUBLIC,
        "took_us": _PUBLIC,
        "age_s": _PUBLIC,
        "key": _PUBLIC,
    },
    "inputs": {"id": _SENSITIVE, "facts": _SECRET, "key": _PUBLIC},
    "bundle": {"id": _PUBLIC, "files": _SENSITIVE},
    "outcome": {
        "id": _PUBLIC,
        "at": _PUBLIC,
        "status": _PUBLIC,
        "duration_ms": _PUBLIC,
        "bytes_in": _PUBLIC,
        "bytes_out": _PUBLIC,
        "flags": _PUBLIC,
        "details": _PUBLIC,
    },
    "event": {
        "id": _PUBLIC,
        "at": _PUBLIC,
        "node": _PUBLIC,
        "kind": _PUBLIC,
        "actor": _SENSITIVE,
        "target": _SENSITIVE,
        "reason": _SENSITIVE,
        "ip": _SENSITIVE,
        "data": _SECRET,
        "key": _PUBLIC,
        "actor_key": _PUBLIC,
    },
}


SEALED: Mapping[str, frozenset[str]] = {
    "decision": frozenset({"subject", "session", "path", "ip"}),
    "inputs": frozenset({"facts"}),
    "event": frozenset({"actor", "target", "reason", "ip", "data"}),
}
"""What `limen.journal.sealed` seals of a record about a person: all that is not public, but names of inputs.

Those are hashes under the journal's salt. They stay in clear so that decisions find their inputs, and what
was decided from the same can still be counted, once the person was erased.
"""


def field_class(tag: str, field: str) -> FieldClass:
    """Return the class of a field; secret when the table does not name it."""
    return FIELD_CLASSES.get(tag, {}).get(field, FieldClass.SECRET)


def exportable(record: Record, up_to: FieldClass = FieldClass.SENSITIVE) -> dict[str, Any]:
    """Return the record's fields of class `up_to` and below, with its type. Never a secret one."""
    tag = str(record.__struct_config__.tag)
    fields: dict[str, Any] = msgspec.to_builtins(record)
    limit = min(up_to, FieldClass.SENSITIVE)
    return {name: v for name, v in fields.items() if name == "type" or field_class(tag, name) <= limit}

"""The JSON Schema of `limen.yaml`, from the parser's own table: editors complete and check by it.

It is looser than the parser, which also looks at the whole; what it refuses, the parser refuses too.
"""

from typing import Any

from limen.engine.forms import (
    Choice,
    Duration,
    Either,
    Flag,
    Key,
    Many,
    MapOf,
    Number,
    Size,
    Table,
    Text,
    Whole,
)
from limen.engine.limen_keys import LIMEN_YAML

DIALECT = "https://json-schema.org/draft/2020-12/schema"
IDENTITY = "urn:limen:schema:limen.yaml"


def json_schema() -> dict[str, Any]:
    """Return the schema as plain JSON data."""
    head = {"$schema": DIALECT, "$id": IDENTITY, "title": "limen.yaml", "description": "A Limen bundle."}
    return {**head, **_schema(LIMEN_YAML)}


def _schema(form: Any) -> dict[str, Any]:  # noqa: PLR0911 (a case per form)
    match form:
        case Text(rule=rule):
            return {"type": "string", **({"pattern": rule.pattern} if rule.pattern else {})}
        case Flag():
            return {"type": "boolean"}
        case Whole(low=low, high=high):
            return {"type": "integer", "minimum": low, "maximum": high}
        case Number(low=low, high=high):
            return {"type": "number", "minimum": low, "maximum": high}
        case Size(high=high):
            written = {"type": "string", "pattern": "^[0-9]+ ?([KkMmGg]([Ii]?[Bb]))?$|^[0-9]+ ?[Bb]?$"}
            return {"anyOf": [{"type": "integer", "minimum": 0, "maximum": high}, written]}
        case Duration():
            return {"type": ["string", "integer"]}
        case Choice(values=values):
            return {"enum": list(values)}
        case Many(item=item, one_ok=one_ok, at_least=least, distinct=distinct):
            listed = {"type": "array", "items": _schema(item), "minItems": least, "uniqueItems": distinct}
            return {"anyOf": [_schema(item), listed]} if one_ok else listed
        case Either(word=word, table=table):
            return {"anyOf": [_schema(word), _schema(table)]}
        case MapOf(names=names, value=value, empty_value=empty):
            inner = _schema(value)
            return {
                "type": ["object", "null"],
                **({"propertyNames": {"pattern": names.pattern}} if names.pattern else {}),
                "additionalProperties": {"anyOf": [inner, {"type": "null"}]} if empty else inner,
            }
        case Table(keys=keys):
            return {
                "type": "object",
                "properties": {name: _described(key) for name, key in keys.items()},
                "required": [name for name, key in keys.items() if key.required],
                "additionalProperties": False,
            }
    return {"type": ["string", "number", "boolean"]}


def _described(key: Key) -> dict[str, Any]:
    default = f" Default: {key.default}." if key.default else ""
    return {"description": key.doc + default, **_schema(key.form)}

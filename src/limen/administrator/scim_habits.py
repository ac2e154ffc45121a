"""What clients send that RFC 7644 does not say, brought to what it says, before the library reads it. Pure.

Microsoft Entra writes a manager as bare text; clients change members of a group by `members[value eq "…"]`,
by `remove` with a value, and by lists. All else passes as it is: the library knows what to refuse.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json
from scim2_models import InvalidSyntaxException

from limen.administrator.scim_models import ENTERPRISE_URN

MANAGER = f"{ENTERPRISE_URN}:manager".lower()
_ONE_MEMBER = re.compile(r'members\[\s*value\s+eq\s+"([A-Za-z0-9._-]{1,64})"\s*\]', re.IGNORECASE)

MemberSteps = Sequence[tuple[str, Sequence[str]]]
"""`add`, `remove` or `set` with ids, `clear` with none, in order."""


class Body(NamedTuple):
    """A body, read, and written again."""

    value: Any
    encoded: bytes


def read_body(body: bytes) -> Body:
    """Return a body without the habits that are known here.

    Raises:
        InvalidSyntaxException: it is no JSON.
    """
    try:
        tree = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise InvalidSyntaxException(detail="The body is not JSON.") from None
    if not isinstance(tree, dict):
        return Body(tree, body)
    return Body(tree, to_json(tree) if _settle(tree) else body)


def read_member_steps(tree: Any) -> MemberSteps | None:
    """Return what a PATCH of a group does to its members, if it does nothing else; None if it does."""
    operations = _member(tree, "operations") if isinstance(tree, Mapping) else None
    if not isinstance(operations, list) or not operations or len(operations) > 1_000:
        return None
    steps: list[tuple[str, Sequence[str]]] = []
    for operation in operations:
        found = _steps(operation) if isinstance(operation, Mapping) else None
        if found is None:
            return None
        steps += found
    return steps


def take_members(tree: Any) -> Sequence[str] | None:
    """Take a group's members out of its body, and return their ids; None where they are not plain.

    Reading 20,000 of them into models takes seconds, and nothing but their ids counts.
    """
    if not isinstance(tree, dict):
        return None
    name = next((key for key in tree if str(key).lower() == "members"), "")
    value = tree.get(name) if name else None
    if value is None:
        return ()
    ids = _ids(value) if isinstance(value, list) else None
    if ids is not None:
        del tree[name]
    return ids


# --- inside ----------------------------------------------------------------------------------------


def _steps(operation: Mapping[str, Any]) -> list[tuple[str, Sequence[str]]] | None:
    op, path, value = (_member(operation, name) for name in ("op", "path", "value"))
    strange = {str(name).lower() for name in operation} - {"op", "path", "value"}
    if strange or not isinstance(op, str) or not isinstance(path, str):
        return None
    op = op.lower()
    one = _ONE_MEMBER.fullmatch(path.strip())
    if one is not None:
        return [("remove", (one[1],))] if op == "remove" and value is None else None
    if path.strip().lower() != "members":
        return None
    if op == "remove" and value is None:
        return [("clear", ())]
    ids = _ids(value)
    if ids is None:
        return None
    named = {"add": "add", "remove": "remove", "replace": "set"}.get(op)
    return None if named is None else [(named, ids)]


def _ids(value: Any) -> tuple[str, ...] | None:
    listed = value if isinstance(value, list) else [value]
    if not all(isinstance(one, Mapping) and isinstance(_member(one, "value"), str) for one in listed):
        return None
    return tuple(str(_member(one, "value")) for one in listed)


def _settle(tree: dict[str, Any], *, within: bool = False) -> bool:
    """Settle a resource, a PATCH, or a bulk request and what it holds; return whether anything changed."""
    changed = _settle_resource(tree)
    operations = _member(tree, "operations")
    for operation in operations if isinstance(operations, list) else ():
        if isinstance(operation, dict):
            changed |= _settle_operation(operation)
            data = _member(operation, "data")
            if isinstance(data, dict) and not within:
                changed |= _settle(data, within=True)
    return changed


def _settle_resource(tree: dict[str, Any]) -> bool:
    extension = _member(tree, ENTERPRISE_URN)
    return _settle_manager(extension) if isinstance(extension, dict) else False


def _settle_operation(operation: dict[str, Any]) -> bool:
    path, value = _member(operation, "path"), _member(operation, "value")
    name = next((key for key in operation if key.lower() == "value"), "value")
    if isinstance(path, str) and path.strip().lower() == MANAGER and isinstance(value, str):
        operation[name] = {"value": value} if value else None
        return True
    if not isinstance(value, dict):
        return False
    changed = _settle_resource(value) | _settle_manager(value)
    for key in value:
        if key.lower() == MANAGER and isinstance(value[key], str):
            value[key] = {"value": value[key]} if value[key] else None
            changed = True
    return changed


def _settle_manager(extension: dict[str, Any]) -> bool:
    name = next((key for key in extension if str(key).lower() == "manager"), "")
    if not name or not isinstance(extension[name], str):
        return False
    extension[name] = {"value": extension[name]} if extension[name] else None
    return True


def _member(tree: Mapping[str, Any], name: str) -> Any:
    """Return a member whatever the case of its name (RFC 7643 section 2.1)."""
    if name in tree:
        return tree[name]
    return next((value for key, value in tree.items() if str(key).lower() == name.lower()), None)

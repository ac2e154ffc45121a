"""From what a source says of somebody to groups and attributes here: rules of the bundle, pure.

A source is whoever lists people: an OpenID or SAML provider, a directory, a SCIM client. What it says is a
mapping of names to values: text, whole numbers, true or false, lists of these, and objects (`a.b` reaches
into one; a name that has dots itself, such as a URL, is found as it is).

Laws:
    M1 a rule gives nothing that the claim does not say: no claim, or none that matches, gives nothing.
    M2 an attribute has one value: a claim that has several which match gives none.
    M3 hostile claims cost linear time, and never raise.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from limen.core.identity_config import ClaimRule

VALUES_MAX = 100_000  # values of one claim; an identity may have very many groups
VALUE_LENGTH_MAX = 1_024  # characters; as attributes of the directory
DEPTH_MAX = 8  # objects within objects
PLACE = "{}"  # stands for the claim's value in a group's name

Scalar = str | int | bool

TRUTHS: Mapping[str, bool] = {"true": True, "false": False}


def apply_rules(
    rules: Sequence[ClaimRule], claims: Mapping[str, Any]
) -> tuple[tuple[str, ...], dict[str, Scalar]]:
    """Return the groups and attributes that rules give for these claims.

    Groups are sorted, named as the rule says, without the source's prefix. Of two rules for one attribute
    the first that gives a value counts. Attributes are as the source wrote them: see `fit_types`.
    """
    groups: set[str] = set()
    attributes: dict[str, Scalar] = {}
    for rule in rules:
        found = [one for one in read_values(claims, rule.claim) if matches(rule.matches, render(one))]
        if rule.group and found:
            groups.update(rule.group.replace(PLACE, render(one)) for one in found)
        if rule.attribute and len({render(one) for one in found}) == 1:
            attributes.setdefault(rule.attribute, found[0])
    return tuple(sorted(groups)), attributes


def fit_types(attributes: Mapping[str, Scalar], types: Mapping[str, str]) -> dict[str, Scalar]:
    """Return those attributes that are declared, of their Cedar type; what does not fit is left out."""
    fitted = {name: _fit(value, types.get(name, "")) for name, value in attributes.items()}
    return {name: value for name, value in sorted(fitted.items()) if value is not None}


def read_values(claims: Mapping[str, Any], name: str) -> tuple[Scalar, ...]:
    """Return the values of a claim that rules can read: text, whole numbers, true and false."""
    return tuple(_scalars(_find(claims, name, DEPTH_MAX)))


def matches(pattern: str, value: str) -> bool:
    """Say whether a value fits a pattern: empty fits all, `*` stands for any text, case counts."""
    if not pattern:
        return True
    first, *rest = pattern.split("*")
    if not rest:
        return value == pattern
    if len(value) < len(first) + len(rest[-1]) or not value.startswith(first):
        return False
    at, end = len(first), len(value) - len(rest[-1])
    for part in rest[:-1]:
        found = value.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return value.endswith(rest[-1]) and at <= end


def render(value: Scalar) -> str:
    """Return a value as the text that patterns and names of groups see."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _find(claims: Any, name: str, depth: int) -> Any:
    if not isinstance(claims, Mapping) or depth == 0:
        return None
    if name in claims:
        return claims[name]
    for at in [i for i, character in enumerate(name) if character == "."]:
        found = _find(claims.get(name[:at]), name[at + 1 :], depth - 1)
        if found is not None:
            return found
    return None


def _scalars(value: Any) -> Iterator[Scalar]:
    listed = value if isinstance(value, list | tuple) else (value,)
    for one in listed[:VALUES_MAX]:
        if (isinstance(one, str) and 0 < len(one) <= VALUE_LENGTH_MAX) or (
            isinstance(one, int) and -(2**63) <= one < 2**63
        ):
            yield one


def _fit(value: Scalar, kind: str) -> Scalar | None:
    text = render(value)
    if kind == "Bool":
        return TRUTHS.get(text.lower())
    if kind == "Long":
        whole = (
            isinstance(value, str) and text.removeprefix("-").isascii() and text.removeprefix("-").isdigit()
        )
        number = int(text) if whole and len(text) <= 20 else value
        good = isinstance(number, int) and not isinstance(number, bool) and -(2**63) <= number < 2**63
        return number if good else None
    return text if kind == "String" and text.isprintable() else None

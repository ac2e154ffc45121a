"""What Cedar's validator says, in words that help, with a stable id.

Cedar's sentences are matched one by one; one that is new passes through under `schema-mismatch`.
"""

import re

import msgspec

from limen.engine.forms import nearest
from limen.engine.schema import ACTIONS, ATTRIBUTE_NAMES

ENTITY_TYPES = (
    "User",
    "Workload",
    "Group",
    "Device",
    "App",
    "Route",
    "Service",
    "Client",
    "Segment",
    "Label",
    "Action",
)


class Mismatch(msgspec.Struct, frozen=True):
    """A way in which a policy does not fit the schema. `terms` are what to look for in its text."""

    id: str
    message: str
    remedy: str
    terms: tuple[str, ...] = ()


def explain_mismatch(error: str, effect: str) -> Mismatch:
    """Return one validator error as a mismatch."""
    text = re.sub(r"^for policy `[^`]*`, ", "", error)
    if match := re.match(r"unable to guarantee safety of access to optional attribute `([^`]+)`(.*)", text):
        return _unguarded(match[1], match[2], effect)
    if match := re.match(r"attribute `([^`]+)` (?:in context for|on entity type) (.+) not found", text):
        return Mismatch(
            "unknown-attribute",
            f"There is no `{match[1]}` on {_owner(match[2])}.",
            _advice(match[1]),
            _terms(match[1], match[2]),
        )
    if match := re.match(r"unrecognized entity type `([^`]+)`", text):
        return _unknown("entity type", match[1], ENTITY_TYPES)
    if match := re.match(r'unrecognized action `Action::"([^`]+)"`', text):
        return _unknown("action", match[1], ACTIONS)
    if text.startswith("unable to find an applicable action"):
        return Mismatch(
            "impossible-scope",
            "No action goes with this principal and this resource.",
            "They read, write and admin apps and routes, connect to services, and sign_in to clients.",
        )
    return Mismatch("schema-mismatch", f"It does not fit the schema: {text}.", "Correct the expression.")


def _unguarded(path: str, where: str, effect: str) -> Mismatch:
    terms = _terms(path, where)
    owner, _, last = terms[0].rpartition(".")
    spoiled = (
        "a forbid that fails to read it is skipped by Cedar" if effect == "forbid" else "reading it can fail"
    )
    return Mismatch(
        "unguarded-optional",
        f"It reads `{terms[0]}`, which is not always there; {spoiled}.",
        f"Write `{owner} has {last} && …` before it.",
        terms,
    )


def _terms(path: str, where: str) -> tuple[str, ...]:
    """Return the texts under which an attribute may stand in the policy, the likeliest first."""
    if "in context" in where or where.startswith("Action"):
        return (f"context.{path}", path)
    kind = re.search(r"`(\w+)`", where)
    owner = {"User": "principal", "Workload": "principal", "Device": "context.device"}.get(
        kind[1] if kind else "", "resource"
    )
    return (f"{owner}.{path}", path)


def _advice(path: str) -> str:
    near = nearest(path.rpartition(".")[2], ATTRIBUTE_NAMES)
    if near:
        return f"Did you mean `{near}`?"
    return "The schema is in the reference of limen.yaml; people's own attributes go under `attributes:`."


def _owner(where: str) -> str:
    return "the context" if where.startswith("Action") else where.replace("`", "")


def _unknown(what: str, name: str, known: tuple[str, ...]) -> Mismatch:
    near = nearest(name, known)
    remedy = f"Did you mean `{near}`?" if near else f"Known: {', '.join(known)}."
    return Mismatch(
        f"unknown-{what.replace(' ', '-')}", f"There is no {what} `{name}`.", remedy, (name, f'"{name}"')
    )

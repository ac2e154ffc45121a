"""`allow:` written out: the Cedar that the short form of `limen.yaml` stands for."""

import json
from collections.abc import Callable

import cedarpy

from limen.core.catalogue import AppConfig, Catalogue
from limen.engine.bundle_values import Policy
from limen.engine.cedar_text import quote

_PRINCIPAL = {
    "group": "principal in Group::",
    "user": "principal == User::",
    "workload": "principal == Workload::",
}
_WHO = {"group": "Members of {}", "user": "{}", "workload": "The workload {}"}


def allow_policies(catalogue: Catalogue, at: Callable[[str, int], tuple[int, int]]) -> tuple[Policy, ...]:
    """Return a permit for read and write for each entry of each app's `allow`.

    `at` gives the line and column of an app's n-th entry.
    """
    written = [
        (app, entry, allow_cedar(app, entry), at(app.name, index))
        for app in catalogue.apps.values()
        for index, entry in enumerate(app.allow)
    ]
    found = json.loads(cedarpy.policies_to_json_str("\n".join(cedar for _, _, cedar, _ in written)))
    return tuple(
        Policy(
            id=allow_id(app, entry),
            effect="permit",
            layer="sugar",
            reason=_reason(app, entry),
            file="limen.yaml",
            line=line,
            column=column,
            cedar=cedar,
            est=found["staticPolicies"][f"policy{number}"],
        )
        for number, (app, entry, cedar, (line, column)) in enumerate(written)
    )


def allow_id(app: AppConfig, entry: str) -> str:
    """Return the policy id of one `allow` entry, such as `allow:wiki:group:staff`."""
    return f"allow:{app.name}:{entry}"


def allow_cedar(app: AppConfig, entry: str) -> str:
    """Return the Cedar that one `allow` entry stands for."""
    kind, _, name = entry.partition(":")
    return (
        f"@id({quote(allow_id(app, entry))})\n"
        f"@reason({quote(_reason(app, entry))})\n"
        f"permit(\n"
        f"  {_PRINCIPAL[kind]}{quote(name)},\n"
        f'  action in [Action::"read", Action::"write"],\n'
        f"  resource in App::{quote(app.name)}\n"
        f");"
    )


def _reason(app: AppConfig, entry: str) -> str:
    kind, _, name = entry.partition(":")
    return f"{_WHO[kind].format(name)} may use {app.name}."

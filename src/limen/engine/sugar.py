"""`allow:` written out: the Cedar that the short form of `limen.yaml` stands for."""

import json
from collections.abc import Callable, Mapping

import cedarpy

from limen.core.catalogue import AppConfig, Catalogue, ServiceConfig
from limen.core.client_config import ClientConfig
from limen.core.resources import plain_resources
from limen.engine.bundle_values import Policy
from limen.engine.cedar_text import quote

_PRINCIPAL = {
    "group": "principal in Group::",
    "user": "principal == User::",
    "workload": "principal == Workload::",
}
_WHO = {"group": "Members of {}", "user": "{}", "workload": "The workload {}"}

Resource = AppConfig | ServiceConfig | ClientConfig

_OPENS = {
    "App": 'action in [Action::"read", Action::"write"],\n  resource in App::',
    "Service": 'action == Action::"connect",\n  resource == Service::',
    "Client": 'action == Action::"sign_in",\n  resource == Client::',
}
_VERBS = {"App": "use", "Service": "connect to", "Client": "sign in to"}


def allow_policies(
    catalogue: Catalogue, at: Callable[[str, str, int], tuple[int, int]]
) -> tuple[Policy, ...]:
    """Return a permit for each entry of each `allow`: read and write of an app, connect to a service,
    sign in to a client.

    `at` gives the line and column of the n-th entry of a resource, by section and name.
    """
    sections: tuple[tuple[str, Mapping[str, Resource]], ...] = (
        ("apps", catalogue.apps),
        *plain_resources(catalogue),
    )
    written = [
        (resource, entry, allow_cedar(resource, entry), at(section, resource.name, index))
        for section, resources in sections
        for resource in resources.values()
        for index, entry in enumerate(resource.allow)
    ]
    found = json.loads(cedarpy.policies_to_json_str("\n".join(cedar for _, _, cedar, _ in written)))
    return tuple(
        Policy(
            id=allow_id(resource, entry),
            effect="permit",
            layer="sugar",
            reason=_reason(resource, entry),
            file="limen.yaml",
            line=line,
            column=column,
            cedar=cedar,
            est=found["staticPolicies"][f"policy{number}"],
        )
        for number, (resource, entry, cedar, (line, column)) in enumerate(written)
    )


def allow_id(resource: Resource, entry: str) -> str:
    """Return the policy id of one `allow` entry, such as `allow:wiki:group:staff`.

    Unique: apps, services and clients of a bundle have names of their own.
    """
    return f"allow:{resource.name}:{entry}"


def allow_cedar(resource: Resource, entry: str) -> str:
    """Return the Cedar that one `allow` entry stands for."""
    kind, _, name = entry.partition(":")
    return (
        f"@id({quote(allow_id(resource, entry))})\n"
        f"@reason({quote(_reason(resource, entry))})\n"
        f"permit(\n"
        f"  {_PRINCIPAL[kind]}{quote(name)},\n"
        f"  {_OPENS[resource.ref.type]}{quote(resource.name)}\n"
        f");"
    )


def _reason(resource: Resource, entry: str) -> str:
    kind, _, name = entry.partition(":")
    return f"{_WHO[kind].format(name)} may {_VERBS[resource.ref.type]} {resource.name}."

"""`clients:` of `limen.yaml`: apps elsewhere that people sign in to through Limen, and APIs."""

from collections.abc import Mapping
from typing import Any

from limen.core.client_config import ClientConfig
from limen.engine import rules
from limen.engine.forms import Key, Many, MapOf, Table, Text
from limen.engine.named_files import NamedFiles

_CLIENT = Table(
    {
        "allow": Key(
            Many(Text(rules.GRANTEE), one_ok=True), "Who may sign in, bounded by the guardrails.", "nobody"
        ),
        "owner": Key(Text(rules.USER), "The person who answers for it; named on denials.", "nobody"),
        "labels": Key(Many(Text(rules.NAME)), 'What it handles: `Label::"phi"`.', "none"),
        "segment": Key(Text(rules.NAME), "The segment that it is in.", "none"),
    },
    elsewhere={"upstream": "An app that Limen stands in front of goes under `apps:`."},
)

CLIENTS: Mapping[str, Key] = {
    "clients": Key(
        MapOf(rules.NAME, _CLIENT), "Apps elsewhere that people sign in to through Limen, by name.", "none"
    )
}


def read_clients(tree: Mapping[str, Any], named: NamedFiles) -> dict[str, ClientConfig]:
    """Return the clients by name."""
    return {name: _client(name, entry) for name, entry in tree.items()}


def _client(name: str, tree: Mapping[str, Any]) -> ClientConfig:
    return ClientConfig(
        name=name,
        owner=tree.get("owner"),
        labels=tuple(tree.get("labels", ())),
        segment=tree.get("segment"),
        allow=tuple(tree.get("allow", ())),
    )

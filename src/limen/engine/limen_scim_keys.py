"""`scim:` of `limen.yaml`: who provisions people here."""

from collections.abc import Mapping
from typing import Any

from limen.core.identity_config import ScimConfig
from limen.engine import rules
from limen.engine.forms import Key, Many, MapOf, Table, Text
from limen.engine.limen_oidc_keys import PEOPLE, RESERVED_PREFIX, read_people
from limen.engine.named_files import NamedFiles
from limen.engine.read_forms import Path

_PEOPLE = {key: PEOPLE[key] for key in ("group_prefix", "kind", "sponsor", "expires", "rules")}

_CLIENT = Table(
    {
        "fills": Key(
            Many(Text(rules.GROUP)),
            "Groups that are here already, and that it may put its people into by their names.",
            "none: a group that is here already is a conflict",
        ),
        **_PEOPLE,
    }
)

SCIM: Mapping[str, Key] = {
    "scim": Key(
        MapOf(rules.NAME, _CLIENT, empty_value=True),
        "SCIM clients, by name: what provisions people and groups at `/scim/v2` of the sign-in host. "
        "`limen scim token NAME` makes what each proves itself with.",
        "none",
    )
}


def read_scim(tree: Mapping[str, Any], named: NamedFiles) -> tuple[ScimConfig, ...]:
    """Return the clients."""
    return tuple(_client(name, entry, named) for name, entry in tree.items())


def _client(name: str, tree: Mapping[str, Any], named: NamedFiles) -> ScimConfig:
    path: Path = ("scim", name)
    for index, group in enumerate(tree.get("fills", ())):
        if str(group).lower().startswith(RESERVED_PREFIX):
            remedy = "Let it fill a group of yours, and put that into this one: limen group nest."
            said = f"No source fills groups named {RESERVED_PREFIX}…."
            named.log.wrong((*path, "fills", index), said, remedy)
    for index, rule in enumerate(tree.get("rules", ())):
        if "group" in rule:
            remedy = "Let the client provision the group, or give an attribute that a policy reads."
            said = "Groups of a SCIM client are those that it provisions."
            named.log.wrong((*path, "rules", index, "group"), said, remedy)
    return ScimConfig(name=name, people=read_people(tree, path, named), fills=tuple(tree.get("fills", ())))

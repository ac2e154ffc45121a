"""`oidc:` of `limen.yaml`: identity providers that people sign in with; and what their people become here."""

from collections.abc import Mapping
from typing import Any

from limen.core.identity_config import OidcConfig, SourceRules
from limen.engine import rules
from limen.engine.forms import Flag, Key, Many, MapOf, Table, Text
from limen.engine.named_files import NamedFiles
from limen.engine.read_forms import Path

PEOPLE: Mapping[str, Key] = {
    "group_prefix": Key(
        Text(rules.WORD), "Put before each of its groups, so that they cannot pass for yours.", "none"
    ),
    "create": Key(Flag(), "Make the person at first sign-in.", "true"),
}
"""Keys of every source of people: what they become here."""

_PROVIDER = Table(
    {
        "issuer": Key(Text(rules.ISSUER), "Its issuer address; the rest is discovered.", required=True),
        "client_id": Key(Text(rules.WORD), "The client that it knows Limen as.", required=True),
        "client_secret": Key(
            Text(rules.SECRET_NAME), "The stored secret of that client.", "none: a public client with PKCE"
        ),
        "scopes": Key(Many(Text(rules.SCOPE), at_least=1), "What is asked for.", "openid, profile, email"),
        "groups_claim": Key(Text(rules.CLAIM), "The claim that lists groups.", "groups"),
        "username_claim": Key(Text(rules.CLAIM), "The claim that is the username.", "preferred_username"),
        "ca": Key(
            Text(rules.PEM_FILE),
            "Certificates that may sign the provider's, a file of the bundle.",
            "the system's",
        ),
        **PEOPLE,
    },
)

OIDC: Mapping[str, Key] = {
    "oidc": Key(
        MapOf(rules.NAME, _PROVIDER), "Identity providers that people may sign in with, by name.", "none"
    )
}


def read_people(tree: Mapping[str, Any], path: Path, named: NamedFiles) -> SourceRules:
    """Return what a source's people become here; `tree` is the source's table, at `path`."""
    return SourceRules(create=tree.get("create", True), group_prefix=tree.get("group_prefix", ""))


def read_oidc(tree: Mapping[str, Any], named: NamedFiles) -> tuple[OidcConfig, ...]:
    """Return the providers."""
    return tuple(_provider(name, entry, named) for name, entry in tree.items())


def _provider(name: str, tree: Mapping[str, Any], named: NamedFiles) -> OidcConfig:
    path: Path = ("oidc", name)
    given = {key: value for key, value in tree.items() if key not in ("ca", "scopes", *PEOPLE)}
    scopes = tuple(tree.get("scopes", ("openid", "profile", "email")))
    if "openid" not in scopes:
        remedy = "Add openid: without it there is no identity."
        named.log.wrong((*path, "scopes"), "`scopes` lacks openid.", remedy)
    base = {"issuer": "", "client_id": ""}
    return OidcConfig(
        name=name,
        scopes=scopes,
        ca_pem=named.pem(tree.get("ca"), (*path, "ca")),
        people=read_people(tree, path, named),
        **{**base, **given},
    )

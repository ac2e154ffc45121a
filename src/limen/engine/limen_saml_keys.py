"""`saml:` of `limen.yaml`: SAML identity providers; and what a client that speaks SAML needs."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from limen.core.catalogue import Catalogue
from limen.core.client_config import SamlClient
from limen.core.identity_config import AssuranceRule, SamlConfig
from limen.core.saml_metadata import IdpMetadata, MetadataRefused, SpMetadata, parse_idp, parse_sp
from limen.engine import rules
from limen.engine.forms import Choice, Duration, Flag, Key, MapOf, Table, Text, Whole
from limen.engine.limen_oidc_keys import PEOPLE, read_people
from limen.engine.named_files import NamedFiles
from limen.engine.read_forms import Log, Path

FIELDS = frozenset({"username", "email", "name", "groups"})
"""What an attribute may be made of besides the attributes of people."""

SESSION_MIN_S = 60.0
SESSION_MAX_S = 86_400.0

_T = TypeVar("_T", IdpMetadata, SpMetadata)

_WORTH = Table(
    {
        "aal": Key(Whole(1, 3), "Its authenticator assurance level (NIST SP 800-63B).", required=True),
        "phishing_resistant": Key(Flag(), "Whether it withstands phishing.", "false"),
    }
)

_PROVIDER = Table(
    {
        "metadata": Key(Text(rules.XML_FILE), "Its metadata, a file of the bundle.", required=True),
        "title": Key(Text(rules.WORD), "What people read on the sign-in page.", "its name"),
        "subject": Key(
            Text(rules.CLAIM), "The attribute that names a person for ever.", "the NameID, unless transient"
        ),
        "username": Key(Text(rules.CLAIM), "The attribute that is the username.", "the NameID"),
        "email": Key(Text(rules.CLAIM), "The attribute that is the e-mail address.", "email"),
        "display_name": Key(Text(rules.CLAIM), "The attribute that is the name.", "displayName"),
        "groups": Key(Text(rules.CLAIM), "The attribute that lists groups.", "groups"),
        "contexts": Key(
            MapOf(rules.CLAIM, _WORTH),
            "What its authentication context classes are worth; one that is not listed is worth AAL 1.",
            "REFEDS MFA and Microsoft's multipleauthn: AAL 2",
        ),
        **PEOPLE,
    },
)

SAML: Mapping[str, Key] = {
    "saml": Key(
        MapOf(rules.NAME, _PROVIDER), "SAML identity providers that people may sign in with, by name.", "none"
    )
}

SAML_CLIENT = Table(
    {
        "metadata": Key(
            Text(rules.XML_FILE), "The app's own SAML metadata, a file of the bundle.", required=True
        ),
        "name_id": Key(
            Choice(("username", "email", "persistent")),
            "What the app knows people by; `persistent` is a name of its own for each, which tells no other "
            "app anything.",
            "username",
        ),
        "attributes": Key(
            MapOf(rules.CLAIM, Text(rules.ATTRIBUTE)),
            "Attributes that it is told: `username`, `email`, `name`, `groups`, or an attribute of people.",
            "none",
        ),
        "session": Key(
            Duration(), "After this the app must ask again, and policy decides again; 1m to 24h.", "1h"
        ),
    }
)


def read_saml(tree: Mapping[str, Any], named: NamedFiles) -> tuple[SamlConfig, ...]:
    """Return the providers."""
    return tuple(_provider(name, entry, named) for name, entry in tree.items())


def read_saml_client(tree: Mapping[str, Any], path: Path, named: NamedFiles) -> SamlClient:
    """Return what a client that speaks SAML needs; `tree` is its `saml` table, at `path`."""
    default = SamlClient()
    session = tree.get("session", default.session_s)
    if not SESSION_MIN_S <= session <= SESSION_MAX_S:
        named.log.wrong((*path, "session"), "`session` is too short or too long.", "Say 1m to 24h.")
    return SamlClient(
        metadata=_metadata(tree, path, named, parse_sp),
        name_id=tree.get("name_id", default.name_id),
        attributes=tree.get("attributes", {}),
        session_s=float(session),
    )


def check_saml(catalogue: Catalogue, log: Log) -> None:
    """Note what only the whole catalogue can tell of SAML."""
    asked: dict[str, str] = {}
    for config in catalogue.sources.saml:
        idp = _parsed(config.metadata, parse_idp)
        _demand_own(idp, ("saml", config.name, "metadata"), config.name, asked, log)
    served: dict[str, str] = {}
    for client in catalogue.clients.values():
        if client.saml is None:
            continue
        path: Path = ("clients", client.name, "saml")
        _demand_own(_parsed(client.saml.metadata, parse_sp), (*path, "metadata"), client.name, served, log)
        for name, field in client.saml.attributes.items():
            if field not in FIELDS and field not in catalogue.attribute_types:
                remedy = f"Use one of {', '.join(sorted(FIELDS))}, or declare it under `attributes:`."
                log.wrong((*path, "attributes", name), f"There is no field or attribute `{field}`.", remedy)


def _demand_own(
    found: IdpMetadata | SpMetadata | None, path: Path, name: str, known: dict[str, str], log: Log
) -> None:
    """Two of one entityID could not be told apart."""
    if found is None:
        return
    other = known.setdefault(found.entity_id, name)
    if other != name:
        remedy = "Each has its own entityID: messages are told apart by it."
        log.wrong(path, f"`{other}` has the same entityID, {found.entity_id}.", remedy)


def _provider(name: str, tree: Mapping[str, Any], named: NamedFiles) -> SamlConfig:
    path: Path = ("saml", name)
    given = {k: v for k, v in tree.items() if k not in ("metadata", "contexts", *PEOPLE)}
    contexts = tree.get("contexts")
    return SamlConfig(
        name=name,
        metadata=_metadata(tree, path, named, parse_idp),
        contexts=None if contexts is None else {k: AssuranceRule(**worth) for k, worth in contexts.items()},
        people=read_people(tree, path, named),
        **given,
    )


def _metadata(tree: Mapping[str, Any], path: Path, named: NamedFiles, parse: Callable[[str], _T]) -> str:
    """Return metadata that can be used, or note why it cannot."""
    place = (*path, "metadata")
    text = named.text(tree.get("metadata"), place)
    if text is None:
        return ""
    try:
        parse(text)
    except MetadataRefused as error:
        remedy = "Download its metadata anew: an EntityDescriptor for SAML 2.0."
        named.log.wrong(place, f"`{tree['metadata']}` cannot be used. {error}", remedy)
    return text


def _parsed(text: str, parse: Callable[[str], _T]) -> _T | None:
    try:
        return parse(text)
    except MetadataRefused:
        return None  # noted where it was read

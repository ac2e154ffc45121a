"""`oidc:` of `limen.yaml`: identity providers that people sign in with; and what their people become here."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from limen.core.catalogue import Catalogue
from limen.core.entities import Kind
from limen.core.identity_config import AssuranceRule, ClaimRule, OidcConfig, SourceRules
from limen.core.needs import NEEDS
from limen.engine import rules
from limen.engine.forms import (
    Choice,
    Duration,
    Flag,
    Form,
    Key,
    Many,
    MapOf,
    Rule,
    Table,
    Text,
    Whole,
    nearest,
)
from limen.engine.named_files import NamedFiles
from limen.engine.read_forms import Log, Path

SOURCE_NAME_MAX = 48  # characters: `oidc:<name>` stands in columns and events
RESERVED_PREFIX = "limen-"  # groups of Limen's own, which no source gives
DIRECTORIES = ("scim", "ldap")


def _groups_from(text: str) -> str:
    kind, colon, name = text.partition(":")
    if text not in ("claims", "endpoint"):
        if not colon or kind not in DIRECTORIES:
            raise ValueError
        rules.NAME.check(name)
    return text


def _source(text: str) -> str:
    kind, _, name = text.partition(":")
    if kind not in DIRECTORIES:
        raise ValueError
    rules.NAME.check(name)
    return text


def _secure_url(text: str) -> str:
    parts = urlsplit(text)
    local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not text.isascii() or not text.isprintable() or " " in text or parts.fragment or not parts.hostname:
        raise ValueError("It is a plain address, without a fragment.")
    if (parts.scheme != "https" and not local) or parts.username is not None:
        raise ValueError("It starts with https://, and names no user.")
    return text


GROUPS_FROM = Rule(
    "claims, endpoint, scim:CLIENT or ldap:DIRECTORY", _groups_from, "^(claims|endpoint|scim:|ldap:)"
)
SOURCE = Rule("scim:CLIENT or ldap:DIRECTORY", _source, "^(scim|ldap):")
SECURE_URL = Rule('an address, such as "https://graph.example.com/me/memberOf"', _secure_url, "^https?://")

_CLAIM_RULE = Table(
    {
        "claim": Key(
            Text(rules.CLAIM), "The claim or attribute; `a.b` reaches into an object.", required=True
        ),
        "matches": Key(Text(rules.WORD), "What its value must be; `*` is any text.", "anything"),
        "group": Key(Text(rules.GROUP), "The group that it gives; `{}` is the value.", "none"),
        "attribute": Key(Text(rules.ATTRIBUTE), "The attribute of people that gets the value.", "none"),
    }
)

_LINK = Table(
    {
        "source": Key(Text(SOURCE), "The source that lists the same people.", required=True),
        "claim": Key(Text(rules.CLAIM), "The claim that is that source's own id of a person.", required=True),
    }
)

PEOPLE: Mapping[str, Key] = {
    "group_prefix": Key(
        Text(rules.WORD), "Put before each of its groups, so that they cannot pass for yours.", "none"
    ),
    "create": Key(Flag(), "Make the person at first sign-in.", "true"),
    "kind": Key(Choice(tuple(Kind)), "What its people are here.", "employee"),
    "sponsor": Key(
        Text(rules.USER), "Who answers for its people; partners and contractors need one.", "none"
    ),
    "expires": Key(Duration(), "How long people made at first sign-in stay.", "without end"),
    "domains": Key(
        Many(Text(rules.DOMAIN), at_least=1),
        "E-mail domains whose people are sent there from the sign-in page; nobody else is made.",
        "any; it has a button on the sign-in page",
    ),
    "rules": Key(Many(_CLAIM_RULE, distinct=False), "From claims to groups and attributes.", "none"),
    "groups_from": Key(Text(GROUPS_FROM), "Who lists the groups of its people.", "claims"),
    "link": Key(_LINK, "Who of another source a sign-in is, by that source's own id.", "none"),
}
"""Keys of every source of people: what they become here."""

WORTH = Table(
    {
        "aal": Key(Whole(1, 3), "Its authenticator assurance level (NIST SP 800-63B).", required=True),
        "phishing_resistant": Key(Flag(), "Whether it withstands phishing.", "false"),
    }
)

_ACR_VALUES: Form = Many(Text(rules.SCOPE), one_ok=True, at_least=1)

_PROVIDER = Table(
    {
        "issuer": Key(Text(rules.ISSUER), "Its issuer address; the rest is discovered.", required=True),
        "client_id": Key(Text(rules.WORD), "The client that it knows Limen as.", required=True),
        "client_secret": Key(
            Text(rules.SECRET_NAME), "The stored secret of that client.", "none: a public client with PKCE"
        ),
        "auth": Key(
            Choice(("secret", "private_key_jwt", "none")),
            "How Limen proves itself there; `private_key_jwt` signs with keys of `/oauth2/jwks`.",
            "secret, when `client_secret` is given",
        ),
        "title": Key(Text(rules.WORD), "What people read on the sign-in page.", "its name"),
        "scopes": Key(Many(Text(rules.SCOPE), at_least=1), "What is asked for.", "openid, profile, email"),
        "groups_claim": Key(Text(rules.CLAIM), "The claim that lists groups.", "groups"),
        "username_claim": Key(Text(rules.CLAIM), "The claim that is the username.", "preferred_username"),
        "trust_email": Key(
            Flag(), "Its e-mail addresses count although it does not say that they are verified.", "false"
        ),
        "amr": Key(
            MapOf(rules.WORD, WORTH),
            "What values of `amr` are worth; one that is not listed is worth AAL 1.",
            "mfa: AAL 2",
        ),
        "acr": Key(
            MapOf(rules.WORD, WORTH),
            "What values of `acr` are worth; one that is not listed is worth AAL 1.",
            "phr and phrh: AAL 2, phishing-resistant; REFEDS MFA and PAPE multi-factor: AAL 2",
        ),
        "step_up": Key(
            Table(
                {need: Key(_ACR_VALUES, f"`acr_values` for a session that lacks {need}.") for need in NEEDS}
            ),
            "What to ask it for when a session lacks something.",
            "nothing but `max_age`",
        ),
        "groups_endpoint": Key(
            Text(SECURE_URL),
            "Where it lists the groups of whoever signs in, when its tokens only point to them.",
            "none: they are unknown then",
        ),
        "groups_field": Key(Text(rules.CLAIM), "What a group of that list is called by.", "id"),
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
    log = named.log
    _check_people(tree, path, log)
    link = tree.get("link", {})
    return SourceRules(
        create=tree.get("create", True),
        kind=Kind(tree.get("kind", Kind.EMPLOYEE)),
        sponsor=tree.get("sponsor"),
        expires_s=tree.get("expires"),
        domains=tuple(tree.get("domains", ())),
        group_prefix=tree.get("group_prefix", ""),
        groups_from=tree.get("groups_from", "claims"),
        rules=tuple(_rules(tree.get("rules", ()), (*path, "rules"), log)),
        link_source=link.get("source", ""),
        link_claim=link.get("claim", ""),
    )


def _check_people(tree: Mapping[str, Any], path: Path, log: Log) -> None:
    if len(str(path[-1])) > SOURCE_NAME_MAX:
        log.wrong(path, f"The name `{path[-1]}` is too long.", f"Use at most {SOURCE_NAME_MAX} characters.")
    kind = tree.get("kind", Kind.EMPLOYEE)
    if kind in (Kind.PARTNER, Kind.CONTRACTOR):
        if "sponsor" not in tree:
            log.wrong(path, f"Nobody answers for people of kind {kind}.", "Add `sponsor:` with a username.")
        if "expires" not in tree and path[0] != "ldap":
            log.wrong(path, f"People of kind {kind} would stay without end.", "Add `expires:`, such as 90d.")
        if not tree.get("group_prefix") and path[0] != "scim":
            remedy = "Add `group_prefix:`: without one its groups pass for yours."
            log.wrong(path, f"A source of kind {kind} could name any group of yours.", remedy)
    if path[0] in DIRECTORIES:
        for key in ("link", "groups_from"):
            if key in tree:
                log.wrong((*path, key), f"`{key}` is for what people sign in with.", "Remove it.")


def _rules(listed: Iterable[Mapping[str, Any]], path: Path, log: Log) -> Iterable[ClaimRule]:
    for index, one in enumerate(listed):
        gives = [key for key in ("group", "attribute") if key in one]
        if len(gives) != 1:
            remedy = "Give each rule one of `group` and `attribute`."
            log.wrong((*path, index), "A rule gives a group or an attribute.", remedy)
        if str(one.get("group", "")).lower().startswith(RESERVED_PREFIX):
            remedy = "Let it give a group of yours, and put that into this one: limen group nest."
            log.wrong((*path, index, "group"), f"No source gives groups named {RESERVED_PREFIX}….", remedy)
        yield ClaimRule(**{"claim": "", **one})


def read_oidc(tree: Mapping[str, Any], named: NamedFiles) -> tuple[OidcConfig, ...]:
    """Return the providers."""
    return tuple(_provider(name, entry, named) for name, entry in tree.items())


def _provider(name: str, tree: Mapping[str, Any], named: NamedFiles) -> OidcConfig:
    path: Path = ("oidc", name)
    made = ("ca", "scopes", "amr", "acr", "step_up", "auth", *PEOPLE)
    given = {key: value for key, value in tree.items() if key not in made}
    scopes = tuple(tree.get("scopes", ("openid", "profile", "email")))
    _check_provider(tree, scopes, path, named.log)
    step_up = tree.get("step_up", {})
    return OidcConfig(
        name=name,
        scopes=scopes,
        auth=tree.get("auth", "secret" if "client_secret" in tree else "none"),
        amr=_worth(tree.get("amr")),
        acr=_worth(tree.get("acr")),
        step_up={need: tuple([one] if isinstance(one, str) else one) for need, one in step_up.items()},
        ca_pem=named.pem(tree.get("ca"), (*path, "ca")),
        people=read_people(tree, path, named),
        **{"issuer": "", "client_id": "", **given},
    )


def _check_provider(tree: Mapping[str, Any], scopes: tuple[str, ...], path: Path, log: Log) -> None:
    if "openid" not in scopes:
        remedy = "Add openid: without it there is no identity."
        log.wrong((*path, "scopes"), "`scopes` lacks openid.", remedy)
    auth, secret = tree.get("auth"), "client_secret" in tree
    if auth == "secret" and not secret:
        log.wrong((*path, "auth"), "There is no secret to prove Limen with.", "Add `client_secret:`.")
    if auth in ("private_key_jwt", "none") and secret:
        log.wrong((*path, "client_secret"), f"`auth: {auth}` uses no secret.", "Remove `client_secret`.")
    if tree.get("groups_from") == "endpoint" and "groups_endpoint" not in tree:
        log.wrong((*path, "groups_from"), "No endpoint is named.", "Add `groups_endpoint:`.")


def _worth(tree: Mapping[str, Mapping[str, Any]] | None) -> Mapping[str, AssuranceRule] | None:
    return (
        None if tree is None else {value: AssuranceRule(**{"aal": 1, **one}) for value, one in tree.items()}
    )


def check_sources(catalogue: Catalogue, log: Log) -> None:
    """Note what only the whole can tell of sources: domains that two claim, names that nothing has."""
    sources = catalogue.sources
    found = [(("oidc", one.name), one.people) for one in catalogue.oidc]
    found += [(("saml", one.name), one.people) for one in sources.saml]
    found += [(("ldap", one.name), one.people) for one in sources.ldap]
    found += [(("scim", one.name), one.people) for one in sources.scim]
    known = {f"{path[0]}:{path[1]}" for path, _ in found if path[0] in DIRECTORIES}
    owners: dict[str, str] = {}
    for path, people in found:
        for index, rule in enumerate(people.rules):
            if rule.attribute and rule.attribute not in catalogue.attribute_types:
                near = nearest(rule.attribute, catalogue.attribute_types)
                remedy = f"Did you mean `{near}`?" if near else "Declare it under `attributes:`."
                log.wrong((*path, "rules", index), f"There is no attribute `{rule.attribute}`.", remedy)
        for key, named in (("groups_from", people.groups_from), ("link", people.link_source)):
            if named not in ("", "claims", "endpoint") and named not in known:
                log.wrong((*path, key), f"There is no source `{named}`.", "Add it, or name another.")
        if path[0] in DIRECTORIES:
            continue
        for domain in people.domains:
            other = owners.setdefault(domain, path[1])
            if other != path[1]:
                remedy = "One domain leads to one provider."
                log.wrong((*path, "domains"), f"`{other}` has the domain {domain} already.", remedy)

"""`clients:` of `limen.yaml`: apps elsewhere that people sign in to through Limen, and APIs."""

from collections.abc import Mapping
from typing import Any

from limen.core.catalogue import Catalogue
from limen.core.client_config import ClientConfig, OidcClient
from limen.engine import rules
from limen.engine.forms import Choice, Duration, Flag, Key, Many, MapOf, Table, Text
from limen.engine.limen_client_rules import AUDIENCE, CLAIM, FIELDS, LOGOUT_URI, REDIRECT_URI, WEB_ADDRESS
from limen.engine.limen_saml_keys import SAML_CLIENT, read_saml_client
from limen.engine.named_files import NamedFiles
from limen.engine.read_forms import Log, Path

NONE, SECRET, PRIVATE_KEY_JWT = "none", "secret", "private_key_jwt"
GRANTS = ("authorization_code", "refresh_token", "device_code")
ACCESS_TOKEN_MAX_S = 3_600.0  # a JWT at an API is good until it expires, whatever happens here
ACCESS_TOKEN_MIN_S = 30.0
REFRESH_TOKEN_MAX_S = 31_536_000.0

_DEFAULT = OidcClient()

OIDC_CLIENT = Table(
    {
        "redirect_uris": Key(
            Many(Text(REDIRECT_URI), one_ok=True), "Where codes may go, compared character by character.", ""
        ),
        "post_logout_redirect_uris": Key(
            Many(Text(REDIRECT_URI), one_ok=True), "Where people may go on to after signing out.", "none"
        ),
        "auth": Key(
            Choice((NONE, SECRET, PRIVATE_KEY_JWT)),
            "How it proves itself: not at all (PKCE alone), by a stored secret, by a key of its own.",
            "none",
        ),
        "secret": Key(
            Many(Text(rules.SECRET_NAME), one_ok=True),
            "The stored secret; two while one is being replaced.",
            "none",
        ),
        "jwks": Key(Text(rules.JSON_FILE), "Its public keys, a JWK Set in the bundle.", "none"),
        "jwks_uri": Key(Text(WEB_ADDRESS), "Where it publishes its public keys.", "none"),
        "grants": Key(
            Many(Choice(GRANTS), at_least=1), "What it may ask for.", "authorization_code, refresh_token"
        ),
        "scopes": Key(Many(Text(rules.SCOPE), at_least=1), "Scopes that it may have.", "the standard ones"),
        "audiences": Key(Many(Text(rules.NAME), one_ok=True), "APIs that it may ask tokens for.", "none"),
        "claims": Key(
            MapOf(CLAIM, Text(rules.ATTRIBUTE)),
            "More claims: `username`, `email`, `name`, `groups`, or an attribute.",
            "none",
        ),
        "access_token": Key(Duration(), "How long access and ID tokens live; at most 1h.", "5m"),
        "refresh_token": Key(
            Duration(), "How long refresh tokens live; none outlives its session.", "as long as the session"
        ),
        "frontchannel_logout_uri": Key(Text(LOGOUT_URI), "Loaded in the browser that signs out.", "none"),
        "backchannel_logout_uri": Key(Text(LOGOUT_URI), "Where logout tokens are posted.", "none"),
        "signing": Key(Choice(("RS256", "PS256", "ES256")), "What its tokens are signed with.", "RS256"),
        "dpop": Key(Flag(), "Demand that its tokens be bound to a key (RFC 9449).", "false"),
        "ca": Key(
            Text(rules.PEM_FILE), "What may sign its certificates, a file of the bundle.", "the system's"
        ),
    },
)

_CLIENT = Table(
    {
        "title": Key(Text(rules.WORD), "What people call it.", "its name"),
        "url": Key(Text(WEB_ADDRESS), "Where my apps lead to.", "nowhere"),
        "allow": Key(
            Many(Text(rules.GRANTEE), one_ok=True), "Who may sign in, bounded by the guardrails.", "nobody"
        ),
        "owner": Key(Text(rules.USER), "The person who answers for it; named on denials.", "nobody"),
        "labels": Key(Many(Text(rules.NAME)), 'What it handles: `Label::"phi"`.', "none"),
        "segment": Key(Text(rules.NAME), "The segment that it is in.", "none"),
        "audience": Key(Text(AUDIENCE), "It is an API: the `aud` of tokens for it.", "none"),
        "oidc": Key(OIDC_CLIENT, "It speaks OpenID Connect.", "no"),
        "saml": Key(SAML_CLIENT, "It speaks SAML 2.0.", "no"),
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
    return {name: _client(name, entry, named) for name, entry in tree.items()}


def _client(name: str, tree: Mapping[str, Any], named: NamedFiles) -> ClientConfig:
    oidc, saml = tree.get("oidc"), tree.get("saml")
    return ClientConfig(
        name=name,
        owner=tree.get("owner"),
        labels=tuple(tree.get("labels", ())),
        segment=tree.get("segment"),
        allow=tuple(tree.get("allow", ())),
        title=tree.get("title", ""),
        url=tree.get("url"),
        audience=tree.get("audience"),
        oidc=None if oidc is None else _oidc(oidc, ("clients", name, "oidc"), named),
        saml=None if saml is None else read_saml_client(saml, ("clients", name, "saml"), named),
    )


def _oidc(tree: Mapping[str, Any], path: Path, named: NamedFiles) -> OidcClient:
    _check_proof(tree, path, named.log)
    life = tree.get("access_token", _DEFAULT.access_token_s)
    if not ACCESS_TOKEN_MIN_S <= life <= ACCESS_TOKEN_MAX_S:
        remedy = "Say something between 30s and 1h: an API believes it until then, whatever happens here."
        named.log.wrong((*path, "access_token"), "`access_token` is too short or too long.", remedy)
    refresh = tree.get("refresh_token", _DEFAULT.refresh_token_s)
    if not 0 < refresh <= REFRESH_TOKEN_MAX_S:
        named.log.wrong((*path, "refresh_token"), "`refresh_token` is no usable time.", "Say 12h, or 30d.")
    grants = tuple(tree.get("grants", _DEFAULT.grants))
    if "authorization_code" in grants and not tree.get("redirect_uris"):
        remedy = "Say where its codes go, or leave authorization_code out of `grants`."
        named.log.wrong((*path, "redirect_uris"), "`redirect_uris` is missing.", remedy)
    return OidcClient(
        redirect_uris=tuple(tree.get("redirect_uris", ())),
        post_logout_redirect_uris=tuple(tree.get("post_logout_redirect_uris", ())),
        auth=tree.get("auth", NONE),
        secrets=tuple(tree.get("secret", ())),
        jwks=named.text(tree.get("jwks"), (*path, "jwks")),
        jwks_uri=tree.get("jwks_uri"),
        grants=grants,
        scopes=tuple(tree.get("scopes", _DEFAULT.scopes)),
        audiences=tuple(tree.get("audiences", ())),
        claims=tree.get("claims", {}),
        access_token_s=float(life),
        refresh_token_s=float(refresh),
        frontchannel_logout_uri=tree.get("frontchannel_logout_uri"),
        backchannel_logout_uri=tree.get("backchannel_logout_uri"),
        signing=tree.get("signing", _DEFAULT.signing),
        dpop=tree.get("dpop", False),
        ca_pem=named.pem(tree.get("ca"), (*path, "ca")),
    )


def _check_proof(tree: Mapping[str, Any], path: Path, log: Log) -> None:
    """Note what does not go with how the client proves itself."""
    auth = tree.get("auth", NONE)
    keys = [key for key in ("jwks", "jwks_uri") if key in tree]
    if auth == SECRET and not tree.get("secret"):
        remedy = "Name the stored secret: `secret: NAME`, set by `limen secret set NAME`."
        log.wrong((*path, "auth"), "A client with a secret names it.", remedy)
    if auth != SECRET and "secret" in tree:
        log.wrong((*path, "secret"), f"`secret` does not go with `auth: {auth}`.", "Say `auth: secret`.")
    if auth == PRIVATE_KEY_JWT and len(keys) != 1:
        remedy = "Name its keys by exactly one of `jwks` and `jwks_uri`."
        log.wrong((*path, "auth"), "A client with a key of its own names its public half.", remedy)
    if auth != PRIVATE_KEY_JWT and keys:
        remedy = "Say `auth: private_key_jwt`."
        log.wrong((*path, keys[0]), f"`{keys[0]}` does not go with `auth: {auth}`.", remedy)


def check_clients(catalogue: Catalogue, log: Log) -> None:
    """Note what only the whole catalogue can tell of its clients."""
    audiences: dict[str, str] = {}
    for client in catalogue.clients.values():
        path: Path = ("clients", client.name)
        if client.audience is not None:
            other = audiences.setdefault(client.audience, client.name)
            if other != client.name:
                remedy = "Give each API an audience of its own: a token for one opens the other."
                log.wrong((*path, "audience"), f"`{other}` has the same audience.", remedy)
        if client.oidc is not None:
            _check_oidc(client.oidc, (*path, "oidc"), catalogue, log)


def _check_oidc(oidc: OidcClient, path: Path, catalogue: Catalogue, log: Log) -> None:
    for index, name in enumerate(oidc.audiences):
        if name not in catalogue.clients or catalogue.clients[name].audience is None:
            remedy = "Declare it under `clients:` with an `audience`."
            log.wrong((*path, "audiences", index), f"There is no API `{name}`.", remedy)
    for claim, field in oidc.claims.items():
        if field not in FIELDS and field not in catalogue.attribute_types:
            remedy = f"Use one of {', '.join(sorted(FIELDS))}, or declare it under `attributes:`."
            log.wrong((*path, "claims", claim), f"There is no field or attribute `{field}`.", remedy)

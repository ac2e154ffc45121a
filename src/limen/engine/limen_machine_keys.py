"""`machines:` of `limen.yaml`: how machines prove themselves."""

import binascii
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from limen.core.errors import Invalid
from limen.core.identity_config import IssuerConfig, MachineConfig, SpiffeConfig
from limen.core.spiffe import is_trust_domain, parse_spiffe_id
from limen.engine import rules
from limen.engine.forms import Duration, Key, Many, MapOf, Rule, Table, Text, Whole
from limen.engine.named_files import NamedFiles
from limen.engine.read_forms import Path

ACCESS_MIN_S, ACCESS_MAX_S = 60.0, 43_200.0
LATER_MAX_S = 366 * 86_400.0

_DEFAULT = MachineConfig()


def _workload(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", text):
        raise ValueError("Use a–z, 0–9, dot, dash and underscore, at most 64.")
    return text


def _trust_domain(text: str) -> str:
    if not is_trust_domain(text):
        raise ValueError("Write the bare name, in lower case: no scheme, no port, no path.")
    return text


def _spiffe_id(text: str) -> str:
    try:
        return str(parse_spiffe_id(text))
    except Invalid as error:
        raise ValueError(error.remedy) from None


def _bundle(text: str) -> str:
    rule = rules.JSON_FILE if text.endswith(".json") else rules.PEM_FILE
    return rule.check(text)


WORKLOAD = Rule('a workload\'s name, such as "ci-deploy"', _workload, r"^[a-z0-9][a-z0-9._-]{0,63}$")
TRUST_DOMAIN = Rule('a SPIFFE trust domain, such as "prod.example"', _trust_domain, r"^[a-z0-9._-]{1,255}$")
SPIFFE_ID = Rule('a SPIFFE ID, such as "spiffe://prod.example/billing"', _spiffe_id, r"^spiffe://[^/]+/.+$")
BUNDLE_FILE = Rule("a .pem or .json file of the bundle", _bundle, r"\.(pem|json)$")

_ISSUER = Table(
    {
        "issuer": Key(Text(rules.ISSUER), "The `iss` of its tokens.", required=True),
        "audience": Key(Text(rules.WORD), "What their `aud` must be, and nothing beside it.", required=True),
        "jwks": Key(Text(rules.JSON_FILE), "Its public keys, a JWK Set in the bundle.", "none"),
        "jwks_uri": Key(
            Text(rules.ISSUER), "Where it publishes its public keys.", "discovered at the issuer"
        ),
        "ca": Key(
            Text(rules.PEM_FILE), "What may sign its certificate, a file of the bundle.", "the system's"
        ),
        "workloads": Key(
            MapOf(WORKLOAD, MapOf(rules.CLAIM, Text(rules.WORD))),
            "Workload to the claims that a token must all have to be of it; `*` is anything without `/` and "
            "`:`, `**` anything.",
            required=True,
        ),
    }
)

_SPIFFE = Table(
    {
        "bundle": Key(
            Text(BUNDLE_FILE), "Its CA certificates: PEM, or a SPIFFE bundle in JSON.", required=True
        ),
        "workloads": Key(MapOf(WORKLOAD, Text(SPIFFE_ID)), "Workload to its SPIFFE ID.", required=True),
    }
)

_MACHINES = Table(
    {
        "issuers": Key(
            MapOf(rules.NAME, _ISSUER), "Whose tokens are exchanged: CI, Kubernetes (RFC 8693).", "none"
        ),
        "spiffe": Key(MapOf(TRUST_DOMAIN, _SPIFFE), "Trust domains whose X.509-SVIDs gateways take.", "none"),
        "port": Key(
            Whole(1, 65_535), "Where gateways ask for client certificates; needed with `spiffe`.", "none"
        ),
        "secrets": Key(
            Many(Text(WORKLOAD), one_ok=True), "Workloads that may have a long-lived shared secret.", "none"
        ),
        "access": Key(Duration(), "How long access tokens live; at most 12h.", "1h"),
        "review": Key(Duration(), "How often owners say that a workload is still needed.", "180d"),
        "owner_grace": Key(Duration(), "How long a workload goes on whose owner has left.", "7d"),
    }
)

MACHINES: Mapping[str, Key] = {
    "machines": Key(_MACHINES, "How machines prove themselves, and for how long.", "keys alone")
}


def read_machines(tree: Mapping[str, Any], named: NamedFiles) -> MachineConfig:
    """Return what the table says."""
    config = MachineConfig(
        issuers=tuple(_issuer(name, one, named) for name, one in tree.get("issuers", {}).items()),
        spiffe=tuple(_spiffe(name, one, named) for name, one in tree.get("spiffe", {}).items()),
        port=tree.get("port"),
        secrets=tuple(tree.get("secrets", ())),
        access_s=tree.get("access", _DEFAULT.access_s),
        review_s=tree.get("review", _DEFAULT.review_s),
        grace_s=tree.get("owner_grace", _DEFAULT.grace_s),
    )
    if config.spiffe and config.port is None:
        remedy = "Say on which port gateways ask for client certificates: `port: 9443`."
        named.log.wrong(("machines", "spiffe"), "`spiffe` needs `port`.", remedy)
    if not ACCESS_MIN_S <= config.access_s <= ACCESS_MAX_S:
        named.log.wrong(("machines", "access"), "`access` is too short or too long.", "Say 1m to 12h.")
    for key, value in (("review", config.review_s), ("owner_grace", config.grace_s)):
        if value > LATER_MAX_S:
            named.log.wrong(("machines", key), f"`{key}` is more than a year.", "Say 180d.")
    _check_issuers(config, named)
    return config


def _issuer(name: str, tree: Mapping[str, Any], named: NamedFiles) -> IssuerConfig:
    path: Path = ("machines", "issuers", name)
    jwks = named.text(tree.get("jwks"), (*path, "jwks"))
    if jwks is not None and _keys_of(jwks) is None:
        named.log.wrong((*path, "jwks"), "The file holds no JWK Set.", 'It looks like {"keys": [...]}.')
    if "jwks" in tree and "jwks_uri" in tree:
        named.log.wrong((*path, "jwks_uri"), "`jwks` and `jwks_uri` are two answers.", "Remove one.")
    workloads = tree.get("workloads", {})
    for workload, claims in workloads.items():
        if not any(value.strip("*") for value in claims.values()):
            said = "Name at least one claim with a value: every token of this issuer would be of it."
            named.log.wrong((*path, "workloads", workload), f"`{workload}` is anybody there.", said)
    return IssuerConfig(
        name=name,
        issuer=tree.get("issuer", ""),
        audience=tree.get("audience", ""),
        jwks=jwks,
        jwks_uri=tree.get("jwks_uri"),
        ca_pem=named.pem(tree.get("ca"), (*path, "ca")),
        workloads=workloads,
    )


def _check_issuers(config: MachineConfig, named: NamedFiles) -> None:
    """One `iss` is one issuer: else which of two rules counts would be a matter of order."""
    seen: dict[str, str] = {}
    for one in config.issuers:
        if one.issuer in seen:
            said = f"`{one.name}` and `{seen[one.issuer]}` are the same issuer."
            named.log.wrong(("machines", "issuers", one.name), said, "Put their workloads together.")
        seen.setdefault(one.issuer, one.name)


def _spiffe(name: str, tree: Mapping[str, Any], named: NamedFiles) -> SpiffeConfig:
    path: Path = ("machines", "spiffe", name)
    workloads = tree.get("workloads", {})
    for workload, spiffe_id in workloads.items():
        if not spiffe_id.startswith(f"spiffe://{name}/"):
            said = f"Write spiffe://{name}/…: a trust domain names its own workloads."
            named.log.wrong((*path, "workloads", workload), f"It is not of `{name}`.", said)
    if len(set(workloads.values())) < len(workloads):
        named.log.wrong((*path, "workloads"), "Two workloads have one SPIFFE ID.", "Give each its own.")
    file = tree.get("bundle")
    if file is not None and file.endswith(".json"):
        text = named.text(file, (*path, "bundle"))
        pem = None if text is None else _pem_of(text)
        if text is not None and pem is None:
            remedy = "Its keys have `use: x509-svid` and one certificate in `x5c`."
            named.log.wrong((*path, "bundle"), f"`{file}` holds no X.509 authorities.", remedy)
    else:
        pem = named.pem(file, (*path, "bundle"))
    return SpiffeConfig(trust_domain=name, bundle_pem=pem or "", workloads=workloads)


def _keys_of(text: str) -> list[Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    keys = found.get("keys") if isinstance(found, dict) else None
    return keys if isinstance(keys, list) and keys else None


def _pem_of(text: str) -> str | None:
    """Return the X.509 authorities of a SPIFFE bundle (Trust Domain and Bundle section 4.2) as PEM."""
    found: list[str] = []
    for key in _keys_of(text) or ():
        chain = key.get("x5c") if isinstance(key, dict) and key.get("use") == "x509-svid" else None
        if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
            continue
        try:
            lines = b64encode(b64decode(chain[0], validate=True)).decode()
        except binascii.Error:
            return None
        body = "\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
        found.append(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    return "".join(found) or None

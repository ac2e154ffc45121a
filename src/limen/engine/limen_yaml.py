"""`limen.yaml` into a catalogue: read by its table of keys, then checked as a whole."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from limen.core.catalogue import (
    AppConfig,
    Catalogue,
    CertificateConfig,
    CorsConfig,
    EdgeConfig,
    IdentityConfig,
    RouteConfig,
    ServiceConfig,
    StreamLimits,
    UpstreamTls,
)
from limen.core.errors import Finding
from limen.core.identity_config import SourcesConfig
from limen.engine.limen_client_keys import read_clients
from limen.engine.limen_export_keys import read_exports
from limen.engine.limen_journal_keys import read_journal
from limen.engine.limen_keys import HEADER_PRESETS, LIMEN_YAML
from limen.engine.limen_ldap_keys import read_ldap
from limen.engine.limen_machine_keys import read_machines
from limen.engine.limen_oidc_keys import read_oidc
from limen.engine.limen_rollout import read_rollout, rollout_or_enforced
from limen.engine.limen_saml_keys import read_saml
from limen.engine.limen_scim_keys import read_scim
from limen.engine.limen_strength_keys import read_notices, read_passkeys, read_recovery
from limen.engine.limen_whole import check_whole
from limen.engine.named_files import NamedFiles
from limen.engine.read_forms import MISSING, Log, Path, Place, read
from limen.engine.yaml_text import YamlRefused, compose

LIMEN_YAML_FILE = "limen.yaml"
LABELLED_STALENESS_MAX_S = 30.0  # architecture.md F3


class Reading:
    """The outcome of reading `limen.yaml`: a catalogue of all that could be read, findings, places."""

    def __init__(self, catalogue: Catalogue, log: Log) -> None:
        self.catalogue = catalogue
        self.findings: Sequence[Finding] = log.findings
        self._log = log

        self.named_files = log.named_files

    def at(self, *path: str | int) -> Place:
        """Return the place of a key or list item."""
        return self._log.at(path)


def parse_limen_yaml(text: str, files: Mapping[str, str]) -> Reading:
    """Read `limen.yaml`. `files` has the certificates that it may name. Never raises for bad content."""
    log = Log(LIMEN_YAML_FILE)
    try:
        root = compose(text, LIMEN_YAML_FILE)
    except YamlRefused as refused:
        log.findings.append(refused.finding)
        return Reading(Catalogue(domain=""), log)
    if root is None:
        log.add((1, 1), "missing-key", "The file is empty.", "Start with `domain: corp.example`.")
        return Reading(Catalogue(domain=""), log)
    found = read(root, LIMEN_YAML, log)
    tree: dict[str, Any] = {} if found is MISSING else found
    catalogue = _catalogue(tree, files, log)
    check_whole(catalogue, log)
    return Reading(catalogue, log)


def _catalogue(tree: Mapping[str, Any], files: Mapping[str, str], log: Log) -> Catalogue:
    domain = tree.get("domain", "")
    sessions = tree.get("sessions", {})
    certificate = tree.get("certificate", {})
    edge = tree.get("edge", {})
    whole = {"cert", "key"} <= certificate.keys()
    named = NamedFiles(files, log)
    base = _Base(domain, _stream_limits(tree.get("streams", {}), StreamLimits(), ("streams",), log))
    return Catalogue(
        domain=domain,
        timezone=tree.get("timezone", "UTC"),
        apps={name: _app(name, base, app, files, log) for name, app in tree.get("apps", {}).items()},
        services={
            name: _service(name, base, service, log) for name, service in tree.get("services", {}).items()
        },
        attributes=tree.get("attributes", {}),
        segments=_segments(tree.get("segments", {})),
        edge=EdgeConfig(tuple(edge.get("trusted_proxies", ())), edge.get("proxy_protocol", False)),
        clients=read_clients(tree.get("clients", {}), named),
        oidc=read_oidc(tree.get("oidc", {}), named),
        sources=SourcesConfig(
            saml=read_saml(tree.get("saml", {}), named),
            ldap=read_ldap(tree.get("ldap", {}), named),
            scim=read_scim(tree.get("scim", {}), named),
            passkeys=read_passkeys(tree.get("passkeys", {}), named),
            recovery=read_recovery(tree.get("recovery", {}), named),
            notices=read_notices(tree.get("notices", {}), named),
            machines=read_machines(tree.get("machines", {}), named),
        ),
        certificate=CertificateConfig(**certificate) if whole else None,
        session_max_s=sessions.get("max_s", 43_200),
        session_idle_s=sessions.get("idle_s", 3_600),
        journal=read_journal(tree.get("journal", {}), log),
        exports=read_exports(tree.get("exports", {}), named.pem, log),
        guardrails_approved=tree.get("policy", {}).get("guardrails", "free") == "approved",
    )


class _Base(NamedTuple):
    """What every app and service of the file builds on."""

    domain: str
    streams: StreamLimits


def _app(name: str, base: _Base, tree: Mapping[str, Any], files: Mapping[str, str], log: Log) -> AppConfig:
    path: Path = ("apps", name)
    routes = tuple(_route(route) for route in tree.get("routes", ()) if {"name", "path"} <= route.keys())
    labelled = bool(tree.get("labels")) or any(route.labels for route in routes)
    upstream = tuple(tree.get("upstream", ()))
    tls = tree.get("upstream_tls")
    encrypted = all(address.startswith("https://") for address in upstream)
    if tls is not None and not encrypted:
        log.wrong(
            (*path, "upstream_tls"),
            f"`{name}` has `upstream_tls` and an http:// upstream.",
            "Use https:// for every upstream, or remove `upstream_tls`.",
        )
    elif not encrypted and any(address.startswith("https://") for address in upstream):
        log.wrong((*path, "upstream"), f"`{name}` mixes http and https.", "Use one of the two for all.")
    return AppConfig(
        name=name,
        host=tree.get("host", f"{name}.{base.domain}"),
        upstream=upstream,
        owner=tree.get("owner"),
        labels=tuple(tree.get("labels", ())),
        segment=tree.get("segment"),
        allow=tuple(tree.get("allow", ())),
        identity=_identity(tree.get("identity", "assertion"), (*path, "identity"), log),
        upstream_tls=_upstream_tls(tls, files, (*path, "upstream_tls"), log) if encrypted else None,
        preserve_host=tree.get("upstream_host", "preserve") == "preserve",
        timeout_s=float(tree.get("timeout_s", 60)),
        max_body_bytes=tree.get("max_body_bytes", 50_000_000),
        staleness_max_s=float(tree.get("staleness_max_s", LABELLED_STALENESS_MAX_S if labelled else 300)),
        allow_encoded_slash="encoded_slash" in tree.get("paths", {}).get("allow", ()),
        cors=CorsConfig(tuple(tree["cors"].get("origins", ()))) if "cors" in tree else None,
        routes=routes,
        trusts=tuple(tree.get("trusts", ())),
        upgrades=tuple(tree.get("upgrades", ("websocket",))),
        http2=tree.get("http2", False),
        streams=_stream_limits(tree.get("streams", {}), base.streams, (*path, "streams"), log),
        rollout=rollout_or_enforced(tree),
    )


def _service(name: str, base: _Base, tree: Mapping[str, Any], log: Log) -> ServiceConfig:
    address, _, port = tree.get("address", ":0").rpartition(":")
    usual_s = LABELLED_STALENESS_MAX_S if tree.get("labels") else 300
    return ServiceConfig(
        name=name,
        host=f"{name}.{base.domain}",
        address=address.strip("[]"),
        port=int(port),
        protocol=tree.get("protocol", "tcp"),
        owner=tree.get("owner"),
        labels=tuple(tree.get("labels", ())),
        segment=tree.get("segment"),
        allow=tuple(tree.get("allow", ())),
        staleness_max_s=float(tree.get("staleness_max_s", usual_s)),
        streams=_stream_limits(tree.get("streams", {}), base.streams, ("services", name, "streams"), log),
        rollout=rollout_or_enforced(tree),
    )


def _stream_limits(tree: Mapping[str, Any], usual: StreamLimits, path: Path, log: Log) -> StreamLimits:
    own = {key: float(value) if key.endswith("_s") else value for key, value in tree.items()}
    limits = msgspec.structs.replace(usual, **own)
    if "idle_s" in own and limits.idle_s > limits.max_s:
        log.wrong(
            (*path, "idle_s"),
            f"`idle_s` is longer than `max_s`, which is {limits.max_s:.0f} here.",
            "Make it shorter than a stream's whole life.",
        )
    return limits


def _route(tree: Mapping[str, Any]) -> RouteConfig:
    return RouteConfig(
        name=tree["name"],
        path=tree["path"],
        methods=tuple(tree.get("methods", ())),
        action=tree.get("action"),
        public=tree.get("public", False),
        labels=tuple(tree.get("labels", ())),
        streaming=tree.get("streaming", False),
        rollout=read_rollout(tree["mode"]) if "mode" in tree else None,
    )


def _identity(tree: Any, path: Path, log: Log) -> IdentityConfig:
    if isinstance(tree, str) or path in log.spoiled:
        return IdentityConfig()
    if len(tree) != 1:
        log.wrong(
            path, "`identity` needs exactly one of headers and basic.", "Keep the one that the app needs."
        )
        return IdentityConfig()
    if "basic" in tree:
        basic = tree["basic"]
        if ":" in basic.get("user", ""):
            log.wrong(
                (*path, "basic", "user"), "A Basic user has no colon (RFC 7617 section 2).", "Remove it."
            )
        return IdentityConfig("basic", {}, basic.get("user", ""), basic.get("secret", ""))
    own = dict(tree["headers"])
    headers = {**HEADER_PRESETS.get(own.pop("preset", ""), {}), **own}
    if not headers:
        log.wrong((*path, "headers"), "`headers` names no header.", "Add `preset:` or `user:`.")
    if len({header.lower() for header in headers.values()}) < len(headers):
        log.wrong((*path, "headers"), "Two fields go to one header.", "Give each a header of its own.")
    return IdentityConfig("headers", headers)


def _upstream_tls(
    tree: Mapping[str, Any] | None, files: Mapping[str, str], path: Path, log: Log
) -> UpstreamTls | None:
    if tree is None:
        return None
    return UpstreamTls(NamedFiles(files, log).pem(tree.get("ca"), (*path, "ca")), tree.get("name"))


def _segments(tree: Mapping[str, Mapping[str, str]]) -> dict[str, str | None]:
    segments: dict[str, str | None] = {name: entry.get("in") for name, entry in tree.items()}
    for above in tuple(segments.values()):
        if above is not None:
            segments.setdefault(above, None)  # naming a parent declares it
    return segments

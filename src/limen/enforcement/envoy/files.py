"""Configuration files that Envoy watches: rendered whole, written beside, renamed over."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from limen.core.catalogue import Catalogue
from limen.core.secret import Secret
from limen.enforcement.certificates import Pair
from limen.enforcement.envoy.clusters import render_clusters
from limen.enforcement.envoy.config import (
    render_bootstrap,
    render_secret,
    render_trust,
    render_validation,
)
from limen.enforcement.envoy.fixed_clusters import control_identity, control_roots, endpoints_of
from limen.enforcement.envoy.listener import render_listeners
from limen.enforcement.envoy.routes import render_routes
from limen.enforcement.envoy.settings import CHECK_CLUSTER, LEASH_CLUSTER, EnvoySettings


class Discovery(msgspec.Struct, frozen=True):
    """Resources of one kind with the version that Envoy reports once it has taken them."""

    version: str
    resources: tuple[dict[str, Any], ...]

    def encode(self) -> bytes:
        """Return the file's content."""
        return msgspec.json.encode({"version_info": self.version, "resources": self.resources})


class Configuration(msgspec.Struct, frozen=True):
    """Everything of one catalogue. `sds` holds a private key; `sds_machines` is empty without machines."""

    bootstrap: dict[str, Any]
    lds: Discovery
    cds: Discovery
    rds: Discovery
    sds: Discovery
    sds_machines: Discovery

    def __repr__(self) -> str:
        return f"Configuration({self.version})"

    @property
    def version(self) -> str:
        """One short name for the whole, as shown in the status."""
        parts = (self.lds, self.cds, self.rds, self.sds, self.sds_machines)
        return _version([part.version for part in parts])

    def encode_bootstrap(self) -> bytes:
        """Return the file that Envoy is started with."""
        return msgspec.json.encode(self.bootstrap)

    def validation(self, settings: EnvoySettings) -> bytes:
        """Return the static whole that `envoy --mode validate` reads."""
        return msgspec.json.encode(
            render_validation(settings, self.lds.resources, self.rds.resources[0], self.cds.resources)
        )


def render_configuration(catalogue: Catalogue, pair: Pair, settings: EnvoySettings) -> Configuration:
    """Return the configuration of a catalogue. Equal inputs give equal versions."""
    trusted = catalogue.sources.machines.spiffe
    return Configuration(
        bootstrap=render_bootstrap(settings),
        lds=discovery(render_listeners(catalogue, settings)),
        cds=discovery(render_clusters(catalogue, settings)),
        rds=discovery([render_routes(catalogue, settings)]),
        sds=discovery([render_secret(pair.cert_pem, pair.key_pem.reveal())]),
        sds_machines=discovery([render_trust(trusted)] if trusted else []),
    )


def render_endpoints(settings: EnvoySettings) -> Mapping[str, Discovery]:
    """Return the files `eds_check` and `eds_leash`: where the slot that decides answers."""
    return {
        "eds_check": discovery([endpoints_of(CHECK_CLUSTER, settings.check_socket)]),
        "eds_leash": discovery([endpoints_of(LEASH_CLUSTER, settings.leash_socket)]),
    }


def render_control_identity(cert_pem: str, key_pem: Secret[str], roots_pem: str) -> Mapping[str, Discovery]:
    """Return the files `sds_control` and `sds_control_roots`, needed where `settings.control` is set."""
    return {
        "sds_control": discovery([control_identity(cert_pem, key_pem.reveal())]),
        "sds_control_roots": discovery([control_roots(roots_pem)]),
    }


def load_configuration(settings: EnvoySettings) -> Configuration | None:
    """Return what was installed last, or None where nothing whole is left."""
    found: dict[str, Discovery] = {}
    try:
        for kind in ("lds", "cds", "rds", "sds", "sds_machines"):
            path = settings.file(kind)
            if kind == "sds_machines" and not path.exists():  # of a release that knew no machines
                found[kind] = discovery([])
                continue
            content = msgspec.json.decode(path.read_bytes())
            found[kind] = Discovery(content["version_info"], tuple(content["resources"]))
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return None
    return Configuration(bootstrap=render_bootstrap(settings), **found)


def discovery(resources: list[dict[str, Any]]) -> Discovery:
    """Name resources by their content."""
    return Discovery(_version(resources), tuple(resources))


def both(old: Discovery, new: Discovery) -> Discovery:
    """Return `new` with what only `old` has: clusters that routes still name until they change."""
    names = {resource["name"] for resource in new.resources}
    kept = [resource for resource in old.resources if resource["name"] not in names]
    return discovery([*new.resources, *kept]) if kept else new


def write_private(path: Path, content: bytes) -> None:
    """Replace a file at once, readable by its owner only."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.rename(path)


def _version(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]

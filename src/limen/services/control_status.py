"""What `limen status` is told of the system as it is configured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limen.administrator.desk import Desk
from limen.core.catalogue import Catalogue
from limen.core.errors import LimenError
from limen.services.state import StateDir, read_bundle


def describe_doors(catalogue: Catalogue, desk: Desk) -> dict[str, Any]:
    """Return where everything is that the bundle in force names."""
    return {
        "domain": catalogue.domain,
        "auth_url": desk.auth_origin,
        "apps": [
            {"name": app.name, "url": desk.origin(app.host), "upstream": list(app.upstream)}
            for app in catalogue.apps.values()
        ],
        "services": [
            {"name": service.name, "host": service.host, "address": f"{service.address}:{service.port}"}
            for service in catalogue.services.values()
        ],
    }


def describe_state(catalogue: Catalogue, state: StateDir) -> dict[str, Any]:
    """Return where the state is, and what browsers must trust."""
    ca_file = state.root / "ca" / "ca.pem"
    return {
        "development_ca": catalogue.certificate is None,
        "ca_file": str(ca_file) if catalogue.certificate is None else None,
        "state_dir": str(state.root),
    }


def folder_differs(folder: Path | None, files: Mapping[str, str]) -> bool:
    """Whether the bundle's folder holds other files than those in force, or none that can be read."""
    if folder is None:
        return False
    try:
        return read_bundle(folder) != dict(files)
    except LimenError:
        return True

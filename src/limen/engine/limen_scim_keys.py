"""`scim:` of `limen.yaml`: who provisions people here."""

from collections.abc import Mapping
from typing import Any

from limen.core.identity_config import ScimConfig
from limen.engine.forms import Key
from limen.engine.named_files import NamedFiles

SCIM: Mapping[str, Key] = {}


def read_scim(tree: Mapping[str, Any], named: NamedFiles) -> tuple[ScimConfig, ...]:
    """Return what the table says."""
    return ()

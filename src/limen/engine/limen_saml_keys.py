"""`saml:` of `limen.yaml`, and what a SAML client needs."""

from collections.abc import Mapping
from typing import Any

from limen.core.identity_config import SamlConfig
from limen.engine.forms import Key
from limen.engine.named_files import NamedFiles

SAML: Mapping[str, Key] = {}


def read_saml(tree: Mapping[str, Any], named: NamedFiles) -> tuple[SamlConfig, ...]:
    """Return what the table says."""
    return ()

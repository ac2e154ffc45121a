"""`ldap:` of `limen.yaml`: directories that are read."""

from collections.abc import Mapping
from typing import Any

from limen.core.identity_config import LdapConfig
from limen.engine.forms import Key
from limen.engine.named_files import NamedFiles

LDAP: Mapping[str, Key] = {}


def read_ldap(tree: Mapping[str, Any], named: NamedFiles) -> tuple[LdapConfig, ...]:
    """Return what the table says."""
    return ()

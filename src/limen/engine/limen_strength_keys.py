"""`passkeys:`, `recovery:` and `notices:` of `limen.yaml`."""

from collections.abc import Mapping
from typing import Any

from limen.core.identity_config import NoticeConfig, PasskeyConfig, RecoveryConfig
from limen.engine.forms import Key
from limen.engine.named_files import NamedFiles

STRENGTH: Mapping[str, Key] = {}


def read_passkeys(tree: Mapping[str, Any], named: NamedFiles) -> PasskeyConfig:
    """Return what the table says."""
    return PasskeyConfig()


def read_recovery(tree: Mapping[str, Any], named: NamedFiles) -> RecoveryConfig:
    """Return what the table says."""
    return RecoveryConfig()


def read_notices(tree: Mapping[str, Any], named: NamedFiles) -> NoticeConfig:
    """Return what the table says."""
    return NoticeConfig()

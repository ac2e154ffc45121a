"""`machines:` of `limen.yaml`: how machines prove themselves."""

from collections.abc import Mapping
from typing import Any

from limen.core.identity_config import MachineConfig
from limen.engine.forms import Key
from limen.engine.named_files import NamedFiles

MACHINES: Mapping[str, Key] = {}


def read_machines(tree: Mapping[str, Any], named: NamedFiles) -> MachineConfig:
    """Return what the table says."""
    return MachineConfig()

"""What governance computes apart (`limen.administrator.apart`): from a job to JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from limen.administrator.apart import Tell
from limen.core.ids import Instant
from limen.engine.bundle import parse_bundle
from limen.governance.friction import measure_friction
from limen.governance.least_privilege import Standing, propose
from limen.governance.uses import collect_uses
from limen.journal.reader import JournalReader

FRICTION = f"{__name__}:friction"
LEAST_PRIVILEGE = f"{__name__}:least_privilege"


class FrictionJob(msgspec.Struct, frozen=True):
    """`groups`: those of each person, the ones above included."""

    journal: str
    since: Instant
    groups: Mapping[str, tuple[str, ...]]


class LeastPrivilegeJob(msgspec.Struct, frozen=True):
    """`files`: the active bundle. `standing`: what the directory holds."""

    journal: str
    since: Instant
    files: Mapping[str, str]
    standing: Standing


def friction(job: Any, _tell: Tell) -> Any:
    """Measure friction."""
    asked = msgspec.convert(job, FrictionJob)
    records = JournalReader(Path(asked.journal)).read(since=asked.since)
    return msgspec.to_builtins(
        measure_friction(records, asked.since, lambda person: asked.groups.get(person, ()))
    )


def least_privilege(job: Any, tell: Tell) -> Any:
    """Propose what recorded use does not need."""
    asked = msgspec.convert(job, LeastPrivilegeJob)
    records = JournalReader(Path(asked.journal)).read(since=asked.since)
    uses = collect_uses(records, asked.since)
    return msgspec.to_builtins(propose(parse_bundle(asked.files), uses, asked.standing, asked.since, tell))

"""Rollout stages: how far a resource is on its way to zero trust, and what each stage enforces.

Laws:
    M1 no assertion. A mode never asserts what was not authenticated: without a session there is no
       identity, and services are never opened without one.
    M2 hard stops. What is no judgement of a policy (a subject that is quarantined, suspended, ended or
       unknown, stale facts, a failed engine, a forged or misrouted request) is denied in every mode.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from limen.core.decision import Code
from limen.core.ids import EntityRef


class Mode(StrEnum):
    """What a denial by policy does. Enforce is the default."""

    OBSERVE = "observe"  # recorded, and let through
    WARN = "warn"  # let through, and the person is told
    ENFORCE = "enforce"


STRICTNESS: Mapping[str, int] = {Mode.OBSERVE: 0, Mode.WARN: 1, Mode.ENFORCE: 2}

SOFT_CODES = frozenset({Code.NO_PERMIT, Code.FORBIDDEN, Code.POLICY_ERROR, Code.NO_SESSION})
"""The only denials that `observe` and `warn` let through (law M2)."""


class Stage(msgspec.Struct, frozen=True):
    """One stage of a rollout.

    Attributes:
        mode: what a denial does.
        owner: the person who answers for the stage; empty is the resource's owner.
        until: ISO date (YYYY-MM-DD, in the bundle's timezone) on which the next stage is due; of `warn`,
            the date from which it is denied. Empty when none was named.
    """

    mode: Mode = Mode.ENFORCE
    owner: str = ""
    until: str = ""


class Rollout(msgspec.Struct, frozen=True):
    """The stage of a resource, and those of groups within it.

    Attributes:
        sign_in: False lets navigations in `observe` and `warn` through without a session.
        groups: stages of groups, by name: pilots first.
    """

    stage: Stage = Stage()
    sign_in: bool = True
    groups: Mapping[str, Stage] = {}

    def stage_of(self, groups: frozenset[EntityRef]) -> Stage:
        """Return the stage of a subject in these groups: its strictest one, else the resource's."""
        own = [stage for name, stage in self.groups.items() if EntityRef("Group", name) in groups]
        return max(own, key=lambda stage: STRICTNESS[stage.mode], default=self.stage)

    @property
    def enforced(self) -> bool:
        """Whether nothing is let through for anybody: true of nearly every resource."""
        return self.stage.mode is Mode.ENFORCE and all(
            stage.mode is Mode.ENFORCE for stage in self.groups.values()
        )


ENFORCED = Rollout()


def softened(rollout: Rollout, code: Code, groups: frozenset[EntityRef] | None) -> Stage | None:
    """Return the stage by which a denial is let through; None: the denial stands, as it nearly always does.

    Args:
        groups: what somebody is in whose session was verified; None for somebody who has none. Only to
            the latter may the code say that there is no session (law M1).
    """
    if code not in SOFT_CODES or (groups is None) != (code is Code.NO_SESSION):
        return None
    stage = rollout.stage if groups is None else rollout.stage_of(groups)
    return None if stage.mode is Mode.ENFORCE else stage

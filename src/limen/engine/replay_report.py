"""What a replay found: who gains, who loses, on what, how often, by which policy. Frozen values.

A difference is told twice, as it is of two kinds: what the policies *say*, and what is *enforced*. A
resource that is in `observe` loses nobody anything, whatever its policies say.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from limen.core.ids import Instant


class Effect(StrEnum):
    """What a difference does to the people whom it meets. In the order in which a reader wants them."""

    LOSES = "loses"  # let through before, denied now
    STEP_UP = "step_up"  # let through before, denied now until they prove more by signing in
    SIGN_IN = "sign_in"  # let through before without anybody signed in, asked to sign in now
    GAINS = "gains"  # denied before, let through now
    WOULD_LOSE = "would_lose"  # the policies say no now, and the mode enforces nothing
    WOULD_GAIN = "would_gain"  # the policies say yes now; it was let through before


LOSSES = frozenset({Effect.LOSES, Effect.STEP_UP, Effect.SIGN_IN})
"""Effects by which somebody meets a closed door that was open."""


class Side(msgspec.Struct, frozen=True, order=True):
    """One side of a difference.

    Attributes:
        verdict: what the policies say.
        enforced: what happened, or would happen: differs from `verdict` in `observe` and `warn`.
    """

    resource: str
    action: str
    verdict: str
    enforced: str
    code: str
    policies: tuple[str, ...] = ()
    mode: str = "enforce"


class Difference(msgspec.Struct, frozen=True):
    """One group of equal differences.

    Attributes:
        remedies: what would make it an allow again, of a loss that was explained.
        times: decisions.
        who: how often each, by subject; empty where nobody was signed in.
        groups: how many of these people are in each group, the largest first.
        samples: ids of some of the decisions.
        owner: who owns the resource.
    """

    effect: Effect
    before: Side
    after: Side
    times: int
    first_at: Instant
    last_at: Instant
    remedies: tuple[str, ...] = ()
    who: Mapping[str, int] = {}
    groups: tuple[tuple[str, int], ...] = ()
    samples: tuple[str, ...] = ()
    owner: str = ""

    @property
    def people(self) -> int:
        """How many subjects meet it."""
        return len(self.who)


class Underived(msgspec.Struct, frozen=True):
    """Decisions that could not be derived, and why."""

    reason: str
    sentence: str
    times: int
    samples: tuple[str, ...] = ()


class Mismatch(msgspec.Struct, frozen=True):
    """A decision that does not follow from its stored inputs and its own bundle: an error.

    `field` is what differs: `verdict`, `code`, `policies`, `errors`, or `inputs` where these are not whole.
    """

    decision: str
    field: str
    recorded: str
    derived: str


class Report(msgspec.Struct, frozen=True, tag="report"):
    """What a replay found.

    Attributes:
        bundle: the candidate's id; empty where each decision was derived under its own bundle.
        recorded_bundles: those under which the decisions were made, with how many.
        decisions: read, of these `derived`, of which `same` in what is said and what is enforced.
        inputs: distinct stored inputs that they shared.
        evaluations: questions that Cedar was asked.
        mismatches: the first of `mismatched`.
        notes: what the reader must know: what was supposed, what cannot be known.
    """

    bundle: str
    recorded_bundles: Mapping[str, int] = {}
    since: Instant | None = None
    first_at: Instant | None = None
    last_at: Instant | None = None
    decisions: int = 0
    derived: int = 0
    same: int = 0
    inputs: int = 0
    evaluations: int = 0
    took_s: float = 0.0
    differences: tuple[Difference, ...] = ()
    underived: tuple[Underived, ...] = ()
    mismatched: int = 0
    mismatches: tuple[Mismatch, ...] = ()
    notes: tuple[str, ...] = ()

    def who(self, *effects: Effect) -> tuple[str, ...]:
        """Return the subjects whom one of these effects meets, sorted."""
        found = (difference.who for difference in self.differences if difference.effect in effects)
        return tuple(sorted({subject for who in found for subject in who}))

    def times(self, *effects: Effect) -> int:
        """Return how many decisions have one of these effects."""
        return sum(difference.times for difference in self.differences if difference.effect in effects)

    @property
    def losers(self) -> tuple[str, ...]:
        """Whoever was let through and would be denied, a step-up apart."""
        return self.who(Effect.LOSES)

    @property
    def gainers(self) -> tuple[str, ...]:
        """Whoever was denied and would be let through."""
        return self.who(Effect.GAINS)

    @property
    def steppers(self) -> tuple[str, ...]:
        """Whoever was let through and would have to prove more by signing in."""
        return self.who(Effect.STEP_UP)

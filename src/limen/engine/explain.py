"""Why a denial, and what would make it an allow: asked of the engine itself, one change at a time.

Single remedies first, then pairs; the first size that flips the decision is shown. Deterministic, at
most `EVALUATIONS_MAX` decisions, off the hot path. Below AAL2 nothing is told about devices: a stolen
password must not learn what a thief's laptop would need. The second factor is proposed instead.
"""

from itertools import combinations

import msgspec

from limen.core.decision import AccessRequest, Code, Decision, Explanation, Facts, Remedy
from limen.core.needs import NEEDS, SECOND_FACTOR
from limen.engine.decide import decide
from limen.engine.policies import Policies
from limen.engine.reads import policy_reads
from limen.engine.remedies import DEVICE_REMEDIES, WEAKER, Candidate, apply, candidates

EVALUATIONS_MAX = 32  # design/decision.md, "Explaining a denial"
SIZE_MAX = 2
VERBS = {
    "read": "read",
    "write": "change",
    "admin": "administer",
    "connect": "connect to",
    "sign_in": "sign in to",
}
"""Actions as a person says them."""

SENTENCES = {
    Code.NO_SESSION: "You are not signed in.",
    Code.SUBJECT_UNKNOWN: "The directory does not know this account.",
    Code.SUBJECT_SUSPENDED: "This account is suspended.",
    Code.SUBJECT_ENDED: "This account has ended.",
    Code.SUBJECT_EXPIRED: "This account has expired.",
    Code.QUARANTINED: "Access is on hold while a security concern is looked into.",
    Code.GROUPS_UNKNOWN: "The identity provider did not list this account's groups; no other source has.",
    Code.STATE_STALE: "The gateway's picture of the world is too old to decide on.",
    Code.ENGINE_FAILED: "The request could not be decided.",
}
"""Built-in refusals. No policy took part, so no remedy is searched."""

_SECOND_FACTOR = Remedy(SECOND_FACTOR, NEEDS[SECOND_FACTOR].cure)
_SIGN_IN = Remedy("sign-in", "Sign in.")
_HIDDEN_REASON = "Sign in with a second factor to see what else is needed."

Found = tuple[Candidate, ...]


def explain(
    request: AccessRequest, facts: Facts, policies: Policies, *, below_aal2_hides: bool = True
) -> Explanation:
    """Say why a request is denied and what would cure it. An allowed one has nothing to explain.

    `remedies` is one set to apply together, the preferred one; `alternatives` are the other sets of
    that size. `below_aal2_hides` is for the person; the help desk and tests see everything.
    """
    decision = decide(request, facts, policies)
    if decision.allowed:
        return Explanation((), ())
    if decision.code in SENTENCES:
        remedies = (_SIGN_IN,) if decision.code is Code.NO_SESSION else ()
        return Explanation((SENTENCES[decision.code],), remedies, _owner(facts), 1)
    search = _Search(request, facts, policies)
    found = search.run()
    whole = Explanation(
        reasons=tuple(_reason(policy, policies) for policy in decision.policies)
        or (f"No policy allows you to {VERBS.get(request.action, request.action)} {request.resource.id}.",),
        remedies=_shown(found[0]) if found else (),
        owner=_owner(facts),
        evaluations=1 + search.evaluations,
        alternatives=tuple(_shown(one) for one in found[1:]),
    )
    weak = facts.session is not None and facts.session.aal < 2
    return _without_devices(whole, decision, policies) if weak and below_aal2_hides else whole


class _Search:
    """Looks for the smallest sets of remedies that flip the decision."""

    def __init__(self, request: AccessRequest, facts: Facts, policies: Policies) -> None:
        self._request = request
        self._facts = facts
        self._policies = policies
        self.evaluations = 0

    def run(self) -> list[Found]:
        """Return all sets of the first size that flips, the preferred one first."""
        part = self._policies.plan(self._request.action, self._facts)
        offered = candidates(self._request, self._facts, part)
        for size in range(1, SIZE_MAX + 1):
            found = [
                one
                for one in combinations(offered, size)
                if len({candidate.family for candidate in one}) == size and self._flips(one)
            ]
            if found:
                return _undominated(found)
        return []

    def _flips(self, one: Found) -> bool:
        if self.evaluations + 1 >= EVALUATIONS_MAX:  # the decision itself was the first
            return False
        self.evaluations += 1
        return decide(*apply(one, self._request, self._facts), self._policies).allowed


def _undominated(found: list[Found]) -> list[Found]:
    """Leave out sets that ask for more than another one: a passkey where any second factor does."""
    known = {_ids(one) for one in found}
    kept: list[Found] = []
    latest: set[frozenset[str]] = set()
    for one in found:
        ids = _ids(one)
        if ids not in latest and not any(weaker in known for weaker in _weaker(ids)):
            latest.add(ids)  # of several later instants the first is enough
            kept.append(one)
    return kept


def _ids(one: Found) -> frozenset[str]:
    return frozenset(candidate.remedy.id for candidate in one)


def _weaker(ids: frozenset[str]) -> list[frozenset[str]]:
    return [ids - {strong} | {weak} for strong, weak in WEAKER.items() if strong in ids]


def _shown(one: Found) -> tuple[Remedy, ...]:
    return tuple(candidate.remedy for candidate in one)


def _reason(policy_id: str, policies: Policies) -> str:
    policy = policies.policy(policy_id)
    return policy.reason if policy is not None else f"The policy {policy_id} forbids it."


def _without_devices(whole: Explanation, decision: Decision, policies: Policies) -> Explanation:
    """Return the explanation with nothing in it that tells of devices."""
    told = [reason for reason, device in _device_reasons(whole, decision, policies) if not device]
    sets = [s for s in (whole.remedies, *whole.alternatives) if s and DEVICE_REMEDIES.isdisjoint(_names(s))]
    if not sets and whole.remedies:
        sets = [(_SECOND_FACTOR,)]
    hidden = len(told) < len(whole.reasons)
    return msgspec.structs.replace(
        whole,
        reasons=(*told, _HIDDEN_REASON) if hidden else whole.reasons,
        remedies=sets[0] if sets else (),
        alternatives=tuple(sets[1:]),
    )


def _device_reasons(whole: Explanation, decision: Decision, policies: Policies) -> list[tuple[str, bool]]:
    told: list[tuple[str, bool]] = []
    for index, reason in enumerate(whole.reasons):
        policy = policies.policy(decision.policies[index]) if decision.policies else None
        told.append((reason, policy is not None and "device" in policy_reads(policy.est).fields))
    return told


def _names(remedies: tuple[Remedy, ...]) -> frozenset[str]:
    return frozenset(remedy.id for remedy in remedies)


def _owner(facts: Facts) -> str | None:
    """Return who owns the resource: its own owner, or the owner of the app that it is a part of."""
    owners = {
        entity.ref: entity.attrs["owner"]["__entity"]["id"]
        for entity in facts.resource.entities
        if "owner" in entity.attrs and entity.ref in facts.resource.ancestors
    }
    root = facts.resource.root
    return owners.get(root) or next((owners[ref] for ref in sorted(owners)), None)

"""Least privilege: what recorded use does not need, and a bundle without it that takes nothing away.

Law:
    G1 nobody loses. Every recorded use that the active bundle still allows is allowed by the proposal:
       by the proposed bundle, without the proposed grants, outside the proposed memberships.

What is not used is not always not needed: a yearly audit, a break-glass account. So this proposes, shows
on how much it stands, and changes nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from limen.core.decision import Grant
from limen.core.errors import LimenError
from limen.core.ids import EntityRef, Instant
from limen.core.record import InputsRecord
from limen.core.resources import ACTIONS_ON
from limen.engine.bundle import Bundle, parse_bundle
from limen.engine.bundle_tests import run_tests
from limen.engine.cedar import GRANT_PREFIX
from limen.engine.memo import Memo
from limen.engine.policies import Policies, compile_policies
from limen.engine.replay import restore
from limen.governance.bundle_edit import narrow_policy, remove_policies, unified_diff
from limen.governance.needs import Asked, Progress, still_allowed, unneeded_memberships
from limen.governance.uses import Uses


class Standing(msgspec.Struct, frozen=True):
    """What the directory holds now.

    Attributes:
        memberships: direct groups of each active person and workload, by subject.
        tokens: (id, owner, last use or None) of each token.
    """

    memberships: tuple[tuple[EntityRef, tuple[str, ...]], ...] = ()
    grants: tuple[Grant, ...] = ()
    workloads: tuple[str, ...] = ()
    tokens: tuple[tuple[str, str, Instant | None], ...] = ()


class Unused(msgspec.Struct, frozen=True):
    """Something that recorded use does not need. `kind` is entitlement, action, membership, grant,
    workload or token."""

    kind: str
    id: str
    who: str = ""
    why: str = ""
    last_used_at: Instant | None = None


class Proposal(msgspec.Struct, frozen=True):
    """What could go, and the proof that nobody who used access loses it.

    Attributes:
        files: the proposed bundle; equal to the active one when no policy is unneeded.
        diff: the change of its text.
        uses, decisions: distinct uses, and the decisions that they stand for.
        losers: uses that the proposal would deny (law G1: none).
        since: of the oldest decision that was read; what nobody did before it is not known.
        failed_tests: tests of the bundle that speak for access which nobody used.
        notes: what could not be known or edited.
    """

    unused: tuple[Unused, ...]
    files: Mapping[str, str]
    diff: str
    uses: int
    decisions: int
    since: Instant | None = None
    losers: tuple[str, ...] = ()
    failed_tests: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def propose(
    bundle: Bundle, uses: Uses, standing: Standing, since: Instant, progress: Progress | None = None
) -> Proposal:
    """Find what recorded use since an instant does not need."""
    policies = compile_policies(bundle)
    asked = _ask_all(uses, policies)
    kept_notes: list[str] = []
    if uses.lost:
        kept_notes.append(f"{uses.lost} decisions could not be derived again: their inputs are gone.")
    gone = _unneeded_permits(bundle, standing.grants, asked)
    narrowed = _narrower(bundle, gone, asked)
    files = _edited(bundle, gone, narrowed, kept_notes)
    candidate = _checked(bundle, files, kept_notes)
    after = compile_policies(candidate) if candidate.id != bundle.id else policies
    grants = frozenset(name for name in gone if name.startswith(GRANT_PREFIX))
    memberships = unneeded_memberships(standing.memberships, asked, after, grants, progress)
    losers = _losers(asked, after, grants, memberships)
    results = run_tests(candidate)
    unused = (
        *_unused_permits(candidate, bundle, gone, narrowed, standing.grants),
        *(Unused("membership", group, str(ref)) for ref, group in sorted(memberships)),
        *_idle(standing, uses, since),
    )
    return Proposal(
        unused,
        candidate.files,
        unified_diff(bundle.files, candidate.files),
        len(asked),
        sum(one.use.count for one in asked),
        uses.first_at,
        losers,
        tuple(result.name for result in results if not result.passed),
        tuple(kept_notes),
    )


# --- what was used --------------------------------------------------------------------------------


def _ask_all(uses: Uses, policies: Policies) -> list[Asked]:
    """Ask each use of the active bundle; those that it denies anyway bind nobody."""
    memo, found = Memo(), []
    for use in uses.uses:
        request, facts = restore(use.sample, InputsRecord(use.sample.inputs, uses.inputs[use.sample.inputs]))
        facts = msgspec.structs.replace(facts, age_s=0.0)
        decision = memo.decide(request, facts, policies)
        if decision.allowed:
            found.append(Asked(use, request, facts, frozenset(decision.policies)))
    return found


# --- permits and grants ---------------------------------------------------------------------------


def _unneeded_permits(bundle: Bundle, grants: tuple[Grant, ...], asked: list[Asked]) -> frozenset[str]:
    """Return permits and grants without which each use still has another permit: the least used first."""
    weight: dict[str, int] = {}
    for one in asked:
        for name in one.permits:
            weight[name] = weight.get(name, 0) + one.use.count
    names = [GRANT_PREFIX + grant.id for grant in grants]
    names += [policy.id for policy in bundle.policies if policy.layer in ("entitlement", "sugar")]
    gone: set[str] = set()
    for name in sorted(names, key=lambda one: (weight.get(one, 0), one)):
        if all(name not in one.permits or one.permits - gone - {name} for one in asked):
            gone.add(name)
    return frozenset(gone)


def _narrower(bundle: Bundle, gone: frozenset[str], asked: list[Asked]) -> dict[str, tuple[str, ...]]:
    """Return entitlements of which only some of the actions are used, with those."""
    found: dict[str, tuple[str, ...]] = {}
    for policy in bundle.policies:
        if policy.layer != "entitlement" or policy.id in gone:
            continue
        used = {one.request.action for one in asked if policy.id in one.permits}
        if used and used < _actions_of(policy.est):
            found[policy.id] = tuple(sorted(used))
    return found


def _actions_of(est: Mapping[str, Any]) -> set[str]:
    """Return the actions that a policy's scope covers."""
    every = {action for actions in ACTIONS_ON.values() for action in actions}
    scope = est["action"]
    named = [scope["entity"]] if "entity" in scope else scope.get("entities", [])
    ids = {entity["id"] for entity in named}
    return every if scope["op"] == "All" or "access" in ids else ids


def _edited(
    bundle: Bundle, gone: frozenset[str], narrowed: Mapping[str, tuple[str, ...]], notes: list[str]
) -> dict[str, str]:
    """Return the bundle's files without what is not needed; what cannot be edited is noted."""
    removable = [policy.id for policy in bundle.policies if policy.id in gone]
    by_id = {policy.id: policy for policy in bundle.policies}
    try:
        files = remove_policies(bundle, removable)
        for policy_id, actions in narrowed.items():
            files = narrow_policy(files, by_id[policy_id], actions)
    except ValueError as error:
        notes.append(f"The files are not edited: {error}. Do it by hand.")
        return dict(bundle.files)
    return files


def _checked(bundle: Bundle, files: Mapping[str, str], notes: list[str]) -> Bundle:
    try:
        return parse_bundle(files)
    except LimenError as error:
        notes.append(f"The files are not edited: {error.message} Do it by hand.")
        return bundle


def _unused_permits(
    candidate: Bundle,
    bundle: Bundle,
    gone: frozenset[str],
    narrowed: Mapping[str, tuple[str, ...]],
    grants: tuple[Grant, ...],
) -> Iterable[Unused]:
    left = {policy.id for policy in candidate.policies}
    for policy in bundle.policies:
        if policy.id in gone:
            by_hand = " Edit it by hand." if policy.id in left else ""
            yield Unused("entitlement", policy.id, policy.file, policy.reason + by_hand)
        elif policy.id in narrowed:
            yield Unused("action", policy.id, policy.file, f"Only {', '.join(narrowed[policy.id])} is used.")
    for grant in grants:
        if GRANT_PREFIX + grant.id in gone:
            yield Unused("grant", grant.id, str(grant.principal), str(grant.resource))


# --- the proof, and what stands idle ---------------------------------------------------------------


def _losers(
    asked: list[Asked],
    policies: Policies,
    grants: frozenset[str],
    memberships: frozenset[tuple[EntityRef, str]],
) -> tuple[str, ...]:
    by_subject: dict[EntityRef, set[str]] = {}
    for ref, group in memberships:
        by_subject.setdefault(ref, set()).add(group)
    memo, found = Memo(), set()
    for one in asked:
        assert one.request.subject is not None
        groups = frozenset(by_subject.get(one.request.subject, ()))
        if not still_allowed(one, policies, grants, groups, memo):
            found.add(f"{one.request.subject} {one.request.action} {one.request.resource}")
    return tuple(sorted(found))


def _idle(standing: Standing, uses: Uses, since: Instant) -> Iterable[Unused]:
    for name in standing.workloads:
        last = uses.seen.get(str(EntityRef("Workload", name)))
        if last is None:
            yield Unused("workload", name, why="It asked for nothing.")
    for token_id, owner, used_at in standing.tokens:
        if used_at is None or used_at < since:
            yield Unused("token", token_id, owner, "It was not used.", used_at)

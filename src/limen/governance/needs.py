"""What one subject's access needs: uses as questions that are asked again without grants or memberships."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from limen.core.decision import AccessRequest, Facts
from limen.core.entities import Closure, Entity, close_again
from limen.core.ids import EntityRef
from limen.engine.cedar import GRANT_PREFIX
from limen.engine.memo import Memo
from limen.engine.policies import Policies
from limen.governance.uses import Use

Progress = Callable[[int, int], None]


class Asked(msgspec.Struct):
    """A use as a question that can be asked again, and the permits that each would do for it."""

    use: Use
    request: AccessRequest
    facts: Facts
    permits: frozenset[str]


def unneeded_memberships(
    memberships: Iterable[tuple[EntityRef, tuple[str, ...]]],
    asked: list[Asked],
    policies: Policies,
    grants: frozenset[str],
    progress: Progress | None,
) -> frozenset[tuple[EntityRef, str]]:
    """Return memberships without which each use of their member is still allowed, one after another."""
    memo = Memo()
    by_subject: dict[EntityRef, list[Asked]] = {}
    for one in asked:
        assert one.request.subject is not None, "what is permitted has a subject"
        by_subject.setdefault(one.request.subject, []).append(one)
    told_apart, listed = policies.principals, sorted(memberships)
    gone: set[tuple[EntityRef, str]] = set()
    for number, (ref, groups) in enumerate(listed):
        removed: frozenset[str] = frozenset()
        for group in groups:
            if not _matters(group, ref, by_subject, told_apart):
                continue
            fewer = removed | {group}
            if all(still_allowed(one, policies, grants, fewer, memo) for one in by_subject.get(ref, ())):
                removed = fewer
        gone |= {(ref, group) for group in removed}
        if progress is not None:
            progress(number + 1, len(listed))
    return frozenset(gone)


def _matters(
    group: str,
    ref: EntityRef,
    by_subject: Mapping[EntityRef, list[Asked]],
    told_apart: frozenset[EntityRef],
) -> bool:
    """Whether policies name the group, or one that it is in. Apps may read the others: nothing is said."""
    wanted = EntityRef("Group", group)
    if wanted in told_apart:
        return True
    for one in by_subject.get(ref, ())[:1]:
        assert one.facts.subject is not None
        found = next((entity for entity in one.facts.subject.entities if entity.ref == wanted), None)
        return found is not None and any(parent in told_apart for parent in found.parents)
    return False


def still_allowed(
    one: Asked, policies: Policies, grants: frozenset[str], groups: frozenset[str], memo: Memo
) -> bool:
    """Say whether a use is allowed without these grants, outside these groups."""
    return memo.decide(one.request, without(one.facts, grants, groups), policies).allowed


def without(facts: Facts, grants: frozenset[str], groups: frozenset[str]) -> Facts:
    """Return facts as they would be without these grants and direct memberships of the subject."""
    subject = facts.subject
    if subject is not None and groups:
        subject = _outside(subject, groups)
    held = subject.ancestors if subject is not None else frozenset()
    kept = tuple(
        grant for grant in facts.grants if GRANT_PREFIX + grant.id not in grants and grant.principal in held
    )
    return msgspec.structs.replace(facts, subject=subject, grants=kept)


def _outside(subject: Closure, groups: frozenset[str]) -> Closure:
    table = {entity.ref: entity for entity in subject.entities}
    root = table[subject.root]
    left = tuple(parent for parent in root.parents if not (parent.type == "Group" and parent.id in groups))
    table[subject.root] = Entity(root.ref, root.attrs, left, root.version)
    return close_again(subject, table.get)

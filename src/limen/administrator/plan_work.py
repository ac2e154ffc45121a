"""The part of a plan that a child process computes: checks, the change of who can, modes, guardrails."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from limen.administrator.active import activate
from limen.administrator.apart import Tell
from limen.administrator.plan import Job, ModeChange, Plan, Row, WhoCan
from limen.administrator.policies import ADMIN_RESOURCE, HOST_OPERATOR, failures
from limen.administrator.projections import ENTITY_TYPES, Projections, entity_of
from limen.core.catalogue import Catalogue
from limen.core.changes import GroupFact, PersonFact, Projection, WorkloadFact
from limen.core.decision import Grant
from limen.core.entities import Closure, Entity, close_entity
from limen.core.errors import Finding
from limen.core.ids import EntityRef, Instant
from limen.core.resources import ACTIONS_ON
from limen.core.rollout import Rollout
from limen.engine.bundle import Bundle, parse_bundle
from limen.engine.check import check_bundle
from limen.engine.guarded import guarded_changes
from limen.engine.index import anchors
from limen.engine.who_can import find_access
from limen.engine.who_can_diff import Changes, WhoCanChange, World, who_can_diff

SHOWN_MAX = 1_000  # subjects of one set that are listed by name
TOLD_STEPS = 100
NONE = "–"

LOCKED_OUT = Finding(
    "limen.yaml",
    1,
    1,
    "locked-out",
    "Under this bundle nobody could administer Limen.",
    'Permit action "admin" on App::"limen" to a group that has an active member.',
)

_RowKey = tuple[str, str, tuple[int, ...], tuple[str, ...], tuple[str, ...], str]


def work(given: Any, tell: Tell) -> Plan:
    """Make the plan, all but its replay."""
    job = msgspec.convert(given, Job)
    base = parse_bundle(job.base)
    groups = frozenset(fact.id for fact in job.facts if isinstance(fact, GroupFact))
    report = check_bundle(job.files, groups=groups)
    wrong = failures(report)
    if wrong or report.bundle is None:
        return Plan("", base.id, refused=wrong)
    bundle = report.bundle
    before = make_world(base, job.facts)
    after = make_world(bundle, job.facts, before)
    if not administrable(after, job.at):
        return Plan("", base.id, refused=(LOCKED_OUT,))

    def progress(done: int, of: int) -> None:
        if done == of or done % max(1, of // TOLD_STEPS) == 0:
            tell(done, of)

    changes = who_can_diff(before, after, at=job.at, progress=progress)
    guarded = guarded_changes(base, bundle)
    return Plan(
        bundle.id,
        base.id,
        findings=report.findings,
        tests=len(report.results),
        guarded=guarded,
        approval=bool(guarded) and base.catalogue.guardrails_approved,
        modes=mode_changes(base.catalogue, bundle.catalogue),
        resources_added=_names(after.resources.keys() - before.resources.keys()),
        resources_removed=_names(before.resources.keys() - after.resources.keys()),
        who_can=render_changes(changes),
    )


def administrable(world: World, at: Instant) -> bool:
    """Whether the host's operator or any person could put another bundle in force."""
    resource = world.resources[ADMIN_RESOURCE]
    asked = {anchor for _, anchor in world.policies.scopes("admin", resource)}
    people = (one for ref, one in world.subjects.items() if ref.type == "User")
    hands = (one for one in people if asked & anchors(one) or one.ancestors & world.grants.keys())
    return any(
        find_access("admin", one, resource, world.policies, at=at, grants=_grants_of(world, one)).allowed
        for one in itertools.chain((world.subjects[HOST_OPERATOR],), hands)
    )


def _grants_of(world: World, subject: Closure) -> tuple[Grant, ...]:
    return tuple(grant for ref in sorted(subject.ancestors) for grant in world.grants.get(ref, ()))


def make_world(bundle: Bundle, facts: Iterable[Projection], like: World | None = None) -> World:
    """Return everybody and everything as a bundle makes policies see them.

    `like` is another bundle's: its people are these, unless the two declare other attributes.
    """
    active = activate(bundle)
    rows = Projections()
    for fact in facts:
        rows.put(0, fact)
    declared = bundle.catalogue.attribute_types
    known = [value for kind in ENTITY_TYPES for _, (_, value) in rows.of(kind)]
    table = {**active.entities, **{one.ref: one for one in (entity_of(0, fact, declared) for fact in known)}}
    if like is not None and like.bundle.catalogue.attribute_types == declared:
        subjects = like.subjects
    else:
        subjects = {one.root: one for fact in known if (one := _close(fact, table.get)) is not None}
    resources = {ref: close_entity(ref, table.get) for ref in active.entities if ref.type in ACTIONS_ON}
    grants = {who: tuple(held[name] for name in sorted(held)) for who, held in rows.grants.items()}
    return World(bundle, active.policies, subjects, resources, grants)


def _close(fact: Projection, lookup: Callable[[EntityRef], Entity | None]) -> Closure | None:
    if isinstance(fact, PersonFact):
        ref = EntityRef("User", fact.id)
        return close_entity(
            ref,
            lookup,
            status=fact.status,
            quarantined=fact.quarantined,
            expires_at=fact.expires_at,
            groups_unknown=bool(fact.groups_unknown),
        )
    if isinstance(fact, WorkloadFact):
        ref = EntityRef("Workload", fact.id)
        ends = fact.expires_at
        return close_entity(ref, lookup, status=fact.status, quarantined=fact.quarantined, expires_at=ends)
    return None


def render_changes(changes: Changes) -> WhoCan:
    """Return the change of who can by name: equal changes of several resources are one row."""
    merged: dict[_RowKey, list[WhoCanChange]] = {}
    for one in changes.changes:
        needed, needs = _ids(one.before.conditions), _ids(one.after.conditions)
        key = (one.effect, one.action, one.classes, needed, needs, one.after.code)
        merged.setdefault(key, []).append(one)
    sets: dict[tuple[int, ...], int] = {}
    rows = tuple(
        Row(
            effect=effect,
            action=action,
            resources=tuple(one.resource.id for one in same),
            who=sets.setdefault(classes, len(sets)),
            count=sum(len(changes.classes[index]) for index in classes),
            before=_union(one.before.policies for one in same),
            after=_union(one.after.policies for one in same),
            needed=needed,
            needs=needs,
            code=code,
        )
        for (effect, action, classes, needed, needs, code), same in merged.items()
    )
    members = (sorted(ref for index in classes for ref in changes.classes[index]) for classes in sets)
    subjects = tuple(tuple(_name(ref) for ref in some[:SHOWN_MAX]) for some in members)
    return WhoCan(sum(len(one) for one in changes.classes), subjects, rows)


def mode_changes(before: Catalogue, after: Catalogue) -> tuple[ModeChange, ...]:
    """Return where a resource, or a group within it, is in another mode."""
    old, new = _modes(before), _modes(after)
    return tuple(
        ModeChange(*key, old.get(key, NONE), new.get(key, NONE))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    )


def _modes(catalogue: Catalogue) -> Mapping[tuple[str, str], str]:
    rollouts: dict[str, Rollout] = {}
    for app in catalogue.apps.values():
        rollouts[app.name] = app.rollout
        rollouts |= {f"{app.name}/{one.name}": one.rollout for one in app.routes if one.rollout is not None}
    rollouts |= {service.name: service.rollout for service in catalogue.services.values()}
    return {
        (name, group): stage.mode.value
        for name, rollout in rollouts.items()
        for group, stage in (("", rollout.stage), *rollout.groups.items())
    }


def _ids(conditions: Iterable[Any]) -> tuple[str, ...]:
    return tuple(f"{one.id}:{one.max_age_s}s" if one.max_age_s is not None else one.id for one in conditions)


def _union(many: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({name for names in many for name in names}))


def _names(refs: Iterable[EntityRef]) -> tuple[str, ...]:
    return tuple(sorted(ref.id for ref in refs))


def _name(ref: EntityRef) -> str:
    return ref.id if ref.type == "User" else f"{ref.type.lower()}:{ref.id}"

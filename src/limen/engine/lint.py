"""Lint: what a bundle says that its author can hardly have meant. Each rule is described in `lint_rules`.

`lint` reads a bundle that fits its schema; it proves what it reports and stays silent where it cannot
(`satisfy` says how). `unguarded-optional` is found earlier, by Cedar's validator, with the same id.
"""

import json
from collections.abc import Iterator

from limen.core.catalogue import ADMIN_APP
from limen.core.errors import Finding, Severity
from limen.core.ids import EntityRef
from limen.core.resources import plain_resources
from limen.core.roles import BREAK_GLASS_METHOD, ROLE_GROUPS
from limen.engine.bundle_values import Bundle, Policy
from limen.engine.expressions import (
    FALSE,
    PRINCIPAL,
    RESOURCE,
    TRUE,
    Expr,
    dotted,
    path_of,
    scope_entities,
    walk,
)
from limen.engine.forms import nearest
from limen.engine.limen_yaml import LIMEN_YAML_FILE, Reading, parse_limen_yaml
from limen.engine.lint_rollout import in_limen_yaml, lint_rollouts, rollout_groups
from limen.engine.lint_rules import BY_ID
from limen.engine.reads import policy_reads
from limen.engine.satisfy import UNKNOWN, fold, possible
from limen.engine.schema import attributes_of
from limen.engine.worlds import Rule, Scene, World, covers, in_world

CATALOGUE_TYPES = ("App", "Route", "Service", "Client", "Segment")
NAMES_SHOWN = 20  # of a list in one sentence
COVERING_FORBIDS_MAX = 32  # forbids counted in when a permit is tried

WITHOUT_MFA = {
    ("has", ("var", "context"), "session"): True,
    dotted("context.session.aal"): 1,
    dotted("context.session.phishing_resistant"): False,
    **{
        ("contains", dotted("context.session.methods"), ("lit", method)): False
        for method in ("passkey", "totp", "recovery", BREAK_GLASS_METHOD)
    },
}
"""A person who signed in with a password and nothing else (NIST SP 800-63B: AAL1)."""


def lint(bundle: Bundle, *, groups: frozenset[str] | None = None) -> tuple[Finding, ...]:
    """Return every finding, sorted by place. `groups` are the directory's, or None."""
    scene = Scene(bundle)
    found = [
        *_names(scene, groups),
        *_unreferenced(scene, groups),
        *_duplicates(scene),
        *_resources(scene),
        *_administrators(scene),
        *lint_rollouts(bundle.catalogue, _reading(bundle), groups),
    ]
    misnamed = {(f.file, f.line, f.column) for f in found if f.id.startswith("unknown-")}
    for rule in scene.rules:
        at = (rule.policy.file, rule.policy.line, rule.policy.column)
        found += _about(rule, scene, misnamed=at in misnamed)
    return tuple(sorted(found))


def _reading(bundle: Bundle) -> Reading:
    return parse_limen_yaml(bundle.files[LIMEN_YAML_FILE], bundle.files)


def _finding(
    rule_id: str, policy: Policy, message: str, *, remedy: str = "", severity: Severity | None = None
) -> Finding:
    rule = BY_ID[rule_id]
    return Finding(
        policy.file,
        policy.line,
        policy.column,
        rule_id,
        message,
        remedy or rule.remedy,
        severity or rule.severity,
    )


def _by_effect(policy: Policy) -> Severity:
    """A name that matches nothing denies in a permit, and lets in through a forbid."""
    return Severity.ERROR if policy.effect == "forbid" else Severity.WARNING


# One policy at a time.


def _about(rule: Rule, scene: Scene, *, misnamed: bool) -> Iterator[Finding]:
    policy = rule.policy
    unmemoisable = policy_reads(policy.est).unmemoisable
    if unmemoisable:
        terms = ", ".join(f"`context.{term}`" for term in sorted(unmemoisable))
        yield _finding(
            "unmemoisable-time", policy, f"{policy.id} uses {terms} in a way that has no next edge."
        )
    yield from _unknown_attributes(rule, scene)
    if policy.effect == "forbid":
        if not policy.est.get("annotations", {}).get("reason"):
            yield _finding("missing-reason", policy, f"{policy.id} forbids and gives no reason.")
        if not misnamed and not _fires(rule, scene):
            yield _finding("dead-guardrail", policy, f"{policy.id} can never fire.")
        return
    if open_side := _open_side(rule):
        yield _finding("unbounded-permit", policy, f"{policy.id} permits without a bound on the {open_side}.")
    if not misnamed and not _satisfiable(rule, scene):
        yield _finding("unsatisfiable-permit", policy, f"No one can satisfy {policy.id}.")


def _unknown_attributes(rule: Rule, scene: Scene) -> Iterator[Finding]:
    tested = {(path_of(e[1]), e[2]) for e in walk(rule.condition) if e[0] == "has"}
    for path, name in sorted((path, name) for path, name in tested if path is not None):
        known = attributes_of(path, scene.bundle.catalogue)
        if known is not None and name not in known:
            near = nearest(name, known)
            said = f"{rule.policy.id} tests for `{'.'.join(path)}.{name}`, which never exists."
            remedy = f"Did you mean `{near}`?" if near else ""
            yield _finding("unknown-attribute", rule.policy, said, remedy=remedy)


def _fires(rule: Rule, scene: Scene) -> bool:
    return any(possible(in_world(rule, world)) for world in scene.worlds(rule))


def _satisfiable(rule: Rule, scene: Scene) -> bool:
    marks = rule.mentioned | scene.forbid_marks
    return any(_passes(rule, world, scene) for world in scene.worlds(rule, marks))


def _passes(rule: Rule, world: World, scene: Scene) -> bool:
    """Return whether the permit may hold in a world with no forbid in its way."""
    whole = in_world(rule, world)
    if whole == FALSE or not possible(whole):
        return False
    covering = [forbid for forbid in scene.forbids if covers(forbid, world)]
    for forbid in covering[:COVERING_FORBIDS_MAX]:
        hindered = in_world(forbid, world)
        if hindered == TRUE:
            return False
        whole = ("&&", whole, ("!", hindered))
    return possible(fold(whole, lambda _: UNKNOWN))


def _open_side(rule: Rule) -> str:
    """Return which side of a permit nothing bounds: `resource`, `principal`, or neither."""
    folded = fold(rule.condition, lambda _: UNKNOWN)
    est = rule.policy.est
    if not scope_entities(est["resource"]) and not _reads(folded, RESOURCE):
        return "resource"
    return "principal" if est["principal"]["op"] == "All" and not _reads(folded, PRINCIPAL) else ""


def _reads(expr: Expr, variable: Expr) -> bool:
    return any(part == variable for part in walk(expr))


# Names.


def _names(scene: Scene, groups: frozenset[str] | None) -> Iterator[Finding]:
    for rule in scene.rules:
        for ref in sorted(rule.mentioned):
            if ref.type == "Group" and groups is not None and ref.id not in groups | ROLE_GROUPS.keys():
                yield _unknown("unknown-group", rule.policy, ref, groups, "The directory has no group")
            elif ref.type == "Label" and ref not in scene.entities:
                labels = (known.id for known in scene.entities if known.type == "Label")
                yield _unknown(
                    "unknown-label", rule.policy, ref, frozenset(labels), "Nothing carries the label"
                )
            elif ref.type in CATALOGUE_TYPES and ref not in scene.entities:
                known = frozenset(other.id for other in scene.entities if other.type == ref.type)
                yield _unknown("unknown-resource", rule.policy, ref, known, f"There is no {ref.type.lower()}")


def _unknown(rule_id: str, policy: Policy, ref: EntityRef, known: frozenset[str], says: str) -> Finding:
    near = nearest(ref.id, known)
    outcome = (
        "so the policy holds no one back" if policy.effect == "forbid" else "so the policy lets no one in"
    )
    return _finding(
        rule_id,
        policy,
        f"{policy.id}: {says} `{ref.id}`, {outcome}.",
        remedy=f"Did you mean `{near}`?" if near else "",
        severity=_by_effect(policy),
    )


def _unreferenced(scene: Scene, groups: frozenset[str] | None) -> Iterator[Finding]:
    named = frozenset().union(*(rule.mentioned for rule in scene.rules))
    reading = _reading(scene.bundle)
    for label, (app, at) in sorted(_carried(scene.bundle, reading).items()):
        if EntityRef("Label", label) not in named:
            yield in_limen_yaml("unreferenced-label", at, f"No policy names the label `{label}` of {app}.")
    at_work = {ref.id for ref in named if ref.type == "Group"} | rollout_groups(scene.bundle.catalogue)
    idle = sorted((groups or frozenset()) - at_work - ROLE_GROUPS.keys())
    if idle:
        shown = ", ".join(idle[:NAMES_SHOWN]) + (", …" if len(idle) > NAMES_SHOWN else "")
        yield in_limen_yaml(
            "unreferenced-group", (1, 1), f"Groups that no policy names ({len(idle)}): {shown}."
        )


def _carried(bundle: Bundle, reading: Reading) -> dict[str, tuple[str, tuple[int, int]]]:
    """Return who carries each label first, and where that is written."""
    found: dict[str, tuple[str, tuple[int, int]]] = {}
    for app in bundle.catalogue.apps.values():
        for index, label in enumerate(app.labels):
            found.setdefault(label, (app.name, reading.at("apps", app.name, "labels", index)))
        for number, route in enumerate(app.routes):
            for index, label in enumerate(route.labels):
                at = reading.at("apps", app.name, "routes", number, "labels", index)
                found.setdefault(label, (f"{app.name}/{route.name}", at))
    for section, others in plain_resources(bundle.catalogue):
        for other in others.values():
            for index, label in enumerate(other.labels):
                found.setdefault(label, (other.name, reading.at(section, other.name, "labels", index)))
    return found


def _duplicates(scene: Scene) -> Iterator[Finding]:
    first: dict[str, Policy] = {}
    for rule in scene.rules:
        bare = {key: value for key, value in rule.policy.est.items() if key != "annotations"}
        other = first.setdefault(json.dumps(bare, sort_keys=True), rule.policy)
        if other is not rule.policy:
            said = f"{rule.policy.id} says the same as {other.id} ({other.file}:{other.line})."
            yield _finding("duplicate-policy", rule.policy, said)


# Resources.


def _resources(scene: Scene) -> Iterator[Finding]:
    bundle = scene.bundle
    reading = _reading(bundle)
    reaching: dict[EntityRef, list[Rule]] = {}
    for permit in scene.permits:
        for ref in scene.resources(permit):
            reaching.setdefault(ref, []).append(permit)
    for app in bundle.catalogue.apps.values():
        at = reading.at("apps", app.name)
        parts = [app.ref, *(EntityRef("Route", f"{app.name}/{route.name}") for route in app.routes)]
        public = any(route.public for route in app.routes)
        yield from _reached(app.name, parts, at, reaching, scene, public=public)
        for index, route in enumerate(app.routes):
            if route.public and (labels := {*app.labels, *route.labels}):
                said = f"{app.name}/{route.name} is open to everyone and carries {', '.join(sorted(labels))}."
                yield in_limen_yaml("public-labelled", reading.at("apps", app.name, "routes", index), said)

    for section, others in plain_resources(bundle.catalogue):
        for other in others.values():
            yield from _reached(other.name, [other.ref], reading.at(section, other.name), reaching, scene)


def _reached(
    name: str,
    parts: list[EntityRef],
    at: tuple[int, int],
    reaching: dict[EntityRef, list[Rule]],
    scene: Scene,
    *,
    public: bool = False,
) -> Iterator[Finding]:
    if not public and not any(part in reaching for part in parts):
        yield in_limen_yaml("unnamed-resource", at, f"No policy permits anything on {name}.")
    through = _open_without_mfa(parts, reaching, scene)
    if through:
        said = f"{name} can be reached with a password alone, through {through.policy.id}."
        yield in_limen_yaml("no-mfa-resource", at, said)


def _open_without_mfa(
    parts: list[EntityRef], reaching: dict[EntityRef, list[Rule]], scene: Scene
) -> Rule | None:
    for part in parts:
        for permit in reaching.get(part, ()):
            for world in scene.worlds_at(permit, part, WITHOUT_MFA):
                if world.subject == "User" and _passes(permit, world, scene):
                    return permit
    return None


def _administrators(scene: Scene) -> Iterator[Finding]:
    limen = EntityRef("App", ADMIN_APP)
    for permit in scene.permits:
        if limen in scene.resources(permit) and any(
            world.action == "admin" and _passes(permit, world, scene)
            for world in scene.worlds_at(permit, limen, {})
        ):
            return
    yield in_limen_yaml("no-administrator", (1, 1), "No policy lets anyone administer Limen.")

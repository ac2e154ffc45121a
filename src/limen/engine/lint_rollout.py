"""Lint of rollout stages: a warning without a date, and groups that the directory does not have."""

from collections.abc import Iterator

from limen.core.catalogue import Catalogue
from limen.core.errors import Finding
from limen.core.rollout import Mode, Rollout
from limen.engine.forms import nearest
from limen.engine.limen_yaml import LIMEN_YAML_FILE, Reading
from limen.engine.lint_rules import BY_ID
from limen.engine.read_forms import Path

Declared = tuple[str, Path, Rollout]
"""A resource's name, where its `mode:` stands, and what it says."""


def declared_rollouts(catalogue: Catalogue) -> Iterator[Declared]:
    """Yield every rollout that is not the default: of apps, of their routes, of services."""
    for app in catalogue.apps.values():
        yield app.name, ("apps", app.name, "mode"), app.rollout
        for index, route in enumerate(app.routes):
            if route.rollout is not None:
                path: Path = ("apps", app.name, "routes", index, "mode")
                yield f"{app.name}/{route.name}", path, route.rollout
    for service in catalogue.services.values():
        yield service.name, ("services", service.name, "mode"), service.rollout


def lint_rollouts(catalogue: Catalogue, reading: Reading, groups: frozenset[str] | None) -> Iterator[Finding]:
    """Yield what is odd about stages. `groups` are the directory's, or None."""
    for name, path, rollout in declared_rollouts(catalogue):
        stages = {"": rollout.stage, **rollout.groups}
        for group, stage in stages.items():
            at = reading.at(*path, "groups", group) if group else reading.at(*path)
            if stage.mode is Mode.WARN and not stage.until:
                whom = f"{name} for {group}" if group else name
                yield in_limen_yaml("warn-without-date", at, f"{whom} warns, and says no day of denial.")
            if group and groups is not None and group not in groups:
                near = nearest(group, groups)
                said = f"The directory has no group `{group}`, so nobody has its stage of {name}."
                yield in_limen_yaml("unknown-group", at, said, f"Did you mean `{near}`?" if near else "")


def rollout_groups(catalogue: Catalogue) -> frozenset[str]:
    """Return the groups that have a stage of their own somewhere."""
    return frozenset(group for _, _, rollout in declared_rollouts(catalogue) for group in rollout.groups)


def in_limen_yaml(rule_id: str, at: tuple[int, int], message: str, remedy: str = "") -> Finding:
    """Return a finding of a rule at a place of `limen.yaml`."""
    rule = BY_ID[rule_id]
    return Finding(LIMEN_YAML_FILE, *at, rule_id, message, remedy or rule.remedy, rule.severity)

"""Read YAML nodes by their forms: plain values and their places out, findings for all that is wrong."""

from typing import Any, Final

import yaml

from limen.core.errors import Finding, Severity
from limen.engine import yaml_text
from limen.engine.forms import Choice, Either, Form, Many, MapOf, Table, describe, nearest
from limen.engine.scalars import scalar_value

Path = tuple[str | int, ...]
Place = tuple[int, int]

MISSING: Final = object()
"""What an unreadable value becomes; its finding is in the log already."""


class Log:
    """Findings of one file, the place of every value read, and the other files that it names."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.places: dict[Path, Place] = {}
        self.named_files: frozenset[str] = frozenset()
        self.spoiled: set[Path] = set()  # values in which something is wrong

    def add(self, at: Place, finding_id: str, message: str, remedy: str) -> None:
        """Note an error at a place."""
        self.findings.append(Finding(self.file, *at, finding_id, message, remedy, Severity.ERROR))

    def at(self, path: Path) -> Place:
        """Return the place of a value, or of the nearest value around it."""
        while path:
            if path in self.places:
                return self.places[path]
            path = path[:-1]
        return (1, 1)

    def wrong(self, path: Path, message: str, remedy: str, finding_id: str = "value") -> None:
        """Note that the value at `path` cannot be used."""
        self.add(self.at(path), finding_id, message, remedy)


def read(node: yaml.Node, form: Form, log: Log, path: Path = ()) -> Any:
    """Return the plain value of `node`, or MISSING when it does not fit its form."""
    log.places.setdefault(path, yaml_text.place(node))
    before = len(log.findings)
    value = _read(node, form, log, path)
    if len(log.findings) > before:
        log.spoiled.add(path)
    return value


def _read(node: yaml.Node, form: Form, log: Log, path: Path) -> Any:
    match form:
        case Table():
            return _read_table(node, form, log, path)
        case MapOf():
            return _read_map(node, form, log, path)
        case Many():
            return _read_many(node, form, log, path)
        case Either(word=word, table=table):
            return read(node, table if isinstance(node, yaml.MappingNode) else word, log, path)
        case _:
            return _read_scalar(node, form, log, path)


def _read_table(node: yaml.Node, form: Table, log: Log, path: Path) -> Any:
    if not isinstance(node, yaml.MappingNode):
        return _refuse(node, form, log, path)
    found: dict[str, Any] = {}
    seen: set[str] = set()
    for name, key_node, value_node in _entries(node, log, path, seen):
        key = form.keys.get(name)
        if key is None:
            _refuse_key(name, key_node, form, log)
            continue
        if _is_null(value_node) and isinstance(key.form, MapOf):
            found[name] = {}
            continue
        if _is_null(value_node):
            log.add(
                yaml_text.place(value_node),
                "value",
                f"{_name(path, name)} has no value.",
                f"Give it {describe(key.form)}, or remove the key.",
            )
            continue
        value = read(value_node, key.form, log, (*path, name))
        if value is not MISSING:
            found[name] = value
    for name, key in form.keys.items():
        if key.required and name not in seen:
            log.add(
                log.at(path),
                "missing-key",
                f"{_name(path, name)} is missing.",
                f"Add `{name}:` with {describe(key.form)}.",
            )
    return found


def _read_map(node: yaml.Node, form: MapOf, log: Log, path: Path) -> Any:
    if not isinstance(node, yaml.MappingNode):
        return _refuse(node, form, log, path)
    found: dict[str, Any] = {}
    for name, key_node, value_node in _entries(node, log, path, set()):
        try:
            name = form.names.check(name)  # noqa: PLW2901
        except ValueError as error:
            log.add(
                yaml_text.place(key_node),
                "name",
                f"The name `{name}` in {_name(path)} cannot be used. {error}".strip(),
                f"A name here must be {form.names.says}.",
            )
            continue
        if form.empty_value and _is_null(value_node):
            found[name] = {}
            continue
        value = read(value_node, form.value, log, (*path, name))
        if value is not MISSING:
            found[name] = value
    return found


def _entries(
    node: yaml.MappingNode, log: Log, path: Path, seen: set[str]
) -> list[tuple[str, yaml.Node, yaml.Node]]:
    entries: list[tuple[str, yaml.Node, yaml.Node]] = []
    for key_node, value_node in node.value:
        at = yaml_text.place(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            log.add(at, "name", "A key must be plain text.", "Write the key as one word.")
            continue
        name = str(key_node.value)
        if name in seen:
            log.add(
                at,
                "duplicate-key",
                f"{_name(path, name)} is there twice.",
                "Keep one of the two; which one should win cannot be told.",
            )
            continue
        seen.add(name)
        inner = isinstance(value_node, yaml.MappingNode)
        log.places[(*path, name)] = at if inner else yaml_text.place(value_node)
        entries.append((name, key_node, value_node))
    return entries


def _read_many(node: yaml.Node, form: Many, log: Log, path: Path) -> Any:
    if not isinstance(node, yaml.SequenceNode):
        if not form.one_ok or isinstance(node, yaml.MappingNode):
            return _refuse(node, form, log, path)
        value = read(node, form.item, log, path)
        return MISSING if value is MISSING else [value]
    found: list[Any] = []
    for index, item in enumerate(node.value):
        value = read(item, form.item, log, (*path, index))
        if value is MISSING:
            continue
        if form.distinct and value in found:
            log.add(
                yaml_text.place(item),
                "value",
                f"{value!r} is in {_name(path)} twice.",
                "Remove one of the two.",
            )
            continue
        found.append(value)
    if len(node.value) < form.at_least:
        log.add(
            yaml_text.place(node),
            "value",
            f"{_name(path)} is empty.",
            f"Give it at least {form.at_least} entry.",
        )
        return MISSING
    return found


def _read_scalar(node: yaml.Node, form: Form, log: Log, path: Path) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        return _refuse(node, form, log, path)
    value = yaml_text.scalar(node)
    if isinstance(form, Choice) and isinstance(value, str) and value in form.later:
        log.add(
            yaml_text.place(node),
            "later-capability",
            f"{_name(path)}: {value} needs {form.later[value]}, which this release of Limen does not have.",
            f"Use {describe(form)}.",
        )
        return MISSING
    try:
        return scalar_value(value, form)
    except ValueError as error:
        return _refuse(node, form, log, path, why=str(error))


def _refuse_key(name: str, node: yaml.Node, form: Table, log: Log) -> None:
    at = yaml_text.place(node)
    if name in form.later:
        log.add(
            at,
            "later-capability",
            f"`{name}` needs {form.later[name]}, which this release of Limen does not have.",
            "Remove the key until you run a release that has it.",
        )
        return
    near = nearest(name, form.keys)
    remedy = f"Did you mean `{near}`?" if near else f"Known keys here: {', '.join(form.keys)}."
    remedy = form.elsewhere.get(name, remedy)
    log.add(at, "unknown-key", f"`{name}` is not a key here.", remedy)


def _refuse(node: yaml.Node, form: Form, log: Log, path: Path, why: str = "") -> Any:
    log.add(
        yaml_text.place(node),
        "value",
        f"{_name(path)} must be {describe(form)}.",
        why or "Correct the value.",
    )
    return MISSING


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and yaml_text.scalar(node) is None


def _name(path: Path, key: str = "") -> str:
    parts = [str(part) for part in (*path, *([key] if key else []))]
    return f"`{'.'.join(parts)}`" if parts else "The document"

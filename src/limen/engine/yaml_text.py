"""YAML as people write it in a bundle: YAML 1.2's plain types, every node with its place.

Left out on purpose: aliases and merge keys (a page of them can unfold to gigabytes), tags, several
documents, and YAML 1.1's surprises (`no` is text here, `12:30` is text, dates are text).
"""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from limen.core.errors import Finding

DEPTH_MAX = 32  # levels of nesting; limen.yaml needs 6
TAG = "tag:yaml.org,2002:"

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times faster


class _PlainLoader(_BASE):  # type: ignore[misc]
    """libyaml's parser with YAML 1.2's core schema instead of 1.1's."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]{1,18}$", list("-+0123456789")),
    (
        "float",
        r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
        list("-+.0123456789"),
    ),
):
    _PlainLoader.add_implicit_resolver(TAG + _tag, re.compile(_pattern), _first)


class YamlRefused(Exception):
    """Text that is no YAML, or YAML that a bundle does not use. Carries one finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def compose(text: str, file: str) -> yaml.Node | None:
    """Return the root node, or None for an empty document.

    Raises:
        YamlRefused: with file, line and column of what is wrong.
    """
    try:
        _refuse_unfolding(yaml.parse(text, Loader=_PlainLoader), file)
        root: yaml.Node | None = yaml.compose(text, Loader=_PlainLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = (error.problem or "it cannot be read").strip()
        raise YamlRefused(
            Finding(file, line, column, "yaml-syntax", f"This is not YAML: {problem}.", _advice(problem))
        ) from error
    except yaml.reader.ReaderError as error:
        raise YamlRefused(
            Finding(
                file,
                *_place(text, error.position),
                "yaml-syntax",
                "The file holds a character that YAML does not allow.",
                "Remove the control character.",
            )
        ) from error
    return root


def place(node: yaml.Node) -> tuple[int, int]:
    """Return line and column of a node, counted from 1."""
    return node.start_mark.line + 1, node.start_mark.column + 1


def scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    """Return a scalar's plain value."""
    text: str = node.value
    kind = node.tag.removeprefix(TAG)
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text)
    if kind == "bool":
        return text.lower() == "true"
    return None if kind == "null" else text


def plain(node: yaml.Node) -> Any:
    """Return a node's value as plain Python: dicts, lists and scalars."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [plain(item) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    return scalar(node)


def _refuse_unfolding(events: Iterable[yaml.Event], file: str) -> None:
    depth = documents = 0
    for event in events:
        problem = ""
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            problem = f"Nested deeper than {DEPTH_MAX} levels." if depth > DEPTH_MAX else ""
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            problem = "The file holds more than one document." if documents > 1 else ""
        elif isinstance(event, yaml.AliasEvent):
            problem = "Aliases (`*name`) are not used in bundles."
        if not problem and _tagged(event):
            problem = "Tags (`!name`) are not used in bundles."
        if problem:
            mark = event.start_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            raise YamlRefused(
                Finding(file, line, column, "yaml-unsupported", problem, "Write the value out plainly.")
            )


def _tagged(event: yaml.Event) -> bool:
    if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
        return event.tag is not None and event.tag != "!"
    return False


def _advice(problem: str) -> str:
    if "\\t" in problem or "tab" in problem:
        return "Indent with spaces."
    if "mapping values" in problem or "':'" in problem:
        return "Check the indentation, and quote text that holds a colon."
    return "Check indentation, quotes and brackets around this place."


def _place(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
